"""The WEB link from the gateway's side, frame by frame, against the runner's web server on the standard event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ionian.runner import frames
from ionian.runner.lifespan import StartupFailed
from ionian.runner.link import Link
from ionian.runner.web import WebServer
from ionian.runner.wsgi import adapt

DEADLINE_S = 20


class Peer:
    """The gateway's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def request(
        self, path: bytes = b"/", *, method: bytes = b"GET", root: bytes = b"", headers: tuple[bytes, ...] = ()
    ) -> None:
        """Send a request head; the body is up to the caller."""
        payload = frames.request_head(
            method, b"1.1", b"http", path, b"q=1", root, b"10.0.0.9\x004711", b"127.0.0.1\x009900", list(headers)
        )
        self.send(frames.REQUEST, payload)

    def send(self, kind: int, payload: bytes = b"") -> None:
        self.writer.write(frames.frame(kind, payload))

    async def frame(self) -> tuple[int, bytes]:
        async with asyncio.timeout(DEADLINE_S):
            size, kind = frames.HEADER.unpack(await self.reader.readexactly(5))
            return kind, await self.reader.readexactly(size)

    async def response(self) -> tuple[int, bytes]:
        """Status and body of a whole response, DONE included."""
        kind, payload = await self.frame()
        assert kind == frames.RESPONSE
        status, body = int(payload.split(b"\0")[0]), b""
        while True:
            kind, payload = await self.frame()
            assert kind in (frames.BODY, frames.LAST)
            body += payload
            if kind == frames.LAST:
                break
        assert (await self.frame())[0] == frames.DONE
        return status, body

    async def get(self, path: bytes = b"/", root: bytes = b"") -> tuple[int, bytes]:
        self.request(path, root=root)
        self.send(frames.LAST)
        return await self.response()


@contextlib.asynccontextmanager
async def serving(tmp_path: Path, server: WebServer) -> AsyncIterator[Path]:
    path = tmp_path / "web.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    link = Link(asyncio.Protocol)
    await server.startup()
    await link.serve(listener)
    link.open_web(server.protocol)
    try:
        yield path
    finally:
        link.close()
        server.close()
        await server.drain()
        await server.shutdown()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def peer(path: Path) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(frames.WEB_PREFACE)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def reply(send: Any, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})
    await send({"type": "http.response.body", "body": body})


async def places(scope: Any, receive: Any, send: Any) -> None:
    """Answers with where it thinks it is."""
    if scope["type"] != "http":
        raise RuntimeError
    await reply(send, f"{scope['root_path']}|{scope['path']}|{scope['raw_path'].decode()}".encode())


async def test_one_write_when_the_app_returns_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path, WebServer(places)) as path, peer(path) as gateway:
        gateway.request(b"/a%20b")
        gateway.send(frames.LAST)
        head = frames.frame(frames.RESPONSE, frames.response_head(200, [b"x", b"y"]))
        body = frames.frame(frames.LAST, b"|/a b|/a%20b")
        async with asyncio.timeout(DEADLINE_S):
            assert await gateway.reader.read(1000) == head + body + frames.frame(frames.DONE)


async def test_scope(tmp_path: Path) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["db"] = "open"
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        seen.append(scope)
        await reply(send, b"")

    async with serving(tmp_path, WebServer(app)) as path, peer(path) as gateway:
        gateway.request("/r/é".encode(), method=b"PATCH", root=b"/r", headers=(b"host", b"h", b"a", b"1", b"a", b"2"))
        gateway.send(frames.LAST)
        assert (await gateway.response())[0] == 200
    assert seen == [
        {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "PATCH",
            "scheme": "http",
            "path": "/r/é",
            "raw_path": "/r/é".encode(),
            "query_string": b"q=1",
            "root_path": "/r",
            "headers": [(b"host", b"h"), (b"a", b"1"), (b"a", b"2")],
            "client": ("10.0.0.9", 4711),
            "server": ("127.0.0.1", 9900),
            "state": {"db": "open"},
        }
    ]


async def test_the_rest_of_a_request_that_is_done_is_ignored(tmp_path: Path) -> None:
    async with serving(tmp_path, WebServer(places)) as path, peer(path) as gateway:
        gateway.request(b"/1")
        assert (await gateway.response())[1] == b"|/1|/1"  # it never read the body
        gateway.send(frames.BODY, bytes(300_000))
        gateway.send(frames.ABORT)
        assert (await gateway.get(b"/2"))[1] == b"|/2|/2"


async def test_a_second_request_before_done_breaks_the_link(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while scope["type"] == "http" and (await receive())["type"] != "http.disconnect":
            pass

    async with serving(tmp_path, WebServer(app)) as path, peer(path) as gateway:
        gateway.request()
        gateway.request()
        async with asyncio.timeout(DEADLINE_S):
            with contextlib.suppress(ConnectionError):
                assert await gateway.reader.read() == b""


async def test_abort_is_a_disconnect_and_done_follows(tmp_path: Path) -> None:
    messages: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError
        while not messages or messages[-1]["type"] != "http.disconnect":
            messages.append(await receive())
        await reply(send, b"nobody hears this")

    ended: list[bool] = []
    server = WebServer(app, on_end=ended.append)
    async with serving(tmp_path, server) as path, peer(path) as gateway:
        gateway.request()
        gateway.send(frames.LAST, b"body")
        gateway.send(frames.ABORT)
        assert await gateway.frame() == (frames.DONE, b"")
        assert ended == [False]
    assert messages[-1]["type"] == "http.disconnect"


async def test_a_request_outlives_its_connection_as_an_orphan(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError
        await go.wait()
        await reply(send, b"x")

    ended: list[bool] = []
    server = WebServer(app, on_end=ended.append)
    async with serving(tmp_path, server) as path:
        async with peer(path) as gateway:
            gateway.request()
            gateway.send(frames.LAST)
            async with asyncio.timeout(DEADLINE_S):
                while not server.active:
                    await asyncio.sleep(0.005)
        assert ended == []
        async with asyncio.timeout(DEADLINE_S):
            while server.connections:
                await asyncio.sleep(0.005)
        go.set()
        await server.drain()
        assert ended == [True]


async def test_a_long_body_is_cut_into_pieces(tmp_path: Path) -> None:
    body = bytes(range(256)) * 4096

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError
        await reply(send, body)

    async with serving(tmp_path, WebServer(app)) as path, peer(path) as gateway:
        gateway.request()
        gateway.send(frames.LAST)
        assert (await gateway.frame())[0] == frames.RESPONSE
        got, kind = b"", 0
        while kind != frames.LAST:
            kind, piece = await gateway.frame()
            assert len(piece) <= frames.WEB_PIECE
            got += piece
        assert got == body
        assert await gateway.frame() == (frames.DONE, b"")


async def test_web_connections_wait_for_the_app_to_be_loaded(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    controls: list[bytes] = []

    class Control(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            controls.append(data)
            self.transport.close()

    link = Link(Control)
    await link.serve(listener)
    async with peer(tmp_path / "s") as gateway:
        gateway.request(b"/early")
        gateway.send(frames.LAST)
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        writer.write(frames.CONTROL[:1])
        await asyncio.sleep(0.01)
        writer.write(bytes([frames.VERSION]) + b"rest")
        assert await reader.read() == b""
        assert controls == [b"rest"]
        writer.close()
        server = WebServer(places)
        link.open_web(server.protocol)
        assert (await gateway.response())[1] == b"|/early|/early"
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
    writer.write(b"X\x01")
    assert await reader.read() == b""
    writer.close()
    link.close()
    server.close()
    await asyncio.sleep(0)


class Route:
    """As much of a Starlette route as the alias looks at."""

    class Match:
        def __init__(self, value: int) -> None:
            self.value = value

    def __init__(self, path: str) -> None:
        self.path = path

    def matches(self, scope: Any) -> tuple[Route.Match, dict[str, Any]]:
        inside = scope["path"][len(scope["root_path"]) :]
        return self.Match(2 if inside == self.path else 0), {}


class Routed:
    def __init__(self, *paths: str) -> None:
        self.routes = [Route(path) for path in paths]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await places(scope, receive, send)


@pytest.mark.parametrize(
    ("app", "name", "path", "root", "expected"),
    [
        (Routed("/"), "predict", b"/predict", b"", b"/predict|/predict/|/predict/"),
        (Routed("/"), "predict", b"/predict/docs", b"", b"/predict|/predict/docs|/predict/docs"),
        (Routed("/"), "predict", b"/predictor", b"", b"|/predictor|/predictor"),
        (Routed("/"), "predict", b"/", b"", b"|/|/"),
        (Routed("/"), "predict", b"/_web/x/predict", b"/_web/x", b"/_web/x/predict|/_web/x/predict/|/_web/x/predict/"),
        (Routed("/"), "", b"/predict", b"", b"|/predict|/predict"),
        (Routed("/predict"), "predict", b"/predict", b"", b"|/predict|/predict"),
        (Routed("/", "/docs"), "docs", b"/docs", b"", b"|/docs|/docs"),
        (places, "predict", b"/predict", b"", b"|/predict|/predict"),
    ],
)
async def test_alias(tmp_path: Path, app: Any, name: str, path: bytes, root: bytes, expected: bytes) -> None:
    async with serving(tmp_path, WebServer(app, name=name)) as address, peer(address) as gateway:
        assert (await gateway.get(path, root)) == (200, expected)


async def test_lifespan_that_fails_says_why() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(StartupFailed, match="no database"):
        await WebServer(app).startup()


async def test_wsgi(tmp_path: Path) -> None:
    closed = []

    class Stream:
        def __iter__(self) -> Any:
            yield b"one "
            yield b"two"

        def close(self) -> None:
            closed.append(True)

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        body = environ["wsgi.input"].read()
        start_response("201 Created", [("X-A", "b")])
        if environ["PATH_INFO"] == "/stream":
            return Stream()
        said = [environ[key] for key in ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "HTTP_X")]
        return ["|".join([*said, environ.get("HTTP_X_Y", "")]).encode("latin-1"), b"|", body]

    async with serving(tmp_path, WebServer(adapt(app, 2))) as path, peer(path) as gateway:
        gateway.request("/r/é".encode(), method=b"POST", root=b"/r", headers=(b"x", b"1", b"x_y", b"fake"))
        gateway.send(frames.BODY, b"he")
        gateway.send(frames.LAST, b"llo")
        assert await gateway.response() == (201, "POST|/r|/é|q=1|1||hello".encode())
        assert await gateway.get(b"/stream") == (201, b"one two")
        assert closed == [True]


async def test_wsgi_stops_streaming_to_nobody(tmp_path: Path) -> None:
    closed = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        environ["wsgi.input"].read()
        start_response("200 OK", [])
        try:
            while True:
                yield b"x" * 1000
        finally:
            closed.append(True)

    server = WebServer(adapt(app, 1))
    async with serving(tmp_path, server) as path, peer(path) as gateway:
        gateway.request()
        gateway.send(frames.LAST)
        assert (await gateway.frame())[0] == frames.RESPONSE
        gateway.send(frames.ABORT)
        while (await gateway.frame())[0] != frames.DONE:
            pass
        assert closed == [True]
