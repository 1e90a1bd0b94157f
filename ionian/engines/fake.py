"""Engine fake: containers that are coroutines in this process. For tests; it can be told to fail in every way.

A container listens on a real unix socket and speaks the real control protocol: what it returns for an input is the
input's own bytes. Nothing is built and nothing is isolated.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ionian.engines.engine import BuildDone, BuildOutput, BuildRequest, ContainerExited, Event
from ionian.errors import ContainerFailed, WorkerAway
from ionian.model import ContainerSpec, FunctionSpec, MountFile, RunningContainer, Status, spec_key
from ionian.runner import frames


@dataclass
class Knobs:
    """How containers misbehave from now on."""

    refuse_start: str = ""  # raise ContainerFailed with this text
    away: int = 0  # so many next starts find no worker
    killed: int = 0  # so many next containers are killed while they start
    fail_load: str = ""  # start, then report FAILED with this text and exit
    never_ready: bool = False
    die_on_input: bool = False
    hold_inputs: bool = False  # take inputs, answer only when ``release`` is set
    release: asyncio.Event = field(default_factory=asyncio.Event)


class FakeContainer:
    def __init__(self, engine: FakeEngine, spec: ContainerSpec, socket: Path) -> None:
        self.spec = spec
        self.socket = socket
        self.started_at = time.time()
        self.inputs: list[str] = []
        self.cancelled: list[str] = []
        self._engine = engine
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        self._server = await asyncio.start_unix_server(self._link, str(self.socket))

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._links.add(writer)
        self._engine.open_links += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._speak(reader, writer)
        self._links.discard(writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        self._engine.open_links -= 1

    async def _speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        knobs, parser = self._engine.knobs, frames.Parser()
        await reader.readexactly(len(frames.CONTROL_PREFACE))
        if knobs.fail_load:
            writer.write(frames.control(frames.FAILED, {"exception": knobs.fail_load, "traceback": ""}))
            await writer.drain()
            await self.exit(1)
            return
        if knobs.killed:
            knobs.killed -= 1
            await self.exit(None)
            return
        if not knobs.never_ready:
            writer.write(frames.control(frames.READY, {"web": False, "web_active": 0, "inputs": []}))
        while data := await reader.read(65536):
            for kind, payload in parser.feed(data):
                task = asyncio.get_running_loop().create_task(self._frame(kind, payload, writer))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _frame(self, kind: int, payload: bytes, writer: asyncio.StreamWriter) -> None:
        header, args = frames.split_control(payload)
        if kind == frames.CANCEL:
            self.cancelled.append(header["id"])
        if kind == frames.BATCH:
            start = 0
            for one in header["inputs"]:
                await self._input(one, args[start : start + one["size"]], writer)
                start += one["size"]
        elif kind == frames.INPUT:
            await self._input(header, args, writer)

    async def _input(self, header: dict[str, Any], args: bytes, writer: asyncio.StreamWriter) -> None:
        knobs = self._engine.knobs
        self.inputs.append(header["id"])
        if knobs.die_on_input:
            await self.exit(9)
            return
        if knobs.hold_inputs:
            await knobs.release.wait()
        answer = {"id": header["id"], "status": int(Status.SUCCESS), "data_format": 1, "parts": [len(args), 0, 0]}
        writer.write(frames.control(frames.OUTPUT, answer, args))

    async def exit(self, code: int | None) -> None:
        """End, whatever it was doing."""
        if self._engine.live.pop(self.spec.container_id, None) is None:
            return
        if self._server is not None:
            self._server.close()
        for writer in self._links:
            writer.close()
        self.socket.unlink(missing_ok=True)
        self._engine.report(ContainerExited(self.spec.container_id, code, None, False, ""))


class FakeEngine:
    """Implements ``Engine``. ``live`` are its containers by id; ``started`` counts all there ever were."""

    def __init__(self, directory: Path) -> None:
        self.knobs = Knobs()
        self.live: dict[str, FakeContainer] = {}
        self.started = 0
        self.open_links = 0
        self._directory = directory
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def report(self, event: Event) -> None:
        self._events.put_nowait(event)

    async def start(self, spec: ContainerSpec) -> str:
        if self.knobs.refuse_start:
            raise ContainerFailed(self.knobs.refuse_start)
        if self.knobs.away:
            self.knobs.away -= 1
            raise WorkerAway("the worker is not connected")
        self.started += 1
        container = FakeContainer(self, spec, self._directory / f"{self.started}.sock")
        await container.listen()
        self.live[spec.container_id] = container
        return str(container.socket)

    async def stop(self, container_id: str, grace_s: float) -> None:
        container = self.live.get(container_id)
        if container is not None:
            await container.exit(0 if grace_s else None)

    async def running(self) -> list[RunningContainer]:
        return [
            RunningContainer(
                container_id=c.spec.container_id,
                function_id=c.spec.function.function_id,
                app_id=c.spec.app_id,
                socket=str(c.socket),
                started_at=c.started_at,
                spec_key=spec_key(c.spec.function),
            )
            for c in self.live.values()
        ]

    async def build(self, request: BuildRequest) -> AsyncIterator[BuildOutput | BuildDone]:
        """Nothing is built: the image is its base."""
        yield BuildOutput("fake engine: nothing is built\n")
        yield BuildDone(request.base_layers, request.env, request.workdir, request.python_version, {})

    async def prepare(self, function: FunctionSpec, mounts: Mapping[str, tuple[MountFile, ...]]) -> None:
        """Nothing is needed."""

    async def release(self, app_id: str) -> None:
        """Nothing was made."""

    async def events(self) -> AsyncIterator[Event]:
        while True:
            yield await self._events.get()
