"""One live container of this worker: its process, socket, output and what is on disk to find it again.

Directory ``run/c/<id>/``: state.json (how to adopt it), place/ (shown to it), scratch/ (the runtime's), two fifos for
stdout and stderr. The socket is ``run/c/<id>.sock``. ``end`` removes all of it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket as sockets
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from ionian.logs import Record
from ionian.runtimes.runtime import Exit, Process, Runtime
from ionian.worker.output import Output

BACKLOG = 512


@dataclass(frozen=True, slots=True)
class State:
    """What survives a killed worker. ``pid`` 0: it was about to start."""

    container_id: str
    function_id: str
    app_id: str
    spec_key: str
    started_at: float
    pid: int = 0
    start_time: int = 0
    interactive: bool = False  # it has a terminal


class LiveContainer:
    """Made by ``create`` or ``adopt``; ``end`` when its process is gone."""

    def __init__(self, directory: Path, state: State, append: Callable[[list[Record]], None]) -> None:
        self.directory = directory
        self.state = state
        self.process: Process | None = None
        self.stopping = False
        self.signals: set[int] = set()  # that were sent to it
        self.output = Output(directory, state.container_id, state.function_id, append)

    @property
    def socket(self) -> Path:
        return self.directory.with_suffix(".sock")

    @property
    def scratch(self) -> Path:
        return self.directory / "scratch"

    @property
    def place(self) -> Path:
        return self.directory / "place"

    def listen(self) -> sockets.socket:
        """The container's listening socket, to be passed on: connections wait in its backlog until it is ready."""
        listener = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        listener.bind(str(self.socket))
        os.chmod(self.socket, 0o600)
        listener.listen(BACKLOG)
        return listener

    def save(self) -> None:
        """Write state.json so that it is whole or the one before."""
        temporary = self.directory / "state.json.new"
        temporary.write_text(json.dumps(asdict(self.state)))
        temporary.replace(self.directory / "state.json")

    def signal(self, number: int) -> None:
        self.signals.add(number)
        if self.process is not None:
            self.process.signal(number)

    async def wait(self) -> Exit:
        assert self.process is not None
        return await self.process.wait()

    async def end(self) -> None:
        """Nothing of it is left afterwards."""
        if self.process is not None:
            await self.process.reap()
        self.output.close()
        self.socket.unlink(missing_ok=True)
        shutil.rmtree(self.directory, onerror=_unlock)

    def last_output(self) -> str:
        return "".join(self.output.last)[-4000:].strip()


def create(root: Path, state: State, append: Callable[[list[Record]], None]) -> LiveContainer:
    """A container that is about to start: its directory and state are on disk first."""
    directory = root / state.container_id
    for part in (directory, directory / "scratch", directory / "place"):
        part.mkdir(mode=0o700)
    os.chmod(directory / "place", 0o755)
    container = LiveContainer(directory, state, append)
    container.save()
    return container


def adopt(
    root: Path, name: str, runtime: Runtime, appender: Callable[[str], Callable[[list[Record]], None]]
) -> LiveContainer | None:
    """A container a previous worker left; None when its process is gone (then its remains are removed).

    ``appender`` gives what takes the output of an app.
    """
    directory = root / name
    try:
        state = State(**json.loads((directory / "state.json").read_text()))
    except (OSError, ValueError, TypeError):
        shutil.rmtree(directory, onerror=_unlock)
        directory.with_suffix(".sock").unlink(missing_ok=True)
        return None
    process = runtime.adopt(state.container_id, state.pid, state.start_time, directory / "scratch")
    if process is None:
        directory.with_suffix(".sock").unlink(missing_ok=True)
        shutil.rmtree(directory, onerror=_unlock)
        return None
    container = LiveContainer(directory, state, appender(state.app_id))
    container.process = process
    return container


def ending(end: Exit, sent: Collection[int]) -> str:
    """What the logs say of how a container ended; empty when it ended well, or by a signal that was sent to it.

    One that dies is often told to stop a moment later, before its end is known: so being told to is no reason.
    """
    if end.out_of_memory:
        return "container killed: out of memory\n"
    if end.signal is not None:
        return (
            "" if end.signal in sent else f"container ended by signal {end.signal} ({signal.strsignal(end.signal)})\n"
        )
    return f"container ended with code {end.code}\n" if end.code else ""


def _unlock(function: Callable[[str], object], path: str, _: object) -> None:
    """An overlay's work directory has mode 000: open it and try again."""
    try:
        os.chmod(path, 0o700)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
    except FileNotFoundError:
        pass


KILL = signal.SIGKILL
