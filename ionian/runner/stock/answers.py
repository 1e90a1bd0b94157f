"""The container RPCs that the client's entrypoint calls, answered from the desk."""

from __future__ import annotations

import importlib
from typing import Any

from .. import frames, interactive
from ..spec import Launch
from . import wire
from .blobs import Blobs
from .desk import Desk, Job


class Answers:
    """One method for each RPC. ``failed`` is the FAILED frame of a start that failed."""

    def __init__(
        self, api: Any, launch: Launch, function: Any, desk: Desk, blobs: Blobs, forward: wire.Forward
    ) -> None:
        self._api = api
        self._launch = launch
        self._function = function
        self._desk = desk
        self._blobs = blobs
        self._forward = forward
        self.failed: bytes = b""

    def table(self) -> dict[str, wire.Handler]:
        """The RPCs by name."""
        empty = importlib.import_module("google.protobuf.empty_pb2").Empty

        async def nothing(request: Any, stream: Any) -> None:
            await stream.send_message(empty())

        self._empty = empty
        return {
            "ContainerHello": nothing,
            "ClientHello": self._client_hello,
            "ContainerHeartbeat": self._heartbeat,
            "FunctionGetInputs": self._get_inputs,
            "FunctionPutOutputs": self._put_outputs,
            "FunctionCallPutDataOut": self._put_data,
            "FunctionCallGetDataIn": self._get_data,
            "FunctionGetDynamicConcurrency": self._concurrency,
            "FunctionGetSerialized": self._serialized,
            "AppGetObjects": self._objects,
            "BlobCreate": self._blob_create,
            "BlobGet": self._blob_get,
            "FunctionStartPtyShell": self._start_shell,
            "TaskResult": self._task_result,
        }

    async def _client_hello(self, request: Any, stream: Any) -> None:
        await stream.send_message(self._api.ClientHelloResponse())

    async def _heartbeat(self, request: Any, stream: Any) -> None:
        response = self._api.ContainerHeartbeatResponse()
        input_ids = await self._desk.cancellations()
        if input_ids:
            response.cancel_input_event.input_ids.extend(input_ids)
        await stream.send_message(response)

    async def _get_inputs(self, request: Any, stream: Any) -> None:
        jobs = await self._desk.next()
        response = self._api.FunctionGetInputsResponse()
        if not jobs:
            response.inputs.add(kill_switch=True)
        response.inputs.extend(self._input(job) for job in jobs)
        await stream.send_message(response)

    def _input(self, job: Job) -> Any:
        given = self._api.FunctionInput(data_format=job.data_format, method_name=job.method)
        if len(job.args) > wire.MAX_INLINE_BYTES:
            given.args_blob_id = self._blobs.hold(job.args)
        else:
            given.args = job.args
        return wire.message(
            self._api.FunctionGetInputsItem,
            input_id=job.input_id,
            input=given,
            function_call_id=job.call_id,
            retry_count=job.attempt,
        )

    async def _put_outputs(self, request: Any, stream: Any) -> None:
        for item in request.outputs:
            self._inline(item.result)
            await self._desk.finish(item)
        await stream.send_message(self._empty())

    async def _put_data(self, request: Any, stream: Any) -> None:
        job = self._desk.by_call(request.function_call_id)
        for chunk in request.data_chunks:
            if chunk.data_blob_id:
                chunk.data = self._blobs.take(chunk.data_blob_id)
            if job is not None and chunk.index > job.chunks:
                job.chunks = chunk.index
                await job.chunk(chunk)
        await stream.send_message(self._empty())

    async def _get_data(self, request: Any, stream: Any) -> None:
        """The body of a web request. The stream stays open: the entrypoint leaves it when the request is over."""
        job = self._desk.by_call(request.function_call_id)
        index = int(request.last_index)
        while job is not None:
            data = await job.body.get()
            index += 1
            chunk = self._api.DataChunk(data_format=self._api.DATA_FORMAT_ASGI, data=data, index=index)
            await stream.send_message(chunk)

    async def _concurrency(self, request: Any, stream: Any) -> None:
        concurrency = self._launch.max_concurrent_inputs
        await stream.send_message(self._api.FunctionGetDynamicConcurrencyResponse(concurrency=concurrency))

    async def _serialized(self, request: Any, stream: Any) -> None:
        await stream.send_message(
            self._api.FunctionGetSerializedResponse(
                function_serialized=self._function.function_serialized, class_serialized=self._function.class_serialized
            )
        )

    async def _objects(self, request: Any, stream: Any) -> None:
        """How clients up to 0.64 learn the layout."""
        if request.app_id != self._launch.app_id:
            await self._forward("AppGetObjects", request, stream)
            return
        response = self._api.AppGetObjectsResponse()
        tags, objects = wire.tagged(self._api, self._launch, self._function)
        for known in objects:
            item = self._api.AppGetObjectsItem(tag=tags.get(known.object_id, ""), object=known)
            response.items.append(item)
        await stream.send_message(response)

    async def _start_shell(self, request: Any, stream: Any) -> None:
        interactive.announce()
        await stream.send_message(self._empty())

    async def _blob_create(self, request: Any, stream: Any) -> None:
        blob_id, url = self._blobs.create()
        response = wire.message(self._api.BlobCreateResponse, blob_id=blob_id, upload_url=url, blob_ids=[blob_id])
        if hasattr(response, "upload_urls"):
            response.upload_urls.items.append(url)
        await stream.send_message(response)

    async def _blob_get(self, request: Any, stream: Any) -> None:
        if request.blob_id not in self._blobs:
            await self._forward("BlobGet", request, stream)
            return
        url = self._blobs.url(request.blob_id)
        await stream.send_message(self._api.BlobGetResponse(download_url=url))

    async def _task_result(self, request: Any, stream: Any) -> None:
        result = request.result
        self._inline(result)
        header, payload = failure_parts(result)
        self.failed = self.failed or frames.control(frames.FAILED, header, payload)
        self._desk.asked.set()
        await stream.send_message(self._empty())

    def _inline(self, result: Any) -> None:
        if result.data_blob_id:
            result.data = self._blobs.take(result.data_blob_id)


def failure_parts(result: Any) -> tuple[dict[str, Any], bytes]:
    """Header fields and payload of a GenericResult, as the link's frames carry them."""
    pieces = [result.data, result.serialized_tb, result.tb_line_cache]
    header = {"exception": result.exception, "traceback": result.traceback, "parts": [len(piece) for piece in pieces]}
    return header, b"".join(pieces)
