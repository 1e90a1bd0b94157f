"""SEAM Engine: starts and stops containers and builds images on some machine. Implementations: local, fake.

``start`` answers with the container's socket before the program is ready: connections wait in the socket's backlog, so
nothing polls for readiness. Whoever connects learns that it is ready (or failed) from the control link.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from ionian.images.request import BuildDone as BuildDone
from ionian.images.request import BuildOutput as BuildOutput
from ionian.images.request import BuildRequest as BuildRequest
from ionian.model import (
    ContainerSpec,
    ExecChunk,
    ExecEnd,
    ExecSpec,
    ExecStdin,
    FunctionSpec,
    MountFile,
    RunningContainer,
)


@dataclass(frozen=True, slots=True)
class ContainerExited:
    """A container has ended and everything of it has been removed."""

    container_id: str
    code: int | None
    signal: int | None
    out_of_memory: bool
    last_output: str  # the last lines it printed, for error messages


@dataclass(frozen=True, slots=True)
class LogsWritten:
    """New log records of this app are on disk."""

    app_id: str


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """The worker went away; its containers are unknown until it is back."""


Event = ContainerExited | LogsWritten | WorkerLost


class Execs(Protocol):
    """Commands inside running containers. Each raises NotFound for a container or command that is not there."""

    async def exec_start(self, spec: ExecSpec) -> None:
        """Start a command. Raises InvalidRequest when it cannot be run."""

    async def exec_read(self, container_id: str, exec_id: str, stream: int, offset: int, wait_s: float) -> ExecChunk:
        """Output from a byte offset on; empty when none came in ``wait_s`` seconds. ``stream``: 1 or 2.

        Raises FailedPrecondition when that offset is kept no more."""

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
        """Write input, once by its byte offset, or by the number of the message (from 1); the bytes written in all.

        Raises FailedPrecondition when the input is closed."""

    async def exec_stdin(self, container_id: str, exec_id: str) -> ExecStdin:
        """How far the input is. Who was writing with an earlier turn is told to stop."""

    async def exec_wait(self, container_id: str, exec_id: str, wait_s: float) -> ExecEnd | None:
        """How it ended; None when it runs on after ``wait_s`` seconds."""


class Engine(Protocol):
    async def start(self, spec: ContainerSpec) -> str:
        """Start a container; returns its unix socket. Raises InvalidRequest, ContainerFailed, Unavailable."""

    async def stop(self, container_id: str, grace_s: float) -> None:
        """Drain, then kill after ``grace_s`` seconds. Returns at once; ContainerExited follows. Unknown id: nothing."""

    async def running(self) -> list[RunningContainer]: ...

    def build(self, request: BuildRequest) -> AsyncIterator[BuildOutput | BuildDone]:
        """Build an image, output as it comes, BuildDone last. Raises BuildFailed with command and last lines."""

    async def prepare(self, function: FunctionSpec, mounts: Mapping[str, tuple[MountFile, ...]]) -> None:
        """Make ready what this function needs (client package, mount trees by digest, links on the host).

        Called at deploy, so that a first start is quick. Raises InvalidRequest naming what cannot be provided here."""

    async def release(self, app_id: str) -> None:
        """The app is gone: remove what ``prepare`` made for it."""

    def events(self) -> AsyncIterator[Event]: ...
