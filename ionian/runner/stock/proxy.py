"""What user code asks of the server: RPCs that are not the entrypoint's own go on to it, with the container's token.

Arguments that the client took for too large, and put down here, become blobs of the server on their way.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import importlib
import urllib.parse
import urllib.request
from typing import Any

from .blobs import Blobs
from .wire import message

TOKEN_ID, TOKEN_SECRET = "x-modal-token-id", "x-modal-token-secret"
_WITH_INPUTS = {"FunctionMap": "pipelined_inputs", "FunctionPutInputs": "inputs", "FunctionRetryInputs": "inputs"}
_LARGE = 4 * 1024 * 1024  # bytes of arguments in a message; the server's own limit
_UPLOAD_S = 600.0


class Proxy:
    """One connection to the server, made with the first RPC."""

    def __init__(self, api: Any, server_url: str, token: tuple[str, str], blobs: Blobs) -> None:
        self._api = api
        self._url = urllib.parse.urlsplit(server_url)
        self._token = token
        self._blobs = blobs
        self._uploaded: dict[str, str] = {}  # blobs of the server by those put down here: an RPC may come twice
        self._stub: Any = None
        self._grpc = importlib.import_module("grpclib")

    async def forward(self, name: str, request: Any, stream: Any) -> None:
        """Answer ``stream`` with what the server says. Raises GRPCError: the server's, or UNAVAILABLE without one."""
        metadata = self._metadata(stream.metadata or {})
        if name in _WITH_INPUTS:
            for item in getattr(request, _WITH_INPUTS[name]):
                await self._lighten(item.input, metadata)
        deadline = getattr(stream, "deadline", None)
        timeout = None if deadline is None else deadline.time_remaining()
        method = self._method(name)
        try:
            if isinstance(method, importlib.import_module("grpclib.client").UnaryStreamMethod):
                async with method.open(timeout=timeout, metadata=metadata) as answers:
                    await answers.send_message(request, end=True)
                    async for answer in answers:
                        await stream.send_message(answer)
            else:
                await stream.send_message(await method(request, timeout=timeout, metadata=metadata))
        except OSError as error:  # the server restarts: clients ask again
            raise self._error("UNAVAILABLE", f"the server cannot be reached: {error}") from None

    def _error(self, status: str, text: str) -> Exception:
        error: Exception = self._grpc.GRPCError(self._grpc.const.Status[status], text)
        return error

    def _method(self, name: str) -> Any:
        if self._stub is None:
            host, port = self._url.hostname or "", self._url.port or 80
            if self._url.scheme != "http":
                raise self._error("FAILED_PRECONDITION", f"{self._url.geturl()} is no address of a server of Ionian")
            channel = importlib.import_module("grpclib.client").Channel(host, port)
            self._stub = importlib.import_module("modal_proto.api_grpc").ModalClientStub(channel)
        return getattr(self._stub, name)

    def _metadata(self, given: Any) -> dict[str, str]:
        kept = {name: value for name, value in given.items() if name.startswith("x-")}
        return {**kept, TOKEN_ID: self._token[0], TOKEN_SECRET: self._token[1]}

    async def _lighten(self, given: Any, metadata: dict[str, str]) -> None:
        """Arguments of an input: large ones as a blob of the server."""
        held = given.args_blob_id
        if held in self._uploaded:
            given.args_blob_id = self._uploaded[held]
        elif held in self._blobs:
            given.args_blob_id = self._uploaded[held] = await self._upload(self._blobs.take(held), metadata)
        elif len(given.args) > _LARGE:
            given.args_blob_id = await self._upload(given.args, metadata)

    async def _upload(self, data: bytes, metadata: dict[str, str]) -> str:
        request = message(
            self._api.BlobCreateRequest,
            content_md5=base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
            content_sha256_base64=base64.b64encode(hashlib.sha256(data).digest()).decode(),
            content_length=len(data),
        )
        answer = await self._method("BlobCreate")(request, metadata=metadata)
        await asyncio.get_running_loop().run_in_executor(None, _put, answer.upload_url, data)
        blob_id: str = answer.blob_id
        return blob_id


def _put(url: str, data: bytes) -> None:
    request = urllib.request.Request(url, data=data, method="PUT")
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=_UPLOAD_S) as answer:
        answer.read()
