"""A real gateway on a real port in front of real runner web servers, and a raw HTTP/1.1 client to try them with."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ionian.config import Config
from ionian.errors import DeadlineExceeded
from ionian.gateway.internal import Handler
from ionian.gateway.router import Router, WebFunction
from ionian.gateway.server import Gateway
from ionian.runner.link import Link
from ionian.runner.web import WebServer

FUNCTION = WebFunction("fu-1", "local", "iris", "predict", "local--iris-predict", 300)
HOST = "local--iris-predict.localhost"
DEADLINE_S = 20


async def until(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds; fail after a generous deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


@dataclass
class Container:
    container_id: str
    socket: str
    capacity: int
    in_flight: int = 0
    broken: bool = False


class Slot:
    def __init__(self, slots: Slots, container: Container) -> None:
        self._slots = slots
        self._container = container
        self.container_id = container.container_id
        self.socket = container.socket
        self.released = 0

    def release(self, broken: bool = False) -> None:
        self.released += 1
        assert self.released == 1, "a slot was released twice"
        self._container.broken |= broken
        self._container.in_flight -= 1
        self._slots.serve()


class Slots:
    """An acquirer: a queue and containers with so many slots each. Remembers every slot it gave."""

    def __init__(self) -> None:
        self.containers: list[Container] = []
        self.given: list[Slot] = []
        self.waiting: deque[asyncio.Future[Slot]] = deque()

    def try_acquire(self, function_id: str) -> Slot | None:
        return None if self.waiting else self._take()

    def _take(self) -> Slot | None:
        free = [c for c in self.containers if c.in_flight < c.capacity and not c.broken]
        if not free:
            return None
        container = min(free, key=lambda c: c.in_flight)
        container.in_flight += 1
        self.given.append(Slot(self, container))
        return self.given[-1]

    async def acquire(self, function_id: str, timeout_s: float) -> Slot:
        future: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        self.serve()
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise DeadlineExceeded(f"no container was free within {timeout_s:g} s") from None
        finally:
            if future in self.waiting:
                self.waiting.remove(future)
            elif future.done() and not future.cancelled() and asyncio.current_task().cancelling():  # type: ignore[union-attr]
                future.result().release()

    def serve(self) -> None:
        while self.waiting:
            slot = self._take()
            if slot is None:
                return
            waiter = self.waiting.popleft()
            if waiter.cancelled():
                slot.release()
            else:
                waiter.set_result(slot)

    @property
    def held(self) -> int:
        return sum(1 for slot in self.given if not slot.released)

    def check(self) -> None:
        """Every slot that was given is back, once."""
        assert [slot.released for slot in self.given] == [1] * len(self.given)
        assert not self.waiting


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def get(
        self, path: str = "/", host: str = HOST, method: str = "GET", extra: str = "", body: bytes = b""
    ) -> Answer:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        await self.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{length}{extra}\r\n".encode() + body)
        return await self.answer(method)

    async def head(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(DEADLINE_S):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        pairs = [line.split(": ", 1) for line in lines[1:]]
        return int(lines[0].split(" ")[1]), {name.lower(): value for name, value in pairs}

    async def chunk(self) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            size = int((await self.reader.readuntil(b"\r\n")), 16)
            piece = await self.reader.readexactly(size + 2)
        return piece[:-2]

    async def answer(self, method: str = "GET") -> Answer:
        """The next final response; its body must be framed."""
        status, headers = await self.head()
        while status == 100:
            status, headers = await self.head()
        body = b""
        async with asyncio.timeout(DEADLINE_S):
            if method == "HEAD" or status in (204, 304):
                pass
            elif "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
            elif headers.get("transfer-encoding") == "chunked":
                while piece := await self.chunk():
                    body += piece
            else:
                body = await self.reader.read()
        return Answer(status, headers, body)

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    def reset(self) -> None:
        """Vanish without a goodbye."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()


@dataclass
class Site:
    gateway: Gateway
    slots: Slots
    router: Router
    port: int
    directory: Path
    servers: list[WebServer] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    killed: list[tuple[str, str]] = field(default_factory=list)  # container, reason

    async def add(self, app: Any, capacity: int = 1, **options: Any) -> WebServer:
        """One more container, running ``app``."""
        path = str(self.directory / f"c{len(self.slots.containers)}.sock")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(128)
        server = WebServer(app, **options)
        await server.startup()
        link = Link(asyncio.Protocol)
        await link.serve(listener)
        link.open_web(server.protocol)
        self.servers.append(server)
        self.links.append(link)
        self.join(path, capacity)
        return server

    def join(self, path: str, capacity: int = 1) -> Container:
        """A container that listens on ``path``."""
        container = Container(f"ta-{len(self.slots.containers)}", path, capacity)
        self.slots.containers.append(container)
        self.slots.serve()
        return container

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, limit=2**20))
        self.clients.append(client)
        return client

    async def get(self, path: str = "/", **options: Any) -> Answer:
        return await (await self.connect()).get(path, **options)


@contextlib.asynccontextmanager
async def site(
    tmp_path: Path, internal: Mapping[str, Handler] | None = None, function: WebFunction = FUNCTION, **settings: Any
) -> AsyncIterator[Site]:
    """A running gateway; at the end every slot must be back."""
    router, slots = Router(), Slots()
    router.replace([function])
    config = replace(Config(tmp_path), **settings)
    killed: list[tuple[str, str]] = []
    gateway = Gateway(
        config,
        router,
        slots,
        internal or {},
        asyncio.Protocol,
        sweep_s=0.02,
        kill=lambda container_id, reason: killed.append((container_id, reason)),
    )
    running = Site(gateway, slots, router, await gateway.start("127.0.0.1", 0), tmp_path, killed=killed)
    try:
        yield running
        for client in running.clients:
            client.writer.close()
        await until(lambda: not slots.held and not slots.waiting)
        slots.check()
        assert gateway.counters.in_flight == gateway.counters.queued == 0
    finally:
        await gateway.close()
        for server in running.servers:
            server.close()
            await server.shutdown()
        for link in running.links:
            link.close()
        await asyncio.sleep(0)


async def text(send: Any, body: bytes, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    """Answer with ``body`` at once."""
    fields = [(b"content-length", str(len(body)).encode()), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def read(receive: Any) -> bytes:
    """The whole request body."""
    body = b""
    while True:
        message: dict[str, Any] = await receive()
        if message["type"] != "http.request":
            raise ConnectionResetError
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)


async def show(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI app that answers with what it was asked, as JSON."""
    import json

    if scope["type"] != "http":
        raise RuntimeError
    body = await read(receive)
    seen = {key: scope[key] for key in ("method", "path", "root_path", "http_version", "scheme", "client", "server")}
    seen["query"] = scope["query_string"].decode()
    seen["raw_path"] = scope["raw_path"].decode()
    seen["headers"] = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    seen["body"] = body.decode("latin-1")
    await text(send, json.dumps(seen).encode())
