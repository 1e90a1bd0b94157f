"""One web request inside the container: its ASGI scope, ``receive``, ``send``, and the task that runs the app."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from . import alias, environment, frames

if TYPE_CHECKING:
    from .web import WebConnection

Message = dict[str, Any]
_HIGH_WATER = 64 * 1024  # bytes of request body held for an app that does not read
_ASGI = {"version": "3.0", "spec_version": "2.3"}
_FAILED_HEAD = frames.response_head(500, [b"content-type", b"text/plain; charset=utf-8"])


def build_scope(payload: bytes) -> Message:
    """The ASGI scope of a REQUEST payload, without ``state``. Raises ``ProtocolError``."""
    fields = payload.split(b"\0")
    if len(fields) < frames.REQUEST_FIELDS:
        raise frames.ProtocolError("short request head")
    method, version, scheme, raw_path, query, root_path, client, client_port, server, server_port = fields[:10]
    path = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
    return {
        "type": "http",
        "asgi": _ASGI,
        "http_version": version.decode("ascii"),
        "method": method.decode("ascii"),
        "scheme": scheme.decode("ascii"),
        "path": path.decode(),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": unquote_to_bytes(root_path).decode() if root_path else "",
        "headers": frames.pairs(fields, frames.REQUEST_FIELDS),
        "client": (client.decode(), int(client_port)),
        "server": (server.decode(), int(server_port)),
    }


class Reported(Exception):
    """Raised by an application that has printed already what went wrong."""


class Exchange:
    """Begins to run the application as soon as it is made."""

    __slots__ = (
        "_body",
        "_connection",
        "_delivered",
        "_ended",
        "_event",
        "_gone",
        "_head",
        "_more",
        "_scope",
        "_site",
        "_size",
        "_started",
        "_task",
    )

    def __init__(self, connection: WebConnection, payload: bytes) -> None:
        server = connection.server
        self._connection = connection
        self._scope = build_scope(payload)
        self._site = server.site(self._scope)
        self._scope["state"] = self._site.lifespan.state.copy()
        self._body: list[bytes] = []
        self._size = 0  # bytes in _body
        self._more = True  # the gateway has not sent LAST yet
        self._delivered = False  # the app has been given the end of the body
        self._gone = False  # nobody waits for the response
        self._head: bytes | None = None  # a RESPONSE frame that waits for the first piece of body
        self._started = False  # the app has begun a response
        self._ended = False  # the app has completed its response
        self._event: asyncio.Event | None = None
        server.begun()
        self._task = connection.loop.create_task(self._run())

    def body(self, piece: bytes, more: bool) -> None:
        """A piece of the request body has come."""
        self._more = more
        if piece and not self._ended:
            self._body.append(piece)
            self._size += len(piece)
            if self._size > _HIGH_WATER and more:
                self._connection.pause_reading()
        self._wake()

    def abort(self, cancel: bool) -> None:
        """Nobody waits any more: the app sees a disconnect. ``cancel``: cancel its task where that is safe."""
        self._gone = True
        self._wake()
        if cancel and self._site.cancellable:
            self._task.cancel()

    def _wake(self) -> None:
        if self._event is not None:
            self._event.set()
            self._event = None

    async def _run(self) -> None:
        server = self._connection.server
        scope = self._scope
        error = b""
        try:
            if self._site.name:
                alias.apply(scope, self._site.app, self._site.name)
            if server.relative_paths and scope["root_path"]:
                scope["path"] = scope["path"][len(scope["root_path"]) :]
            if server.on_begin is not None:
                server.on_begin(scope)
            await self._site.app(scope, self._receive, self._send)
            if not self._ended and not self._gone:
                raise RuntimeError("the application returned without completing its response")
        except asyncio.CancelledError:
            error = b"cancelled"
        except Reported:
            error = b"the application raised an exception"
        except (Exception, SystemExit):  # noqa: BLE001 - the edge to user code
            environment.say(traceback.format_exc().removesuffix("\n"))
            error = b"the application raised an exception"
        if error and (not self._started or self._head is not None):
            self._head = None
            self._connection.out.append(frames.frame(frames.RESPONSE, _FAILED_HEAD))
            self._connection.out.append(frames.frame(frames.LAST, b"Internal Server Error"))
        self._ended = True
        self._wake()
        self._connection.done(error)

    async def _receive(self) -> Message:
        while True:
            if self._gone or self._ended:
                return {"type": "http.disconnect"}
            if not self._delivered and (self._body or not self._more):
                return self._take()
            if self._event is None:
                self._event = asyncio.Event()
            await self._event.wait()

    def _take(self) -> Message:
        """Everything of the body that has come and was not delivered yet."""
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._size = 0
        self._delivered = not self._more
        self._connection.resume_reading()
        return {"type": "http.request", "body": body, "more_body": self._more}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.body":
            await self._send_body(message.get("body", b""), message.get("more_body", False))
        elif kind == "http.response.start":
            if self._started:
                raise RuntimeError("the application began a second response")
            headers = [bytes(field) for pair in message.get("headers", ()) for field in pair]
            head = frames.response_head(message["status"], headers)
            if head.count(b"\0") != len(headers):
                raise ValueError("a response header contains a NUL byte")
            self._started = True
            self._head = head
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r}")

    async def _send_body(self, body: bytes, more: bool) -> None:
        if not self._started or self._ended:
            raise RuntimeError("http.response.body outside of a response")
        connection = self._connection
        out = connection.out
        if self._gone:
            self._ended = not more
            return
        if self._head is not None:
            out.append(frames.frame(frames.RESPONSE, self._head))
            self._head = None
        if len(body) > frames.WEB_PIECE:
            body = await self._send_pieces(body)
        if more:
            if body:
                out.append(frames.frame(frames.BODY, body))
            connection.flush()
            await connection.drain()
            return
        self._ended = True
        out.append(frames.frame(frames.LAST, body))
        self._wake()
        connection.loop.call_soon(connection.flush)  # usually the app returns first, and DONE joins the same write

    async def _send_pieces(self, body: bytes) -> bytes:
        """Send a long ``body`` piecewise at the gateway's pace, except its last piece, which is returned."""
        connection = self._connection
        view = memoryview(body)
        while len(view) > frames.WEB_PIECE and not self._gone:
            connection.out.append(frames.frame(frames.BODY, bytes(view[: frames.WEB_PIECE])))
            view = view[frames.WEB_PIECE :]
            connection.flush()
            await connection.drain()
        return b"" if self._gone else bytes(view)
