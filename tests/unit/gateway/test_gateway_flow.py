"""Slots, queues, time, pace: who holds what, for how long, and that memory stays bounded."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ionian.errors import NotFound, ResourceExhausted
from ionian.gateway.router import WebFunction
from ionian.runner import frames
from tests.unit.gateway.web_site import FUNCTION, HOST, Client, Site, Slot, read, site, text, until

MIB = 1024 * 1024
GET = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


class Gate:
    """An app that waits in ``threading`` or ``asyncio`` until it is let go, and counts how many run at once."""

    def __init__(self, *, thread: bool = False) -> None:
        self.thread = thread
        self.open = threading.Event()
        self.running = self.most = self.total = 0
        self.disconnects = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError
        self.running += 1
        self.total += 1
        self.most = max(self.most, self.running)
        try:
            if self.thread:
                await asyncio.get_running_loop().run_in_executor(None, self.open.wait, 60)
            else:
                await read(receive)
                watch = asyncio.create_task(receive())
                while not self.open.is_set() and not watch.done():
                    await asyncio.sleep(0.002)
                self.disconnects += watch.done()
                watch.cancel()
            await text(send, b"done")
        finally:
            self.running -= 1


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path) as running:
        yield running


async def test_sync_requests_never_overlap_though_clients_leave(shop: Site) -> None:
    gate = Gate(thread=True)
    await shop.add(gate, capacity=1)
    for turn in range(4):
        client = await shop.connect()
        await client.send(GET)
        await until(lambda turn=turn: gate.total == 1 and shop.gateway.counters.queued == (turn > 0))  # type: ignore[misc]
        if turn % 2:
            client.reset()
        else:
            client.writer.close()
    await until(lambda: shop.gateway.counters.client_gone == 4)
    assert (gate.running, gate.total, shop.slots.held) == (1, 1, 1)  # its thread still works: the slot is not free
    last = asyncio.create_task(shop.get())
    await until(lambda: shop.gateway.counters.queued == 1)
    assert gate.total == 1
    gate.open.set()
    assert (await last).body == b"done"
    assert gate.most == 1
    assert gate.total == 2


async def test_storm_of_leaving_clients_in_a_one_at_a_time_container(shop: Site) -> None:
    gate = Gate(thread=True)
    gate.open.set()
    await shop.add(gate, capacity=1)

    async def visit(turn: int) -> None:
        client = await shop.connect()
        await client.send(GET)
        if turn % 3 == 0:
            await asyncio.sleep(turn % 7 / 1000)
            client.reset()
        elif turn % 3 == 1:
            client.writer.close()
        else:
            assert (await client.answer()).body == b"done"

    for _ in range(4):
        await asyncio.gather(*(visit(turn) for turn in range(60)))
    assert gate.most == 1


async def test_a_client_that_leaves_the_queue_never_reaches_a_container(shop: Site) -> None:
    gate = Gate()
    await shop.add(gate, capacity=1)
    first = asyncio.create_task(shop.get())
    await until(lambda: gate.running == 1)
    waiting = [await shop.connect() for _ in range(5)]
    for client in waiting:
        await client.send(GET)
    await until(lambda: shop.gateway.counters.queued == 5)
    for client in waiting[:4]:
        client.reset()
    await until(lambda: shop.gateway.counters.queued == 1)
    gate.open.set()
    assert (await first).body == b"done"
    assert (await waiting[4].answer()).body == b"done"
    assert gate.total == 2


async def test_an_async_app_sees_the_client_leave(shop: Site) -> None:
    gate = Gate()
    await shop.add(gate, capacity=1)
    client = await shop.connect()
    await client.send(GET)
    await until(lambda: gate.running == 1)
    client.reset()
    await until(lambda: gate.disconnects == 1 and not shop.slots.held)
    assert not any(slot._container.broken for slot in shop.slots.given)


async def test_a_client_that_leaves_while_uploading_in_the_queue(shop: Site) -> None:
    client = await shop.connect()
    client.writer.write(
        f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {50 * MIB}\r\n\r\n".encode() + bytes(8 * MIB)
    )
    await until(lambda: shop.gateway.counters.queued == 1)
    await until(lambda: not next(iter(shop.gateway.connections))._reading)  # type: ignore[union-attr]
    client.reset()
    await until(lambda: shop.gateway.counters.queued == 0 and not shop.gateway.connections)


async def test_the_queue_is_work_conserving(shop: Site) -> None:
    """While requests wait, every slot is in use: at each start of a request none is free and unused."""
    idle_while_waiting = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal idle_while_waiting
        if scope["type"] != "http":
            raise RuntimeError
        await asyncio.sleep(0.002)
        free = sum(c.capacity - c.in_flight for c in shop.slots.containers)
        idle_while_waiting += bool(free and shop.slots.waiting)
        await text(send, b"ok")

    for _ in range(3):
        await shop.add(app, capacity=2)

    async def visit() -> None:
        client = await shop.connect()
        for _ in range(10):
            assert (await client.get()).body == b"ok"

    await asyncio.gather(*(visit() for _ in range(30)))
    assert idle_while_waiting == 0
    assert len(shop.slots.given) == 300


async def test_queue_wait_over_and_queue_full(tmp_path: Path) -> None:
    async with site(tmp_path, queue_wait_s=0.05) as shop:
        answer = await shop.get()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert "no container was free" in json.loads(answer.body)["detail"]

        async def full(function_id: str, timeout_s: float) -> Slot:
            raise ResourceExhausted("10000 requests wait already")

        shop.slots.acquire = full  # type: ignore[method-assign]
        answer = await shop.get()
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")


async def test_a_function_that_has_just_gone_is_404(shop: Site) -> None:
    def gone(function_id: str) -> Slot | None:
        raise NotFound("function fu-1 is gone")

    shop.slots.try_acquire = gone  # type: ignore[method-assign]
    client = await shop.connect()
    for _ in range(2):
        answer = await client.get()
        assert (answer.status, json.loads(answer.body)["detail"]) == (404, "function fu-1 is gone")


async def test_timeout_is_504_and_the_slot_waits_for_the_app(tmp_path: Path) -> None:
    function = WebFunction("fu-1", "local", "iris", "predict", "local--iris-predict", 0.1)
    async with site(tmp_path, function=function) as shop:
        gate = Gate(thread=True)
        await shop.add(gate)
        answer = await shop.get()
        assert answer.status == 504
        assert "0.1 s" in json.loads(answer.body)["detail"]
        assert "ta-0" in json.loads(answer.body)["detail"]
        waiting = asyncio.create_task(shop.get())
        await until(lambda: shop.gateway.counters.queued == 1)
        assert (gate.running, gate.total, shop.slots.held) == (1, 1, 1)
        gate.open.set()
        assert (await waiting).body == b"done"
        await until(lambda: not shop.slots.held)
        assert not shop.slots.containers[0].broken


async def test_timeout_cancels_an_async_app(tmp_path: Path) -> None:
    cancelled = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    function = WebFunction("fu-1", "local", "iris", "predict", "local--iris-predict", 0.1)
    async with site(tmp_path, function=function) as shop:
        await shop.add(app, cancellable=True)
        assert (await shop.get()).status == 504
        await until(lambda: bool(cancelled) and not shop.slots.held)


async def test_an_app_that_never_returns_after_its_timeout_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ionian.gateway.upstream._GRACE_S", 0.05)
    function = WebFunction("fu-1", "local", "iris", "predict", "local--iris-predict", 0.05)
    async with site(tmp_path, function=function) as shop:
        gate = Gate(thread=True)
        server = await shop.add(gate)
        assert (await shop.get()).status == 504
        await until(lambda: shop.slots.containers[0].broken)
        assert [container for container, _ in shop.killed] == ["ta-0"]
        assert server.active == 1
        gate.open.set()
        await until(lambda: server.active == 0)


async def test_a_container_with_a_hung_request_ends_after_the_others_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ionian.gateway.upstream._GRACE_S", 0.05)
    function = WebFunction("fu-1", "local", "iris", "predict", "local--iris-predict", 1.0)
    async with site(tmp_path, function=function) as shop:
        gate = Gate(thread=True)
        await shop.add(gate, capacity=2)
        first = asyncio.create_task(shop.get())
        await until(lambda: gate.running == 1)
        await asyncio.sleep(0.5)  # so that their times are not over at once
        second = asyncio.create_task(shop.get())
        await until(lambda: gate.running == 2)
        assert (await first).status == 504
        await until(lambda: shop.slots.containers[0].broken)
        assert not shop.killed
        assert (await second).status == 504
        await until(lambda: bool(shop.killed))
        gate.open.set()


async def test_a_dead_container_costs_one_retry(shop: Site) -> None:
    dead = str(shop.directory / "dead.sock")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(dead)  # bound, not listening: connections are refused
    shop.join(dead)
    gate = Gate()
    gate.open.set()
    await shop.add(gate)
    assert (await shop.get()).body == b"done"
    assert shop.slots.containers[0].broken
    assert [slot.released for slot in shop.slots.given] == [1, 1]


async def test_two_dead_containers_are_502(shop: Site) -> None:
    for name in ("a", "b"):
        shop.join(str(shop.directory / name))
    answer = await shop.get()
    assert answer.status == 502
    assert "ta-1" in json.loads(answer.body)["detail"]
    assert "ionian logs iris" in json.loads(answer.body)["detail"]


@contextlib.asynccontextmanager
async def fake_container(shop: Site, script: list[bytes | None]) -> AsyncIterator[None]:
    """A container that answers a request with ``script`` byte for byte; None closes the connection."""

    tasks: list[asyncio.Task[None]] = []
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readexactly(2)
            size, _ = frames.HEADER.unpack(await reader.readexactly(5))
            await reader.readexactly(size)
            for step in script:
                if step is None:
                    writer.close()
                    return
                writer.write(step)
                await writer.drain()
                await asyncio.sleep(0.01)
            await reader.read()
        writer.close()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        tasks.append(asyncio.create_task(serve(reader, writer)))

    path = str(shop.directory / "fake.sock")
    server = await asyncio.start_unix_server(accepted, path)
    shop.join(path)
    yield
    server.close()
    for writer in writers:
        writer.close()
    await asyncio.gather(*tasks)


HEAD = frames.frame(frames.RESPONSE, frames.response_head(200, []))


@pytest.mark.parametrize(
    "script",
    [
        [None],
        [HEAD[:7], None],
        [frames.frame(frames.BODY, b"x"), frames.frame(frames.DONE)],
        [frames.frame(frames.LAST, b"x"), frames.frame(frames.DONE)],
        [frames.frame(frames.DONE)],
        [frames.frame(99, b"x")],
        [frames.HEADER.pack(2**31, frames.BODY)],
        [frames.frame(frames.RESPONSE, b"abc"), frames.frame(frames.DONE)],
        [frames.frame(frames.RESPONSE, b"200\0a\0b\nc:d"), frames.frame(frames.DONE)],
        [HEAD + HEAD, frames.frame(frames.DONE)],
    ],
)
async def test_a_container_that_misbehaves_is_502(shop: Site, script: list[bytes | None]) -> None:
    async with fake_container(shop, script):
        answer = await shop.get()
        assert answer.status == 502
        detail = json.loads(answer.body)["detail"]
        assert "ta-0" in detail
        assert "ionian logs iris" in detail
        await until(lambda: not shop.slots.held)


@pytest.mark.parametrize(
    "script",
    [
        [HEAD + frames.frame(frames.BODY, b"some"), None],
        [HEAD + frames.frame(frames.BODY, b"some"), frames.frame(frames.DONE, b"oops")],
        [HEAD + frames.frame(frames.BODY, b"some"), frames.frame(99)],
        [HEAD + frames.frame(frames.BODY, b"some"), HEAD, frames.frame(frames.DONE)],
    ],
)
async def test_after_the_head_the_connection_breaks(shop: Site, script: list[bytes | None]) -> None:
    async with fake_container(shop, script):
        client = await shop.connect()
        await client.send(GET)
        status, headers = await client.head()
        assert (status, headers["transfer-encoding"]) == (200, "chunked")
        assert not (await client.rest()).endswith(b"0\r\n\r\n")
        await until(lambda: not shop.slots.held)


async def test_junk_after_done_does_not_reach_the_next_request(shop: Site) -> None:
    last = frames.frame(frames.LAST, b"good") + frames.frame(frames.DONE)
    async with fake_container(shop, [HEAD + last + HEAD + last]):
        client = await shop.connect()
        assert (await client.get()).body == b"good"
        await until(lambda: not shop.gateway.pool.every)


async def test_a_killed_container_in_the_middle_of_a_request(shop: Site, tmp_path: Path) -> None:
    code = """
import asyncio, socket, sys
from ionian.runner.link import Link
from ionian.runner.web import WebServer
async def app(scope, receive, send):
    if scope["type"] != "http": raise RuntimeError
    if scope["path"] == "/hang":
        print("hanging", flush=True)
        await asyncio.sleep(1000)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x", "more_body": True})
    await asyncio.sleep(1000)
async def main():
    listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1]); listener.listen()
    web, link = WebServer(app), Link(asyncio.Protocol)
    await link.serve(listener); link.open_web(web.protocol)
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    path = str(tmp_path / "killed.sock")
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, path, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    shop.join(path, capacity=2)
    streaming = await shop.connect()
    await streaming.send(GET)
    assert (await streaming.head())[0] == 200
    hanging = asyncio.create_task(shop.get("/hang"))
    assert await process.stdout.readline() == b"hanging\n"
    process.send_signal(signal.SIGKILL)
    await process.wait()
    answer = await hanging
    assert answer.status == 502
    assert {"error", "detail", "request_id"} == set(json.loads(answer.body))
    assert "ta-0" in json.loads(answer.body)["detail"]
    assert not (await streaming.rest()).endswith(b"0\r\n\r\n")
    await until(lambda: not shop.slots.held)
    assert shop.slots.containers[0].broken


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def test_large_upload_and_download_stream_in_bounded_memory(shop: Site) -> None:
    size = 192 * MIB
    seen = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal seen
        if scope["type"] != "http":
            raise RuntimeError
        while (message := await receive())["more_body"]:
            seen += len(message["body"])
        seen += len(message["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        piece = bytes(MIB)
        for _ in range(size // MIB):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    await shop.add(app)
    before = peak_kib()
    client = await shop.connect()
    await client.send(f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {size}\r\n\r\n".encode())
    for _ in range(size // MIB):
        await client.send(bytes(MIB))
    _, headers = await client.head()
    assert headers["transfer-encoding"] == "chunked"
    got = 0
    while piece := await client.chunk():
        got += len(piece)
    assert (seen, got) == (size, size)
    assert peak_kib() - before < 48 * 1024


async def test_a_client_that_does_not_read_stops_the_app(shop: Site) -> None:
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        if scope["type"] != "http":
            raise RuntimeError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": bytes(MIB), "more_body": True})
            sent += 1
        await send({"type": "http.response.body"})

    await shop.add(app)
    with socket.create_connection(("127.0.0.1", shop.port)) as sock:
        sock.setblocking(False)
        sock.send(GET)
        before, still = -1, 0
        while still < 20:  # until nothing has moved for a while
            before, still = sent, still + 1 if sent == before and sent else 0
            await asyncio.sleep(0.01)
        assert sent < 40  # kernel buffers, not a gigabyte
        got = 0
        deadline = time.monotonic() + 20
        while got < 64 * MIB and time.monotonic() < deadline:
            try:
                got += len(sock.recv(MIB))
            except BlockingIOError:
                await asyncio.sleep(0.001)
        assert got >= 64 * MIB  # and it goes on when the client does
    await until(lambda: not shop.slots.held)


async def test_an_app_that_does_not_read_stops_the_client(shop: Site) -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError
        await go.wait()
        body = await read(receive)
        await text(send, str(len(body)).encode())

    await shop.add(app)
    client = await shop.connect()
    await client.send(f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {64 * MIB}\r\n\r\n".encode())
    done = 0

    async def upload() -> None:
        nonlocal done
        for _ in range(64):
            await client.send(bytes(MIB))
            done += 1

    uploading = asyncio.create_task(upload())
    before, still = -1, 0
    while still < 20:
        before, still = done, still + 1 if done == before else 0
        await asyncio.sleep(0.01)
    assert done < 32
    go.set()
    await uploading
    assert (await client.answer()).body == str(64 * MIB).encode()


async def test_pieces_arrive_when_they_are_sent(shop: Site) -> None:
    step = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for turn in range(3):
            await send({"type": "http.response.body", "body": b"event %d" % turn, "more_body": True})
            await step.wait()
            step.clear()
        await send({"type": "http.response.body"})

    await shop.add(app)
    client = await shop.connect()
    await client.send(GET)
    await client.head()
    for turn in range(3):
        assert await client.chunk() == b"event %d" % turn
        step.set()
    assert await client.chunk() == b""


async def test_a_background_task_keeps_the_slot(shop: Site) -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError
        await text(send, b"ok")
        await go.wait()

    await shop.add(app)
    client = await shop.connect()
    assert (await client.get()).body == b"ok"
    assert shop.slots.held == 1
    await client.send(GET)
    await until(lambda: shop.gateway.counters.queued == 1)
    go.set()
    assert (await client.answer()).body == b"ok"


async def test_drain_lets_requests_finish_and_close_breaks_them(shop: Site) -> None:
    gate = Gate()
    await shop.add(gate, capacity=2)
    idle = await shop.connect()
    clients: list[Client] = [await shop.connect() for _ in range(2)]
    for client in clients:
        await client.send(GET)
    await until(lambda: gate.running == 2)
    assert not await shop.gateway.drain(0.05)
    assert await idle.rest() == b""
    with pytest.raises(OSError, match=r"."):
        await asyncio.open_connection("127.0.0.1", shop.port)
    draining = asyncio.create_task(shop.gateway.drain(20))
    gate.open.set()
    for client in clients:
        answer = await client.answer()
        assert (answer.body, answer.headers["connection"]) == (b"done", "close")
    assert await draining


async def test_grpc_connections_are_handed_over(tmp_path: Path) -> None:
    class Seen(asyncio.Protocol):
        data = b""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            Seen.data += data
            self.transport.write(b"h2!")  # type: ignore[attr-defined]

    async with site(tmp_path) as shop:
        shop.gateway.grpc = Seen
        client = await shop.connect()
        for piece in (b"P", b"RI * HT", b"TP/2.0\r\n\r\nSM", b"\r\n\r\nmore"):
            await client.send(piece)
            await asyncio.sleep(0.01)
        assert await client.reader.readexactly(3) == b"h2!"
        await until(lambda: Seen.data == b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore")
        posts = await shop.connect()
        await posts.send(b"P")
        await asyncio.sleep(0.01)
        await posts.send(f"OST /nope HTTP/1.1\r\nHost: {FUNCTION.label}x.localhost\r\n\r\n".encode())
        assert (await posts.answer()).status == 404
