"""Commands in containers, played: the worker's own bookkeeping over processes of this machine."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ionian.errors import InvalidRequest
from ionian.model import ExecChunk, ExecEnd, ExecSpec, ExecStdin
from ionian.runtimes.runtime import Entry, Exit
from ionian.worker.execs import Execs


class HostCommand:
    """A process of this machine, as ``runtimes.runtime.Command``."""

    terminal = -1

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    async def wait(self) -> Exit:
        code = await self._process.wait()
        return Exit(code) if code >= 0 else Exit(128 - code, -code)

    async def gone(self) -> None:
        await self._process.wait()

    def signal(self, number: int) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)


async def enter(entry: Entry) -> HostCommand:
    """Run it beside us instead of in a container."""
    quiet = asyncio.subprocess.DEVNULL
    streams = [quiet if number < 0 else number for number in (entry.stdin, entry.stdout, entry.stderr)]
    try:
        process = await asyncio.create_subprocess_exec(
            *entry.argv,
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            env={"PATH": "/usr/bin:/bin", **entry.env},
        )
    except FileNotFoundError as error:
        raise InvalidRequest(f"cannot run {entry.argv[0]!r} in the container: {error.strerror}") from None
    return HostCommand(process)


@dataclass
class PlayedExecs:
    """``engines.engine.Execs`` over the worker's. ``containers``: those that are alive; ``starts``: what was asked."""

    containers: set[str] = field(default_factory=set)
    starts: list[ExecSpec] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.worker = Execs(self._find)

    def _find(self, container_id: str) -> Any:
        if container_id not in self.containers:
            return None
        return SimpleNamespace(process=SimpleNamespace(enter=enter), place=Path("/nonexistent"))

    async def exec_start(self, spec: ExecSpec) -> None:
        self.starts.append(spec)
        await self.worker.start(spec)

    async def exec_read(self, container_id: str, exec_id: str, stream: int, offset: int, wait_s: float) -> ExecChunk:
        return await self.worker.read(container_id, exec_id, stream, offset, wait_s)

    async def exec_write(
        self,
        container_id: str,
        exec_id: str,
        offset: int,
        data: bytes,
        eof: bool,
        turn: int | None = None,
        index: int = 0,
    ) -> int:
        return await self.worker.write(container_id, exec_id, offset, data, eof, turn, index)

    async def exec_stdin(self, container_id: str, exec_id: str) -> ExecStdin:
        return await self.worker.stdin(container_id, exec_id)

    async def exec_wait(self, container_id: str, exec_id: str, wait_s: float) -> ExecEnd | None:
        return await self.worker.wait(container_id, exec_id, wait_s)

    async def end(self) -> None:
        """Nothing runs on after a test."""
        for container_id in self.containers:
            await self.worker.end(container_id)
        self.worker.close()
