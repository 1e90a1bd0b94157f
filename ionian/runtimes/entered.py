"""A command inside a container that runs already: start it there, learn how it ended, kill it.

It gets the namespaces, control groups, rights, limits and variables of the container's own program, which say what they
are: nothing of it is kept but ``SCRATCH/.runtime/place.json``, so that a later worker can start commands too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import marshal
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ionian
from ionian.errors import ContainerFailed, FailedPrecondition, InvalidRequest
from ionian.runtimes.runtime import Entry, Exit

MARK = "IONIAN_CONTAINER_ID"  # in the environment of every program, so that strays can be found
COMMAND_MARK = "IONIAN_COMMAND_IN"  # in that of every command: they do not outlive the worker that started them
_ROOT = "/root"
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from ionian.runtimes.enter import main; "
    "main(int(sys.argv[2]), int(sys.argv[3]))"
)
_LONGEST = 65536  # bytes of a message


@dataclass(frozen=True, slots=True)
class Place:
    """What a later command needs to know of a container."""

    cwd: str
    home: str  # where its /root is
    unshare: int
    capabilities: int | None
    no_new_privileges: bool
    limits: tuple[tuple[int, int], ...]

    def save(self, scratch: Path) -> None:
        fields = {name: getattr(self, name) for name in self.__slots__}
        (scratch / ".runtime/place.json").write_text(json.dumps(fields))

    @staticmethod
    def load(scratch: Path) -> Place:
        """Raises FailedPrecondition for a container that an older version started."""
        try:
            fields = json.loads((scratch / ".runtime/place.json").read_text())
        except (OSError, ValueError):
            raise FailedPrecondition(
                "this container was started by an older Ionian; commands run in containers started since the update"
            ) from None
        return Place(**{**fields, "limits": tuple((int(a), int(b)) for a, b in fields["limits"])})


class Entered:
    """A command that has begun. ``terminal``: the master of its terminal (the caller's to close), or -1."""

    def __init__(self, terminal: int, attendant: Attendant) -> None:
        loop = asyncio.get_running_loop()
        self.pid = attendant.pid
        self.terminal = terminal
        self._attendant = attendant
        self._exit: asyncio.Future[Exit] = loop.create_future()
        self._following = loop.create_task(self._follow())

    async def _follow(self) -> None:
        while (line := await self._attendant.line()) is not None:
            kind, _, number = line.partition(" ")
            if kind == "exit":
                self._exit.set_result(Exit(int(number)))
            elif kind == "signal":
                self._exit.set_result(Exit(128 + int(number), int(number)))
        self._attendant.close()
        if not self._exit.done():  # the attendant was killed, and so the command was
            self._exit.set_result(Exit(137, 9))

    async def wait(self) -> Exit:
        """Until it has ended. Several may wait."""
        return await asyncio.shield(self._exit)

    async def gone(self) -> None:
        """Until nothing of ours waits for it or for what it left behind. Its container has ended, or will not soon."""
        await asyncio.shield(self._following)

    def signal(self, number: int) -> None:
        """Signal the command and those of its session's first process group. Nothing happens when it has ended."""
        if not self._exit.done():
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._attendant.command, number)
                os.killpg(self.pid, number)  # it has not been waited for yet, so the number is still its own


class Attendant:
    """The worker's end of the socket of one ``enter`` program, and that program."""

    def __init__(self, process: subprocess.Popen[bytes], status: socket.socket) -> None:
        self.pid = 0  # of the command
        self.command = -1  # its pidfd
        self.descriptors: list[int] = []  # that came and nobody took
        self._process = process
        self._status = status
        self._lines: list[str] = []
        self._data = b""

    async def line(self) -> str | None:
        """What it says next; None when it has ended."""
        while b"\n" not in self._data:
            if not await self._receive():
                return None
        line, _, self._data = self._data.partition(b"\n")
        return line.decode("utf-8", "surrogateescape")

    async def _receive(self) -> bool:
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._status, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._status)
        data, descriptors, _, _ = socket.recv_fds(self._status, _LONGEST, 4)
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        self.descriptors += descriptors
        self._data += data
        return bool(data)

    def close(self) -> None:
        """It has ended, or is to; then its command ends too, and is a child of ours for a moment."""
        self._process.kill()
        self._process.wait()
        self._status.close()
        if self.command >= 0:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PIDFD, self.command, os.WEXITED)
            self.descriptors.append(self.command)
            self.command = -1
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors.clear()


async def enter(container_id: str, pid: int, scratch: Path, groups: tuple[Path, ...], entry: Entry) -> Entered:
    """Start a command in the container with that init.

    Raises InvalidRequest (it cannot be run), FailedPrecondition (the container ends), ContainerFailed.
    """
    place = Place.load(scratch)
    program = _program(pid)
    plan = _plan(container_id, place, program, groups, entry)
    with _processes(pid, program) as processes:
        plan["processes"] = processes
        attendant = _launch(plan, entry, processes)
    try:
        return await _started(attendant, entry)
    except BaseException:
        attendant.close()
        raise


def _launch(plan: dict[str, Any], entry: Entry, processes: list[int]) -> Attendant:
    ours, theirs = socket.socketpair()
    order = os.memfd_create("entry")
    try:
        os.write(order, marshal.dumps(plan))
        os.lseek(order, 0, os.SEEK_SET)
        library = str(Path(ionian.__file__).resolve().parent.parent)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BOOT, library, str(order), str(theirs.fileno())],
            stdin=entry.stdin if entry.stdin >= 0 else subprocess.DEVNULL,
            stdout=entry.stdout if entry.stdout >= 0 else subprocess.DEVNULL,
            stderr=entry.stderr if entry.stderr >= 0 else subprocess.DEVNULL,
            pass_fds=(order, theirs.fileno(), *processes),
            env={name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
            cwd="/",
        )
    except BaseException:
        ours.close()
        raise
    finally:
        os.close(order)
        theirs.close()
    ours.setblocking(False)
    return Attendant(process, ours)


async def _started(attendant: Attendant, entry: Entry) -> Entered:
    """Follow its report up to the start of the command."""
    terminal = -1
    while (line := await attendant.line()) is not None:
        kind, _, rest = line.partition(" ")
        if kind == "terminal":
            terminal = attendant.descriptors[0]
        elif kind == "pid":
            attendant.pid, attendant.command = int(rest), attendant.descriptors.pop()
        elif kind == "error":
            raise _error(entry, rest)
        elif kind == "started":
            attendant.descriptors.clear()
            return Entered(terminal, attendant)
    raise FailedPrecondition("the container ended while the command was being started")


def _error(entry: Entry, line: str) -> Exception:
    step, _, message = line.split(" ", 2)
    if step == "exec":
        return InvalidRequest(f"cannot run {entry.argv[0]!r} in the container: {message}")
    if step == "cwd":
        return InvalidRequest(f"cannot use the working directory {entry.cwd or 'of the container'}: {message}")
    return ContainerFailed(f"the command could not be started in the container ({step}: {message})")


def _program(pid: int) -> int:
    """The container's own program: the oldest child of its init."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        children = []
    if not children:
        raise FailedPrecondition("the container has ended")
    return int(children[0])


@contextlib.contextmanager
def _processes(*pids: int) -> Iterator[list[int]]:
    found: list[int] = []
    try:
        for pid in pids:
            found.append(os.pidfd_open(pid))
        yield found
    except ProcessLookupError:
        raise FailedPrecondition("the container has ended") from None
    finally:
        for descriptor in found:
            os.close(descriptor)


def _plan(container_id: str, place: Place, program: int, groups: tuple[Path, ...], entry: Entry) -> dict[str, Any]:
    env = {**_environment(program, entry.without), **entry.env, MARK: container_id, COMMAND_MARK: container_id}
    return {
        "cgroups": [str(group) for group in groups],
        "unshare": place.unshare,
        "terminal": [entry.terminal.rows, entry.terminal.columns] if entry.terminal else None,
        "capabilities": place.capabilities,
        "no_new_privileges": place.no_new_privileges,
        "limits": [list(limit) for limit in place.limits],
        "argv": list(entry.argv),
        "env": env,
        "cwd": _directory(place, entry.cwd),
    }


def _directory(place: Place, cwd: str) -> str:
    if not cwd:
        return place.cwd
    if cwd == _ROOT or cwd.startswith(f"{_ROOT}/"):
        return place.home + cwd.removeprefix(_ROOT)
    return cwd


def _environment(program: int, without: tuple[str, ...]) -> dict[str, str]:
    """What the container's program was started with."""
    try:
        data = Path(f"/proc/{program}/environ").read_bytes()
    except OSError as error:
        raise FailedPrecondition(f"the variables of the container's program cannot be read: {error.strerror}") from None
    pairs = (item.decode("utf-8", "surrogateescape").partition("=") for item in data.split(b"\0") if b"=" in item)
    return {name: value for name, _, value in pairs if name and name not in without}
