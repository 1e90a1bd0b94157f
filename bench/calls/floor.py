"""The floor: the same gRPC library on the same kind of port, with a token check, running nothing and storing nothing.

``python -m bench.calls.floor TOKEN_ID TOKEN_SECRET`` prints its port. Every output is the same ready-made value, 42.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import pickle
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop
from google.protobuf.empty_pb2 import Empty
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server

from ionian import wire
from ionian.wire import api_pb2

READY = api_pb2.FunctionGetOutputsItem(
    result=api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS, data=pickle.dumps(42, 4)),
    data_format=api_pb2.DATA_FORMAT_PICKLE,
)
HANDLE = api_pb2.FunctionHandleMetadata(
    function_name="plus_one", function_type=api_pb2.Function.FUNCTION_TYPE_FUNCTION, definition_id="de-floor"
)


class Floor:
    """``maps`` holds what open maps have yet to be given back: inputs by call, and who waits for more."""

    def __init__(self, token_id: str, secret: str) -> None:
        self._token = (token_id, secret)
        self._count = itertools.count(1)
        self._maps: dict[str, list[tuple[int, str]]] = {}
        self._more: dict[str, asyncio.Event] = {}

    def __mapping__(self) -> dict[str, Handler]:
        answers = {name: answer for name in dir(self) if callable(answer := getattr(self, name)) and name[0] != "_"}
        return {
            rpc.path: Handler(self._admit(answers[rpc.name]), Cardinality.UNARY_UNARY, rpc.request, rpc.response)
            for rpc in wire.rpcs()
            if rpc.name in answers
        }

    def _admit(self, answer: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[None]]:
        async def handle(stream: Any) -> None:
            given = stream.metadata
            right = given.get(wire.TOKEN_ID) == self._token[0]
            if not hmac.compare_digest(given.get(wire.TOKEN_SECRET, ""), self._token[1]) or not right:
                raise GRPCError(Status.UNAUTHENTICATED, "wrong token")
            await stream.send_message(await answer(await stream.recv_message()))

        return handle

    def _accept(self, call_id: str, items: Any) -> list[Any]:
        response = []
        for item in items:
            input_id = f"in-{next(self._count)}"
            response.append(api_pb2.FunctionPutInputsResponseItem(idx=item.idx, input_id=input_id, input_jwt=input_id))
            if call_id in self._maps:
                self._maps[call_id].append((item.idx, input_id))
        return response

    async def ClientHello(self, request: Any) -> Any:
        return api_pb2.ClientHelloResponse()

    async def FunctionGet(self, request: Any) -> Any:
        response = api_pb2.FunctionGetResponse(function_id="fu-floor", handle_metadata=HANDLE)
        response.function.ranked_functions.add(rank=0)
        return response

    async def FunctionMap(self, request: Any) -> Any:
        call_id = f"fc-{next(self._count)}"
        if request.function_call_type == api_pb2.FUNCTION_CALL_TYPE_MAP:
            self._maps[call_id], self._more[call_id] = [], asyncio.Event()
        return api_pb2.FunctionMapResponse(
            function_call_id=call_id,
            pipelined_inputs=self._accept(call_id, request.pipelined_inputs),
            function_call_jwt=call_id,
            sync_client_retries_enabled=True,
            max_inputs_outstanding=1000,
        )

    async def FunctionPutInputs(self, request: Any) -> Any:
        accepted = self._accept(request.function_call_id, request.inputs)
        self._more[request.function_call_id].set()
        return api_pb2.FunctionPutInputsResponse(inputs=accepted)

    async def FunctionFinishInputs(self, request: Any) -> Any:
        return Empty()

    async def FunctionGetOutputs(self, request: Any) -> Any:
        call_id = request.function_call_id
        if call_id not in self._maps:
            return api_pb2.FunctionGetOutputsResponse(idxs=[0], outputs=[READY], last_entry_id="1-0")
        if request.clear_on_success:  # the client's last words on a map
            del self._maps[call_id], self._more[call_id]
            return api_pb2.FunctionGetOutputsResponse(last_entry_id=request.last_entry_id)
        await asyncio.wait_for(self._more[call_id].wait(), request.timeout)
        self._more[call_id].clear()
        ready, self._maps[call_id] = self._maps[call_id], []
        outputs = []
        for index, input_id in ready:
            output = api_pb2.FunctionGetOutputsItem()
            output.CopyFrom(READY)
            output.idx, output.input_id = index, input_id
            outputs.append(output)
        return api_pb2.FunctionGetOutputsResponse(outputs=outputs, last_entry_id="1-0")

    async def DictGetOrCreate(self, request: Any) -> Any:
        return api_pb2.DictGetOrCreateResponse(dict_id="di-floor")

    async def DictUpdate(self, request: Any) -> Any:
        return api_pb2.DictUpdateResponse(created=True)

    async def DictGet(self, request: Any) -> Any:
        return api_pb2.DictGetResponse(found=True, value=READY.result.data)

    async def QueueGetOrCreate(self, request: Any) -> Any:
        return api_pb2.QueueGetOrCreateResponse(queue_id="qu-floor")

    async def QueuePut(self, request: Any) -> Any:
        return Empty()

    async def QueueGet(self, request: Any) -> Any:
        return api_pb2.QueueGetResponse(values=[READY.result.data])


async def main(token_id: str, secret: str) -> None:
    server = Server([Floor(token_id, secret)])
    await server.start("127.0.0.1", 0)
    listening: Any = server._server
    print(listening.sockets[0].getsockname()[1], flush=True)
    await server.wait_closed()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2]))
