"""One started container, in either runtime: launch it, learn how it ended, kill it, remove what was made for it.

Everything made for a container is named in ``SCRATCH/.runtime/made.json`` before it is made, so that a later worker can
remove it too. The process that we hold is the container's init; signals pass through it to the program.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import marshal
import os
import py_compile
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ionian.errors import ContainerFailed, FailedPrecondition, InvalidRequest
from ionian.runtimes import cgroups, launch, trees
from ionian.runtimes.entered import COMMAND_MARK, MARK, Entered, Place, enter
from ionian.runtimes.runtime import Entry, Exit, SandboxSpec


@dataclass(frozen=True, slots=True)
class Made:
    """What exists because of a container: control groups, paths to remove, and layer directories to drop when empty."""

    groups: tuple[Path, ...] = ()
    paths: tuple[Path, ...] = ()
    hollow: tuple[Path, ...] = ()  # deepest first
    alone: bool = False  # no pid namespace: descendants have to be searched

    def save(self, scratch: Path) -> None:
        made = {"groups": self.groups, "paths": self.paths, "hollow": self.hollow, "alone": self.alone}
        (scratch / ".runtime").mkdir(exist_ok=True)
        (scratch / ".runtime/made.json").write_text(json.dumps(made, default=str))

    @staticmethod
    def load(scratch: Path) -> Made:
        try:
            made = json.loads((scratch / ".runtime/made.json").read_text())
        except (OSError, ValueError):
            return Made(paths=(scratch / ".runtime",))
        groups, paths, hollow = (tuple(Path(p) for p in made[key]) for key in ("groups", "paths", "hollow"))
        return Made(groups, paths, hollow, made["alone"])


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``launch`` is told, besides what the spec says. See there."""

    argv: tuple[str, ...]
    env: dict[str, str] = field(repr=False)
    cwd: str
    home: str = "/root"  # where the container's /root is
    unshare: int = 0
    steps: tuple[tuple[Any, ...], ...] = ()
    capabilities: int | None = None  # mask of those kept; None: all
    no_new_privileges: bool = False
    make_cwd: bool = False
    limits: tuple[tuple[int, int], ...] = ()  # (RLIMIT number, value)


def start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat: clock ticks since boot; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return None


def compile_launcher(state: Path) -> Path:
    """The launcher as bytecode under ``state``: compiling it at every start would cost milliseconds."""
    source = Path(launch.__file__)
    target = state / f"launch-{sys.implementation.cache_tag}.pyc"
    state.mkdir(parents=True, exist_ok=True)
    py_compile.compile(str(source), cfile=str(target), doraise=True)
    return target


class Container:
    """A ``Process``. Not for more than one event loop."""

    def __init__(self, container_id: str, pid: int, ticks: int, descriptor: int, scratch: Path, made: Made) -> None:
        self.container_id = container_id
        self.pid = pid
        self.start_time = ticks
        self._scratch = scratch
        self._made = made
        self._descriptor = descriptor  # a pidfd: never another process, whatever happens to the number
        self._ended: asyncio.Future[None] | None = None
        self._exit: Exit | None = None
        self._killed = False
        self._lock = asyncio.Lock()

    async def wait(self) -> Exit:
        """Until the program has ended. Several may wait."""
        if self._exit is None:
            loop = asyncio.get_running_loop()
            if self._ended is None:
                self._ended = loop.create_future()
                loop.add_reader(self._descriptor, self._note_end)
            await asyncio.shield(self._ended)
        assert self._exit is not None
        return self._exit

    def _note_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        self._exit = self._how()
        os.close(self._descriptor)
        self._descriptor = -1
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _how(self) -> Exit:
        """The init's own record first; then what the kernel says of the init, when it is our child."""
        status = None
        with contextlib.suppress(ChildProcessError):
            pid, found = os.waitpid(self.pid, os.WNOHANG)
            status = found if pid else None
        starved = cgroups.out_of_memory(self._made.groups)
        record = ""
        with contextlib.suppress(OSError):
            record = (self._scratch / ".runtime/exit").read_text()
        kind, _, number = record.strip().partition(" ")
        if kind == "exit":
            return Exit(int(number), None, starved and int(number) != 0)
        if kind == "signal":
            return Exit(128 + int(number), int(number), starved)
        if self._killed or (status is not None and os.WIFSIGNALED(status)):
            return Exit(137, 9, starved)
        return Exit(None, None, starved)

    def signal(self, number: int) -> None:
        """Signal the program; SIGKILL ends everything in the container. Nothing happens when it has ended."""
        if self._descriptor < 0:
            return
        if number == signal.SIGKILL:
            self._killed = True
            number = launch.KILL_ALL if self._made.alone else number
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    async def enter(self, entry: Entry) -> Entered:
        """See ``Process``."""
        if self._descriptor < 0:
            raise FailedPrecondition("the container has ended")
        return await enter(self.container_id, self.pid, self._scratch, self._made.groups, entry)

    async def reap(self) -> None:
        """Kill whatever is left and remove everything that was made. Safe to call twice, and at once."""
        async with self._lock:
            if self._exit is None:
                self.signal(signal.SIGKILL)
                try:
                    await asyncio.wait_for(self.wait(), 5)
                except TimeoutError:  # an init that is stopped or stuck
                    signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
            if self._made.alone:
                sweep(self.container_id)
            if self._exit is None:
                await self.wait()
            await cgroups.remove(self._made.groups)
            for _ in _removal(self._made):
                await asyncio.sleep(0)


def adopt(container_id: str, pid: int, ticks: int, scratch: Path) -> Container | None:
    """The container of an earlier worker, by its init's pid and start time; None, and removed, when it has ended.

    Pid 0: the worker died before it could note one. What may have started is ended.
    """
    made = Made.load(scratch)
    try:
        descriptor = os.pidfd_open(pid) if pid else -1
    except ProcessLookupError:
        descriptor = -1
    if descriptor >= 0 and start_time(pid) == ticks:
        sweep(container_id, COMMAND_MARK)  # what commands of that worker left running: nobody can reach it any more
        return Container(container_id, pid, ticks, descriptor, scratch, made)
    if descriptor >= 0:
        os.close(descriptor)
    if made.alone or not pid:
        sweep(container_id)
    discard(made)
    return None


def discard(made: Made) -> None:
    """Remove at once what was made for a container that does not run."""
    cgroups.remove_now(made.groups)
    trees.finish(_removal(made))


def _removal(made: Made) -> Iterator[None]:
    for path in made.hollow:
        with contextlib.suppress(OSError):  # not hollow: it belongs to the layer
            path.rmdir()
    for path in made.paths:
        yield from trees.removal(path)


def sweep(container_id: str, name: str = MARK) -> None:
    """Kill every process that has the container's mark of this name in its environment, until there is none."""
    mark = f"{name}={container_id}".encode()
    for _ in range(1000):
        found = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _marked(pid, mark)]
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        if not found:
            return


def _marked(pid: int, mark: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # a zombie's is empty
            return mark in file.read().split(b"\0")
    except OSError:
        return False


async def start(spec: SandboxSpec, plan: Plan, made: Made, launcher: Path) -> Container:
    """Launch. Raises InvalidRequest (the program cannot be run) or ContainerFailed (its surroundings cannot be made).

    ``made`` has been saved. Nothing is left after an error.
    """
    try:
        place = Place(plan.cwd, plan.home, plan.unshare, plan.capabilities, plan.no_new_privileges, plan.limits)
        place.save(spec.scratch)
        container, error = await _launch(spec, plan, made, launcher)
    except BaseException:
        discard(made)
        raise
    if error is None:
        return container
    await container.reap()
    raise error


async def _launch(spec: SandboxSpec, plan: Plan, made: Made, launcher: Path) -> tuple[Container, BaseException | None]:
    reader, writer = os.pipe()
    order = os.memfd_create("plan")
    try:
        os.write(order, marshal.dumps(_order(spec, plan, made)))
        os.lseek(order, 0, os.SEEK_SET)
        child = subprocess.Popen(  # noqa: ASYNC220 - returns after exec, which takes a millisecond
            [sys.executable, "-I", "-S", str(launcher), str(order), str(writer)],
            stdin=subprocess.DEVNULL if spec.stdin < 0 else spec.stdin,
            stdout=spec.stdout,
            stderr=spec.stderr,
            pass_fds=(order, writer, *spec.pass_fds),
            env={name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
            cwd="/",
        )
        os.close(writer)
        writer = -1
        report, cancelled = await _read_all(reader)
        child.wait()
    finally:
        for descriptor in (reader, writer, order):
            if descriptor >= 0:
                os.close(descriptor)
    return _started(spec, made, report, cancelled)


def _started(
    spec: SandboxSpec, made: Made, report: str, cancelled: asyncio.CancelledError | None
) -> tuple[Container, BaseException | None]:
    """What the launcher's report says: the container, and why it must be given up if so."""
    lines = dict(line.split(" ", 1) for line in report.splitlines())
    error = _error(spec, lines["error"]) if "error" in lines else None
    if "pid" not in lines:
        raise error or ContainerFailed("the container launcher ended without a report; see the worker's standard error")
    pid = int(lines["pid"])
    descriptor = os.pidfd_open(pid)  # at worst a zombie of ours, as we are its subreaper
    container = Container(spec.container_id, pid, start_time(pid) or 0, descriptor, spec.scratch, made)
    return container, cancelled or error


async def _read_all(reader: int) -> tuple[str, asyncio.CancelledError | None]:
    """Everything until end of file. When cancelled, the rest (milliseconds) is waited for, as a process hangs on it."""
    loop = asyncio.get_running_loop()
    parts: list[bytes] = []
    done = loop.create_future()

    def read() -> None:
        parts.append(os.read(reader, 65536))
        if not parts[-1] and not done.done():
            done.set_result(None)

    loop.add_reader(reader, read)
    cancelled = None
    try:
        await done
    except asyncio.CancelledError as error:
        cancelled = error
    finally:
        loop.remove_reader(reader)
    while not parts or parts[-1]:
        parts.append(os.read(reader, 65536))
    return b"".join(parts).decode("utf-8", "surrogateescape"), cancelled


def _error(spec: SandboxSpec, line: str) -> Exception:
    step, number, message = line.split(" ", 2)
    if step in ("cwd", "exec"):
        what = f"cannot run {spec.argv[0]!r}" if step == "exec" else f"cannot use the working directory {spec.cwd!r}"
        return InvalidRequest(f"{what}: {message}")
    failed = ContainerFailed(f"the container could not be set up ({step}: {message})")
    failed.step, failed.errno = step, int(number)  # type: ignore[attr-defined]
    return failed


def _order(spec: SandboxSpec, plan: Plan, made: Made) -> dict[str, Any]:
    return {
        "record": str(spec.scratch / ".runtime/exit"),
        "cgroups": [str(group) for group in made.groups],
        "unshare": plan.unshare,
        "subreaper": made.alone,
        "steps": list(plan.steps),
        "capabilities": plan.capabilities,
        "no_new_privileges": plan.no_new_privileges,
        "limits": list(plan.limits),
        "keep": list(spec.pass_fds),
        "argv": list(plan.argv),
        "env": {**plan.env, MARK: spec.container_id},
        "cwd": plan.cwd,
        "make_cwd": plan.make_cwd,
    }
