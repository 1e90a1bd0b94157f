"""Calls through the client's own stubs, for what its functions would do too slowly: many inputs in one call.

Each order is a loop of its own with one connection. Times are seconds, those of lists microseconds.
"""

from __future__ import annotations

import asyncio
import pickle
import time
from typing import Any
from urllib.parse import urlsplit

from grpclib.client import Channel
from modal_proto import api_grpc, api_pb2

BATCH = 1000  # inputs in one request
POLL_S = 0.02


class Raw:
    """``call_id``: of the last call that was filled."""

    def __init__(self, url: str, token: list[str], function_id: str) -> None:
        self._url = urlsplit(url)
        self._metadata = {
            "x-modal-token-id": token[0],
            "x-modal-token-secret": token[1],
            "x-modal-client-version": "1.6.4",
            "x-modal-client-type": "1",
        }
        self._function_id = function_id
        self._call_id = ""

    def do(self, what: str, **given: Any) -> dict[str, Any]:
        async def run() -> dict[str, Any]:
            async with Channel(self._url.hostname, self._url.port) as channel:
                result: dict[str, Any] = await getattr(self, f"_{what}")(api_grpc.ModalClientStub(channel), **given)
                return result

        return asyncio.run(run())

    async def _fill(self, stub: Any, count: int) -> dict[str, Any]:
        """A call with that many inputs, not waited for."""
        request = api_pb2.FunctionMapRequest(
            function_id=self._function_id,
            function_call_type=api_pb2.FUNCTION_CALL_TYPE_MAP,
            function_call_invocation_type=api_pb2.FUNCTION_CALL_INVOCATION_TYPE_ASYNC,
        )
        begin = time.perf_counter()
        response = await stub.FunctionMap(request, metadata=self._metadata)
        self._call_id = response.function_call_id
        for start in range(0, count, BATCH):
            items = [_item(index) for index in range(start, min(start + BATCH, count))]
            put = api_pb2.FunctionPutInputsRequest(
                function_id=self._function_id, function_call_id=self._call_id, inputs=items
            )
            accepted = (await stub.FunctionPutInputs(put, metadata=self._metadata)).inputs
            if [item.idx for item in accepted] != [item.idx for item in items]:
                raise AssertionError("inputs were not accepted")
        return {"s": time.perf_counter() - begin}

    async def _list(self, stub: Any, queued: int, times: int) -> dict[str, Any]:
        """How long each of two ways to ask takes; both must say how much waits."""
        took: dict[str, list[float]] = {"info": [], "stats": []}
        info = api_pb2.FunctionCallGetInfoRequest(function_call_id=self._call_id)
        stats = api_pb2.FunctionGetCurrentStatsRequest(function_id=self._function_id)
        for _ in range(times):
            begin = time.perf_counter()
            pending = (await stub.FunctionCallGetInfo(info, metadata=self._metadata)).info.pending_inputs.total
            middle = time.perf_counter()
            backlog = (await stub.FunctionGetCurrentStats(stats, metadata=self._metadata)).backlog
            took["info"].append((middle - begin) * 1e6)
            took["stats"].append((time.perf_counter() - middle) * 1e6)
            if pending != queued or backlog < queued:
                raise AssertionError(f"{queued} inputs wait, but {pending} and {backlog} are said to")
        return took

    async def _cancel(self, stub: Any) -> dict[str, Any]:
        """Until nothing of the call is open. ``answer_s``: until the server has answered."""
        begin = time.perf_counter()
        await stub.FunctionCallCancel(
            api_pb2.FunctionCallCancelRequest(function_call_id=self._call_id), metadata=self._metadata
        )
        answered = time.perf_counter() - begin
        return {"answer_s": answered, "s": await self._until_ended(stub, begin)}

    async def _drain(self, stub: Any, count: int) -> dict[str, Any]:
        """Until everything of the call has ended well, with the right values in a sample."""
        took = await self._until_ended(stub, time.perf_counter())
        info = api_pb2.FunctionCallGetInfoRequest(function_call_id=self._call_id)
        done = (await stub.FunctionCallGetInfo(info, metadata=self._metadata)).info.succeeded_inputs.total
        at = count // 2
        outputs = api_pb2.FunctionGetOutputsRequest(function_call_id=self._call_id, start_idx=at, end_idx=at)
        found = (await stub.FunctionGetOutputs(outputs, metadata=self._metadata)).outputs
        if done != count or pickle.loads(found[0].result.data) != at + 1:
            raise AssertionError(f"{done} of {count} ended well")
        return {"s": took}

    async def _until_ended(self, stub: Any, begin: float) -> float:
        info = api_pb2.FunctionCallGetInfoRequest(function_call_id=self._call_id)
        while (await stub.FunctionCallGetInfo(info, metadata=self._metadata)).info.pending_inputs.total:
            await asyncio.sleep(POLL_S)
        return time.perf_counter() - begin


def _item(index: int) -> Any:
    args = pickle.dumps(((index,), {}), 4)
    given = api_pb2.FunctionInput(args=args, data_format=api_pb2.DATA_FORMAT_PICKLE)
    return api_pb2.FunctionPutInputsItem(idx=index, input=given)
