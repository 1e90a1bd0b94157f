"""Engine local: containers on this machine, through the worker process. Starts the worker when none is there.

The worker outlives this process. A lost connection is one WorkerLost event; ``connect`` then finds or starts one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ionian import codec
from ionian.config import Config
from ionian.engines.engine import (
    BuildDone,
    BuildOutput,
    BuildRequest,
    ContainerExited,
    Event,
    LogsWritten,
    WorkerLost,
)
from ionian.errors import IonianError, Unavailable, WorkerAway
from ionian.model import (
    ContainerSpec,
    ExecChunk,
    ExecEnd,
    ExecSpec,
    ExecStdin,
    FunctionSpec,
    Isolation,
    MountFile,
    RunningContainer,
)
from ionian.worker import rpc

START_TIMEOUT_S = 30.0
GREETINGS = 20  # tries to get a first answer from a worker
RECONNECTS = 5  # tries to start one again
RECONNECT_S = 1.0  # seconds between them
log = logging.getLogger("ionian")


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    pid: int
    isolation: Isolation
    details: tuple[str, ...]


class LocalEngine:
    """One connection to the one worker of this home."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._child: subprocess.Popen[bytes] | None = None  # the worker, when this process started it
        self._greeted = False
        self.replaced = False  # it is not the worker of the start any more
        self._next_id = 0
        self._answers: dict[int, asyncio.Queue[rpc.Message]] = {}
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self.info: WorkerInfo

    async def connect(self, spawn: bool = True) -> WorkerInfo:
        """Connect to the worker, starting it if there is none. Raises Unavailable with its last words."""
        for tries_left in reversed(range(GREETINGS)):
            reader, self._writer = await self._open(spawn)
            self._reading = asyncio.get_running_loop().create_task(self._read(reader))
            try:
                hello = await self._request("hello", {})
            except Unavailable:  # one that dies accepts connections for a moment still
                if not tries_left:
                    raise
                await asyncio.sleep(0.05)
                continue
            self._greeted = True
            self.info = WorkerInfo(hello["pid"], Isolation(hello["isolation"]), tuple(hello["details"]))
            break
        return self.info

    async def reconnect(self) -> None:
        """Connect again after a WorkerLost. Raises Unavailable when no worker can be started."""
        self.replaced = True
        for tries_left in reversed(range(RECONNECTS)):
            try:
                await self.connect()
                return
            except Unavailable as error:  # it may have been ended once more while it started
                if not tries_left:
                    raise
                log.error("the worker cannot be reached, trying again: %s", error)
                await asyncio.sleep(RECONNECT_S)

    async def _open(self, spawn: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await asyncio.open_unix_connection(str(self._config.worker_socket))
        except OSError:
            if not spawn:
                raise Unavailable("no worker is running") from None
            return await self._spawn()

    async def _spawn(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._config.logs.mkdir(parents=True, exist_ok=True)
        log = self._config.logs / "worker.log"
        begin = log.stat().st_size if log.exists() else 0
        self._child = child = self._start_worker(log)
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
        while asyncio.get_running_loop().time() < deadline:
            with contextlib.suppress(OSError):
                return await asyncio.open_unix_connection(str(self._config.worker_socket))
            await asyncio.sleep(0.01)
            if child.poll() == rpc.ANOTHER_RUNS:  # it is about to serve, or to end
                await asyncio.sleep(0.1)
                self._child = child = self._start_worker(log)
            elif child.poll() is not None:
                break
        with open(log, "rb") as written:
            written.seek(begin)
            words = written.read().decode(errors="replace").strip()[-2000:]
        raise Unavailable(f"the worker did not start: {words or 'it said nothing'} (see {log})")

    def _start_worker(self, log: Path) -> subprocess.Popen[bytes]:
        environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        with open(log, "ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "ionian.worker", json.dumps(codec.dump(self._config))],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=environ,
            )

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while (message := await rpc.receive(reader)) is not None:
            if "id" in message:
                queue = self._answers.get(message["id"])
                if queue is not None:
                    queue.put_nowait(message)
            else:
                self._event(message)
        if self._writer is not None:
            self._writer.close()
        self._writer = None
        for queue in self._answers.values():
            queue.put_nowait({"error": rpc.error_message(WorkerAway("the worker went away"))})
        if self._greeted:
            self._greeted = False
            self._events.put_nowait(WorkerLost())

    def _event(self, message: rpc.Message) -> None:
        kind = message.pop("event")
        if kind == "exited":
            self._events.put_nowait(ContainerExited(**message))
        elif kind == "logs":
            self._events.put_nowait(LogsWritten(message["app_id"]))

    async def _exchange(self, method: str, params: dict[str, Any]) -> AsyncIterator[rpc.Message]:
        """Send a request; parts as they come, the result last."""
        if self._writer is None:
            raise WorkerAway("the worker is not connected; it is being restarted, try again")
        self._next_id += 1
        request_id = self._next_id
        queue = self._answers[request_id] = asyncio.Queue()
        try:
            rpc.send(self._writer, {"id": request_id, "method": method, "params": params})
            while True:
                message = await queue.get()
                if "error" in message:
                    raise rpc.error_from(message["error"])
                yield message
                if "result" in message:
                    return
        finally:
            del self._answers[request_id]

    async def _request(self, method: str, params: dict[str, Any]) -> Any:
        async for message in self._exchange(method, params):
            if "result" in message:
                return message["result"]
        raise IonianError("unreachable: an exchange ends with a result or an error")

    async def start(self, spec: ContainerSpec) -> str:
        socket: str = await self._request("start", {"spec": codec.dump(spec)})
        return socket

    async def stop(self, container_id: str, grace_s: float) -> None:
        await self._request("stop", {"container_id": container_id, "grace_s": grace_s})

    async def type_at_terminal(self, container_id: str, number: int, data: bytes) -> None:
        """Piece ``number`` of what is typed for an interactive container. Raises NotFound, FailedPrecondition."""
        typed = {"container_id": container_id, "number": number, "data": codec.dump(data)}
        await self._request("type", typed)

    async def claim_terminal(self, container_id: str) -> bool:
        """Whether the caller is the first to type for an interactive container that wants somebody."""
        return bool(await self._request("claim", {"container_id": container_id}))

    async def running(self) -> list[RunningContainer]:
        return [codec.load(RunningContainer, item) for item in await self._request("running", {})]

    async def running_then(self) -> list[RunningContainer]:
        """The same, waiting for the next worker when this one is lost meanwhile. Raises WorkerAway."""
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
        while True:
            try:
                return await self.running()
            except WorkerAway:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.05)  # who follows the events starts one

    async def build(self, request: BuildRequest) -> AsyncIterator[BuildOutput | BuildDone]:
        async for message in self._exchange("build", {"request": codec.dump(request)}):
            if "part" in message:
                yield BuildOutput(message["part"])
            else:
                yield codec.load(BuildDone, message["result"])

    async def prepare(self, function: FunctionSpec, mounts: Mapping[str, tuple[MountFile, ...]]) -> None:
        await self._request("prepare", {"function": codec.dump(function), "mounts": codec.dump(mounts)})

    async def release(self, app_id: str) -> None:
        await self._request("release", {"app_id": app_id})

    async def exec_start(self, spec: ExecSpec) -> None:
        await self._request("exec_start", {"spec": codec.dump(spec)})

    async def exec_read(self, container_id: str, exec_id: str, stream: int, offset: int, wait_s: float) -> ExecChunk:
        where = {"container_id": container_id, "exec_id": exec_id, "stream": stream}
        return codec.load(ExecChunk, await self._request("exec_read", {**where, "offset": offset, "wait_s": wait_s}))

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
        where = {"container_id": container_id, "exec_id": exec_id, "offset": offset}
        given = {**where, "data": codec.dump(data), "eof": eof, "turn": turn, "index": index}
        written: int = await self._request("exec_write", given)
        return written

    async def exec_stdin(self, container_id: str, exec_id: str) -> ExecStdin:
        where = {"container_id": container_id, "exec_id": exec_id}
        return codec.load(ExecStdin, await self._request("exec_stdin", where))

    async def exec_wait(self, container_id: str, exec_id: str, wait_s: float) -> ExecEnd | None:
        where = {"container_id": container_id, "exec_id": exec_id, "wait_s": wait_s}
        end = await self._request("exec_wait", where)
        return codec.load(ExecEnd, end) if end else None

    async def events(self) -> AsyncIterator[Event]:
        while True:
            yield await self._events.get()

    async def shutdown(self, grace_s: float) -> None:
        """Stop every container and the worker, and wait until it is gone."""
        if self._writer is None:
            return
        with _process(self.info.pid) as ended:
            with contextlib.suppress(Unavailable):
                await self._request("shutdown", {"grace_s": grace_s})
            if self._reading is not None:
                await self._reading
            await ended()
        if self._child is not None:  # take its exit status: not even a zombie is left
            self._child.wait()

    async def close(self) -> None:
        """Let go of the worker without stopping it."""
        if self._writer is not None:
            self._writer.close()
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading


@contextlib.contextmanager
def _process(pid: int) -> Iterator[Callable[[], Awaitable[None]]]:
    """Hold on to a process, whoever's child it is: gives a function that returns when it has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        descriptor = -1

    async def ended() -> None:
        if descriptor < 0:
            return
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(descriptor, done.set)  # readable: it has ended
        try:
            await done.wait()
        finally:
            loop.remove_reader(descriptor)

    try:
        yield ended
    finally:
        if descriptor >= 0:
            os.close(descriptor)
