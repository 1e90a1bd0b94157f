"""WSGI applications as ASGI ones: each request runs in a thread, bodies stream both ways at the client's pace."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Coroutine[Any, Any, dict[str, Any]]]
Send = Callable[[dict[str, Any]], Coroutine[Any, Any, None]]


def adapt(app: Any, threads: int) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """An ASGI application around the WSGI callable ``app``, at most ``threads`` requests at a time."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="wsgi")

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"a WSGI application cannot serve {scope['type']!r}")
        call = _Call(app, scope, receive, send)
        await asyncio.get_running_loop().run_in_executor(pool, call.run)

    return serve


def environment(scope: Scope, body: io.RawIOBase) -> dict[str, Any]:
    """The WSGI environ of an ASGI scope. Strings are latin-1 views of bytes, as PEP 3333 asks."""
    root = scope["root_path"]
    path = scope["path"]
    inside = path[len(root) :] if path.startswith(root) else path
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": root.encode().decode("latin-1"),
        "PATH_INFO": inside.encode().decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": "HTTP/" + scope["http_version"],
        "SERVER_NAME": scope["server"][0],
        "SERVER_PORT": str(scope["server"][1]),
        "REMOTE_ADDR": scope["client"][0],
        "REMOTE_PORT": str(scope["client"][1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BufferedReader(body, 64 * 1024),
        "wsgi.input_terminated": True,  # reading stops at the end of the body, also without content-length
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in scope["headers"]:
        if b"_" in name:
            continue  # it would pass for the header with dashes, which the gateway vouches for
        key = name.decode("latin-1").upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
        text = value.decode("latin-1")
        environ[key] = environ[key] + "," + text if key in environ else text
    return environ


class _Input(io.RawIOBase):
    """The request body as a blocking file: each read that needs more asks the event loop for it."""

    def __init__(self, call: _Call) -> None:
        self._call = call
        self._rest = b""
        self._more = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest and self._more:
            message = self._call.wait(self._call.receive())
            if message["type"] == "http.disconnect":
                raise ConnectionResetError("the client went away")
            self._rest = message.get("body", b"")
            self._more = message.get("more_body", False)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    @property
    def ended(self) -> bool:
        return not self._more


class _Call:
    """One request in its thread."""

    def __init__(self, app: Any, scope: Scope, receive: Receive, send: Send) -> None:
        self.receive = receive
        self._app = app
        self._scope = scope
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._input = _Input(self)
        self._head: dict[str, Any] | None = None
        self._sent = False  # the head has left: start_response may not change it any more
        self._gone: Future[Any] | None = None  # done when the client went away

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the event loop and wait for it here, in the thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def run(self) -> None:
        """Call the application and send what it yields."""
        result = self._app(environment(self._scope, self._input), self._start_response)
        try:
            if isinstance(result, (list, tuple)):
                self._write(b"".join(result), False)
            else:
                self._stream(result)
        finally:
            if hasattr(result, "close"):
                result.close()
            if self._gone is not None:
                self._gone.cancel()

    def _stream(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            if piece:
                self._write(piece, True)
            if self._client_gone():
                return
        self._write(b"", False)

    def _client_gone(self) -> bool:
        """Whether there is nobody to stream to. Only once the request body is consumed can that be asked."""
        if self._gone is None and self._input.ended:
            self._gone = asyncio.run_coroutine_threadsafe(self.receive(), self._loop)
        return self._gone is not None and self._gone.done()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None and self._sent:
            raise exc_info[1].with_traceback(exc_info[2])
        if self._head is not None and exc_info is None:
            raise RuntimeError("start_response was called twice")
        fields = [(name.encode("latin-1").lower(), value.encode("latin-1")) for name, value in headers]
        self._head = {"type": "http.response.start", "status": int(status.split(" ", 1)[0]), "headers": fields}
        return lambda data: self._write(data, True)

    def _write(self, data: bytes, more: bool) -> None:
        if self._head is None:
            raise RuntimeError("the application sent a body before it called start_response")
        self.wait(self._transmit(None if self._sent else self._head, data, more))
        self._sent = True

    async def _transmit(self, head: dict[str, Any] | None, data: bytes, more: bool) -> None:
        if head is not None:
            await self._send(head)
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
