"""A world for dispatch: real scheduler, dispatch, links, journal and runner control; a clock and sockets of its own.

A socket is two queues of chunks, delivered when the test says so. What a killed server had written may still arrive.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from ionian.dispatch.dispatch import Dispatch
from ionian.dispatch.links import ControlLink
from ionian.dispatch.slot import Container
from ionian.engines.engine import ContainerExited, Engine
from ionian.errors import NotFound, ResourceExhausted
from ionian.model import (
    ContainerKind,
    ContainerSpec,
    ContainerState,
    FunctionSpec,
    JournalEntries,
    Journalled,
    RunningContainer,
    Status,
    spec_key,
)
from ionian.runner import frames
from ionian.runner.control import Connection, Control
from ionian.scheduler.loop import Scheduler
from ionian.state import calls
from ionian.state.database import SqliteDatabase

MACHINE = 6  # containers


class Side:
    """A transport: what is written waits in ``out`` until it is delivered. ``on_close`` is told once."""

    def __init__(
        self, on_close: Callable[[], None] = lambda: None, check: Callable[[bytes], None] = lambda data: None
    ) -> None:
        self._check = check
        self.out: deque[bytes] = deque()
        self.closed = False
        self._on_close = on_close

    def write(self, data: bytes) -> None:
        if not self.closed:
            self._check(data)
            self.out.append(data)

    def is_closing(self) -> bool:
        return self.closed

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> Side:
        return self

    def fileno(self) -> int:
        return -1  # nobody writes from another thread here

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._on_close()


class Wire:
    """One control connection between a server and a container."""

    def __init__(self, box: Box, link: ControlLink) -> None:
        self.box = box
        self.link = link
        self.server = Side(self.server_closed, self.check)
        self.container = Side()
        self.connection: Connection | None = None  # made when the program accepts
        self.told = False  # the server knows that the connection is lost

    def check(self, data: bytes) -> None:
        """What a server writes."""
        if self.box.ending and data != frames.CONTROL_PREFACE:
            kinds = {kind for kind, _ in frames.Parser().feed(data)}
            assert not kinds & {frames.INPUT, frames.BATCH}, "sent to a container that the server knows to end"

    def server_closed(self) -> None:
        asyncio.get_running_loop().call_soon(self.lost)

    def lost(self) -> None:
        if not self.told:
            self.told = True
            self.server.closed = True
            self.link.connection_lost(None)

    def accept(self) -> None:
        if self.connection is None:
            self.connection = Connection(self.box.control)
            self.connection.connection_made(cast(asyncio.Transport, self.container))

    def to_container(self) -> bool:
        """Deliver a chunk. False: there is none, or nobody takes it."""
        if not self.server.out or not self.box.alive or not self.box.loaded or self.container.closed:
            return False
        self.accept()
        assert self.connection is not None
        chunk = self.server.out.popleft()
        if chunk != frames.CONTROL_PREFACE:  # the listener takes that off
            self.connection.data_received(chunk)
            for kind, payload in frames.Parser().feed(chunk):
                if kind in (frames.INPUT, frames.BATCH):
                    header, _ = frames.split_control(payload)
                    ids = {one["id"] for one in header.get("inputs", [header])}
                    assert self.box.stopping or ids <= self.box.working.keys(), "sent to a container that ignores it"
        return True

    def to_server(self) -> bool:
        if self.told:
            return False
        if self.container.out:
            self.link.data_received(self.container.out.popleft())
            return True
        if not self.box.alive:
            self.lost()
            return True
        return False


class Box:
    """A container: the runner's real control, and a program whose inputs end when the test says so."""

    def __init__(self, world: World, spec: ContainerSpec) -> None:
        self.world = world
        self.spec = spec
        self.container_id = spec.container_id
        self.started_at = world.now
        self.alive = True
        self.loaded = False
        self.stopping = False
        self.ending = False  # the server of now has ended it, or knows that it has ended
        self.taken = 0  # inputs in its life
        self.working: dict[str, int] = {}  # inputs, with their attempt
        self.cancelled: set[str] = set()
        self.control = Control(self._inputs, self.cancelled.add, self._stop)
        self.control.greeting = lambda working: frames.control(
            frames.READY, {"web": False, "web_active": 0, "inputs": working}
        )

    def _inputs(self, inputs: list[tuple[dict[str, Any], bytes]]) -> None:
        assert self.alive
        batching = self.spec.function.batching
        assert len(inputs) <= (batching.max_size if batching else 1), "a batch is too long"
        for header, data in inputs:
            assert data == b"args", "arguments arrive whole"
            self.taken += 1
            most = self.spec.function.max_inputs
            assert not most or self.taken <= most, "more inputs than max_inputs"
            self.world.begun(self, header["id"], int(header["attempt"]))
            self.working[header["id"]] = int(header["attempt"])

    def _stop(self, grace_s: float) -> None:
        self.stopping = True

    def finish(self, input_id: str, status: Status) -> None:
        attempt = self.working.pop(input_id)
        text = f"{self.container_id} {attempt} {int(status)}".encode()
        parts = [len(text), 0, 0]
        self.control.output({"id": input_id, "status": int(status), "data_format": 1, "parts": parts}, text)

    def rest(self) -> None:
        """A stopped program ends when it has nothing to do."""
        if self.alive and self.stopping and not self.control.busy:
            self.exit(0)

    def exit(self, code: int) -> None:
        if self.alive:
            self.alive = False
            self.world.events.append(ContainerExited(self.container_id, code, None, False, ""))


class Blobs:
    async def put(self, data: bytes) -> str:
        raise AssertionError("no result of the test is long")

    async def pieces(self, sha256: str, size: int) -> AsyncIterator[bytes]:
        await self.gate.wait()
        yield b"ar"
        yield b"gs"

    gate: asyncio.Event


class WorldDispatch(Dispatch):
    """Dispatch whose containers are boxes."""

    world: World

    async def connect(self, container: Container) -> None:
        box = self.world.boxes.get(container.container_id)
        if box is not None and box.alive:
            link = ControlLink(container.container_id, self)
            wire = Wire(box, link)
            self.world.wires.append(wire)
            link.connection_made(cast(asyncio.Transport, wire.server))


class Timer:
    def __init__(self, then: Callable[[], None]) -> None:
        self._then: Callable[[], None] | None = then

    def run(self) -> None:
        if self._then is not None:
            self._then()

    def cancel(self) -> None:
        self._then = None


class World:
    """Database, clock and containers outlive servers. ``server`` is None while there is none."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, database: SqliteDatabase, crash_requeue: bool, seed: int
    ) -> None:
        loop.call_later = self.call_later  # type: ignore[assignment,method-assign]
        self.database = database
        self.crash_requeue = crash_requeue
        self.random = random.Random(seed)
        self.now = 1_000_000.0
        self.live: dict[str, FunctionSpec] = {}
        self.boxes: dict[str, Box] = {}
        self.wires: list[Wire] = []
        self.events: deque[ContainerExited] = deque()
        self.starts: Counter[str] = Counter()
        self.taken_back: Counter[str] = Counter()
        self.over: set[str] = set()  # inputs whose cancellation every server of now knows
        self.full = False  # the disk
        self.gate: asyncio.Event | None = None  # holds a commit's answer back
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self.server: WorldDispatch | None = None
        self.scheduler: Scheduler
        self.blobs = Blobs()
        self.blobs.gate = asyncio.Event()
        self.blobs.gate.set()

    # -- what a box and a server need

    def begun(self, box: Box, input_id: str, attempt: int) -> None:
        assert input_id not in self.over, f"{input_id} begins after its cancellation"
        self.starts[input_id] += 1

    def later(self, seconds: float, then: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._timers, (self.now + seconds, self._count, then))

    def call_later(self, delay: float, then: Callable[..., None], *args: Any, context: Any = None) -> Timer:
        """The event loop's own timers run by the clock of this world too."""
        timer = Timer(lambda: then(*args))
        self.later(delay, timer.run)
        return timer

    async def journal(self, entries: JournalEntries) -> Journalled:
        if self.full:
            raise ResourceExhausted("the disk is full")
        server = self.server
        done = await self.database.write(calls.commit, entries)
        if self.gate is not None:
            await self.gate.wait()
        if self.server is not server:
            raise asyncio.CancelledError
        return done

    # -- engine

    async def start(self, spec: ContainerSpec) -> str:
        assert self.server is not None
        pool = self.server.pools[spec.function.function_id]
        current = [
            c
            for c in pool.containers.values()
            if c.state in (ContainerState.STARTING, ContainerState.READY) and c.key == pool.key
        ]
        limit = pool.spec.scaling.max_containers
        assert limit is None or len(current) <= limit, "more containers than max_containers"
        assert sum(box.alive for box in self.boxes.values()) < MACHINE, "more containers than the machine may have"
        self.boxes[spec.container_id] = Box(self, spec)
        return "socket"

    async def stop(self, container_id: str, grace_s: float) -> None:
        box = self.boxes.get(container_id)
        if box is None or not box.alive:
            return
        box.ending = True
        if grace_s and box.loaded:
            box.control.stop(grace_s)
            box.rest()
        else:
            box.exit(137)

    def running(self) -> list[RunningContainer]:
        return [
            RunningContainer(b.container_id, f.function_id, f.app_id, "socket", b.started_at, spec_key(f))
            for b in self.boxes.values()
            if b.alive
            for f in [b.spec.function]
        ]

    # -- servers

    async def boot(self) -> None:
        """A server starts over the same database, and takes over the containers that live."""
        server = WorldDispatch(
            lambda: self.now,
            self.blobs,
            self.journal,
            lambda *_: None,
            self._kill,
            1000,
            self.crash_requeue,
            self.later,
        )
        server.world = self
        self.server = server
        self.scheduler = Scheduler(server, cast(Engine, self), self._prepare, self._describe, MACHINE, cores=2)
        self.events.clear()
        server.apply(list(self.live.values()))
        await self.scheduler.adopt(self.running(), await self.database.read(calls.open_inputs))
        await self.settle()

    def _kill(self, container_id: str, reason: str) -> None:
        self.scheduler.kill(container_id, reason)

    async def _prepare(self, spec: FunctionSpec) -> None:
        raise NotFound("nothing is missing here")

    async def _describe(self, container_id: str, spec: FunctionSpec) -> ContainerSpec:
        return ContainerSpec(container_id, ContainerKind.FUNCTION, spec.app_id, spec)

    async def kill_server(self) -> None:
        """SIGKILL. Of what lies in its sockets, some is still read by its containers."""
        self.server = None
        self._timers.clear()
        if self.gate is not None:
            self.gate.set()
            self.gate = None
        self.blobs.gate = asyncio.Event()
        for wire in self.wires:
            wire.server.closed = wire.told = True
            for _ in range(self.random.randint(0, len(wire.server.out))):
                wire.to_container()
            wire.server.out.clear()
            if wire.connection is not None and self.random.random() < 0.5:
                wire.connection.connection_lost(None)
        self.wires.clear()
        for box in self.boxes.values():
            box.ending = False
        await self.settle()
        self.blobs.gate.set()

    async def settle(self) -> None:
        """Let everything run that waits for nothing."""
        for _ in range(8):
            await asyncio.sleep(0)
        for box in list(self.boxes.values()):
            box.rest()

    async def flush(self) -> None:
        if self.server is not None:
            with contextlib.suppress(ResourceExhausted):
                await self.server.calls.ledger.flush()
            await self.settle()

    async def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            at, _, then = heapq.heappop(self._timers)
            self.now = max(self.now, at)
            then()
            await self.settle()
        self.now = end

    async def step(self) -> None:
        if self.server is not None:
            self.scheduler.step()
            await self.settle()

    async def event(self) -> bool:
        """The engine tells of an exit."""
        if self.server is None or not self.events:
            return False
        event = self.events.popleft()
        self.boxes[event.container_id].ending = True
        self.scheduler.exited(event)
        await self.settle()
        return True

    def load(self, box: Box) -> None:
        """The program is ready: it accepts who has connected."""
        box.loaded = True
        for wire in self.wires:
            if wire.box is box and not wire.told:
                wire.accept()
