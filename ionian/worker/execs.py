"""Commands that clients run inside containers: started, read from, written to, waited for; all by container and id.

They end with their container, and with this worker. A command that has ended is remembered for ``KEEP_S`` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field

from ionian.errors import IonianError, NotFound, ResourceExhausted
from ionian.model import ExecChunk, ExecEnd, ExecSpec, ExecStdin
from ionian.runner import spec as launch_spec
from ionian.runtimes.runtime import Command, Entry, Terminal
from ionian.worker.container import LiveContainer
from ionian.worker.tape import Feed, Tape

KEEP_S = 600.0  # seconds for which a command that has ended can be asked about
MOST_RUNNING = 256  # commands in one container at once
MOST_ENDED = 64  # ended commands of one container that are remembered
DRAIN_S = 5.0  # seconds that a waiter gives a reader to take the rest of the output
READ_S = 0.5  # seconds after its start by when an eager client has begun to read
STDOUT, STDERR = 1, 2
_OURS = ("IONIAN_SPEC", "IONIAN_LIB", "IONIAN_SOCKET_FD", "IONIAN_STREAM_MARKS")  # of the runner alone


@dataclass
class Exec:
    """One command. ``begun`` has a result once it runs, or the reason why it does not."""

    spec: ExecSpec
    begun: asyncio.Future[None]
    command: Command | None = None
    stdin: Feed = field(default_factory=lambda: Feed(-1))
    tapes: dict[int, Tape] = field(default_factory=dict)
    exit: ExecEnd | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    started_at: float = 0.0  # the loop's time
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def close(self) -> None:
        self.stdin.close()
        for tape in self.tapes.values():
            tape.close()


class Execs:
    """``find`` gives a live container. Belongs to one event loop."""

    def __init__(self, find: Callable[[str], LiveContainer | None]) -> None:
        self._find = find
        self._known: dict[str, dict[str, Exec]] = {}

    async def start(self, spec: ExecSpec) -> None:
        """Start a command; the same one again does nothing. Raises NotFound (no such container), InvalidRequest."""
        known = self._known.setdefault(spec.container_id, {})
        found = known.get(spec.exec_id)
        if found is None:
            if sum(one.exit is None for one in known.values()) >= MOST_RUNNING:
                raise ResourceExhausted(f"container {spec.container_id} runs {MOST_RUNNING} commands already")
            found = known[spec.exec_id] = Exec(spec, asyncio.get_running_loop().create_future())
            self._task(found, self._begin(found))
        try:
            await asyncio.shield(found.begun)
        except IonianError:
            known.pop(spec.exec_id, None)
            raise

    def _task(self, one: Exec, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        one.tasks.add(task)
        task.add_done_callback(one.tasks.discard)

    async def _begin(self, one: Exec) -> None:
        try:
            live = self._find(one.spec.container_id)
            if live is None or live.process is None:
                raise NotFound(f"container {one.spec.container_id} is not running")
            await _start(one, live)
        except BaseException as error:
            one.close()
            one.begun.set_exception(error)
            one.begun.exception()  # somebody may wait for it, or nobody any more
            if not isinstance(error, IonianError):
                raise
            return
        one.started_at = asyncio.get_running_loop().time()
        one.begun.set_result(None)
        self._task(one, self._follow(one))

    async def _follow(self, one: Exec) -> None:
        assert one.command is not None
        loop, timer = asyncio.get_running_loop(), None
        if one.spec.timeout_s:
            timer = loop.call_later(one.spec.timeout_s, one.command.signal, signal.SIGKILL)
        end = await one.command.wait()
        if timer is not None:
            timer.cancel()
        for tape in one.tapes.values():
            tape.finish()
        one.stdin.close()
        one.exit = ExecEnd(137 if end.code is None else end.code, end.signal)
        one.ended.set()
        loop.call_later(KEEP_S, self._forget, one)
        ended = [other for other in self._known.get(one.spec.container_id, {}).values() if other.exit is not None]
        for other in ended[:-MOST_ENDED]:
            self._forget(other)
        await one.command.gone()

    def _forget(self, one: Exec) -> None:
        one.close()
        known = self._known.get(one.spec.container_id, {})
        if known.get(one.spec.exec_id) is one:
            del known[one.spec.exec_id]
        if not known:
            self._known.pop(one.spec.container_id, None)

    async def _get(self, container_id: str, exec_id: str) -> Exec:
        one = self._known.get(container_id, {}).get(exec_id)
        if one is None:
            raise NotFound(
                f"no command {exec_id} in container {container_id}: it ended long ago, or with its container"
            )
        await asyncio.shield(one.begun)
        return one

    async def read(self, container_id: str, exec_id: str, stream: int, offset: int, wait_s: float) -> ExecChunk:
        """What the command wrote from that byte on. Raises NotFound, InvalidRequest, FailedPrecondition."""
        one = await self._get(container_id, exec_id)
        tape = one.tapes.get(stream)
        data, last = await tape.read(offset, wait_s) if tape is not None else (b"", True)
        return ExecChunk(data, last)

    async def write(
        self, container_id: str, exec_id: str, offset: int, data: bytes, eof: bool, turn: int | None, index: int
    ) -> int:
        """Write to the command; see ``Feed.write``."""
        one = await self._get(container_id, exec_id)
        return await one.stdin.write(offset, data, eof, turn, index)

    async def stdin(self, container_id: str, exec_id: str) -> ExecStdin:
        """How far its input is; whoever was writing is told to stop."""
        one = await self._get(container_id, exec_id)
        return ExecStdin(*one.stdin.status())

    async def wait(self, container_id: str, exec_id: str, wait_s: float) -> ExecEnd | None:
        """How it ended, once those who read have got its output; None when it still runs after ``wait_s`` seconds."""
        one = await self._get(container_id, exec_id)
        if one.exit is None and wait_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(one.ended.wait(), wait_s)
        if one.exit is not None and wait_s > 0:
            await _drained(one)
        return one.exit

    async def end(self, container_id: str) -> None:
        """The container has ended: so do its commands. What they wrote can be read for a while."""
        for one in list(self._known.get(container_id, {}).values()):
            if one.command is not None:
                one.command.signal(signal.SIGKILL)
            while one.tasks:
                await asyncio.wait(set(one.tasks))

    def close(self) -> None:
        """Drop what is remembered."""
        for known in list(self._known.values()):
            for one in list(known.values()):
                self._forget(one)


async def _start(one: Exec, live: LiveContainer) -> None:
    """Start the command with pipes or a terminal, and take up our ends of them."""
    spec = one.spec
    env = {**_variables(live), **dict(spec.env)}
    terminal = Terminal(*spec.terminal) if spec.terminal else None
    assert live.process is not None
    if terminal is not None:
        entry = Entry(spec.argv, env=env, without=_OURS, cwd=spec.cwd, terminal=terminal)
        one.command = await live.process.enter(entry)
        master = one.command.terminal
        writer = os.dup(master)
        one.tapes[STDOUT] = Tape(master)
        one.stdin = Feed(writer, lambda: _type_end(writer))
        return
    theirs: list[int] = []
    try:
        reader, writer = os.pipe()
        theirs.append(reader)
        one.stdin = Feed(writer)
        for stream in (s for s, wanted in ((STDOUT, spec.stdout), (STDERR, spec.stderr)) if wanted):
            reader, writer = os.pipe()
            theirs.append(writer)
            one.tapes[stream] = Tape(reader)
        stdout = theirs[1] if spec.stdout else -1
        stderr = theirs[-1] if spec.stderr else -1
        entry = Entry(spec.argv, env, _OURS, spec.cwd, theirs[0], stdout, stderr)
        one.command = await live.process.enter(entry)
    finally:
        for descriptor in theirs:
            os.close(descriptor)


def _type_end(terminal: int) -> None:
    """What a person types to say that there is no more."""
    with contextlib.suppress(OSError):
        os.write(terminal, b"\x04")


def _variables(live: LiveContainer) -> dict[str, str]:
    """What the runner adds to its own environment: its children have it, and so has a command."""
    try:
        launch = launch_spec.load((live.place / "spec.json").read_text())
    except FileNotFoundError:  # a container without a runner
        return {}
    paths = ":".join(filter(None, (launch.code_root, launch.client_path)))
    found = {"MODAL_TASK_ID": live.state.container_id, "MODAL_FUNCTION_ID": launch.function_id}
    found |= {"MODAL_ENVIRONMENT": launch.environment_name, "MODAL_SERVER_URL": launch.server_url, "PYTHONPATH": paths}
    given = {name: value for name, value in found.items() if value}
    return {"MODAL_IS_REMOTE": "1", "MODAL_CLOUD_PROVIDER": "local", "MODAL_REGION": "local", **given}


async def _drained(one: Exec) -> None:
    """Until everybody who reads has been told the end, for ``DRAIN_S`` seconds at most.

    Clients leave as soon as they have the exit code, whatever output is on its way to them. One that has not begun
    to read gets until ``READ_S``: after that it is one that reads later, or not at all.
    """
    loop = asyncio.get_running_loop()
    until, begin = loop.time() + DRAIN_S, one.started_at + READ_S
    while loop.time() < until:
        tapes = [tape for tape in one.tapes.values() if not tape.done]
        if not any(tape.used or (tape.waiting and loop.time() < begin) for tape in tapes):
            return
        await asyncio.sleep(0.01)
