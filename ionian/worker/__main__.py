"""``python -m ionian.worker CONFIG_JSON``: the worker process of one home. The server starts it.

Serves its unix socket until it is told to shut down, or until no server has been connected for ``ORPHAN_S`` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from ionian import codec
from ionian.blobs.files import FileBlobStore
from ionian.config import Config
from ionian.errors import DISK_FULL, InvalidRequest, IonianError, ResourceExhausted
from ionian.images.request import BuildDone, BuildRequest
from ionian.model import ContainerSpec, ExecSpec, FunctionSpec, MountFile
from ionian.runtimes import probe
from ionian.worker import rpc
from ionian.worker.worker import EXIT_HOOKS_S, Worker

ORPHAN_S = 600.0


class Service:
    """The worker behind its socket: answers requests, sends events to whoever is connected."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._worker: Worker
        self.done = asyncio.Event()
        self._orphan: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        runtime = await probe.choose(self._config.runtime, self._config.home / "base")
        self._worker = Worker(self._config, runtime, FileBlobStore(self._config.blobs), self._emit)
        self._worker.open()
        socket = self._config.worker_socket
        socket.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._connection, str(socket))
        os.chmod(socket, 0o600)
        self._await_server()
        await self.done.wait()
        server.close()
        socket.unlink(missing_ok=True)
        for writer in self._writers:
            writer.close()
        while self._connections:
            await asyncio.wait(set(self._connections))
        self._worker.close()

    def _emit(self, event: dict[str, Any]) -> None:
        for writer in self._writers:
            rpc.send(writer, event)

    def _await_server(self) -> None:
        if not self._writers and self._orphan is None and not self.done.is_set():
            loop = asyncio.get_running_loop()
            self._orphan = loop.call_later(ORPHAN_S, lambda: self._spawn(self._shutdown(EXIT_HOOKS_S)))

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if (connection := asyncio.current_task()) is not None:
            self._connections.add(connection)
            connection.add_done_callback(self._connections.discard)
        if self._orphan is not None:
            self._orphan.cancel()
            self._orphan = None
        while (message := await rpc.receive(reader)) is not None:
            self._spawn(self._answer(message, writer))
        self._writers.discard(writer)
        writer.close()
        self._await_server()

    async def _answer(self, message: rpc.Message, writer: asyncio.StreamWriter) -> None:
        request_id = message["id"]
        try:
            result = await self._handle(message["method"], message.get("params") or {}, request_id, writer)
        except IonianError as error:
            rpc.send(writer, {"id": request_id, "error": rpc.error_message(error)})
        except Exception as error:  # noqa: BLE001 - the edge of this process: a bug must reach the server, not vanish
            rpc.send(writer, {"id": request_id, "error": rpc.error_message(self._unforeseen(error))})
        else:
            rpc.send(writer, {"id": request_id, "result": result})
        with contextlib.suppress(ConnectionError):
            await writer.drain()

    def _unforeseen(self, error: Exception) -> IonianError:
        """A full disk, which may show anywhere; else a bug, with its traceback in the worker's log."""
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return ResourceExhausted(f"there is no room on the disk of {self._config.home}: make room and try again")
        traceback.print_exception(error)
        return IonianError(f"internal error in the worker: {error!r}")

    async def _handle(self, method: str, params: dict[str, Any], request_id: int, writer: asyncio.StreamWriter) -> Any:
        worker = self._worker
        if method == "hello":
            return {"pid": os.getpid(), "isolation": worker.runtime.level, "details": list(worker.runtime.details)}
        if method == "start":
            return await worker.start(codec.load(ContainerSpec, params["spec"]))
        if method == "stop":
            return worker.stop(params["container_id"], params["grace_s"])
        if method == "type":
            typed = codec.load(bytes, params["data"])
            return await worker.terminal(params["container_id"]).type(params["number"], typed)
        if method == "claim":
            return worker.claim_terminal(params["container_id"])
        if method == "running":
            return codec.dump(worker.running())
        if method == "prepare":
            mounts = {digest: codec.load(tuple[MountFile, ...], files) for digest, files in params["mounts"].items()}
            return await worker.prepare(codec.load(FunctionSpec, params["function"]), mounts)
        if method == "release":
            return worker.release(params["app_id"])
        if method == "build":
            return await self._build(codec.load(BuildRequest, params["request"]), request_id, writer)
        if method.startswith("exec_"):
            return await self._exec(method, params)
        if method == "shutdown":
            self._spawn(self._shutdown(params["grace_s"], writer, request_id))
            return None
        raise InvalidRequest(f"the worker knows no method {method!r}: server and worker are of different versions")

    async def _build(self, request: BuildRequest, request_id: int, writer: asyncio.StreamWriter) -> Any:
        async for item in self._worker.build(request):
            if isinstance(item, BuildDone):
                return codec.dump(item)
            rpc.send(writer, {"id": request_id, "part": item.text})
        raise IonianError("the build ended without a result")

    async def _exec(self, method: str, params: dict[str, Any]) -> Any:
        execs = self._worker.execs
        if method == "exec_start":
            return await execs.start(codec.load(ExecSpec, params["spec"]))
        where = params["container_id"], params["exec_id"]
        if method == "exec_read":
            return codec.dump(await execs.read(*where, params["stream"], params["offset"], params["wait_s"]))
        if method == "exec_write":
            data = codec.load(bytes, params["data"])
            return await execs.write(*where, params["offset"], data, params["eof"], params["turn"], params["index"])
        if method == "exec_stdin":
            return codec.dump(await execs.stdin(*where))
        if method == "exec_wait":
            return codec.dump(await execs.wait(*where, params["wait_s"]))
        raise InvalidRequest(f"the worker knows no method {method!r}: server and worker are of different versions")

    async def _shutdown(self, grace_s: float, *_: object) -> None:
        await self._worker.stop_all(grace_s)
        self.done.set()


async def _main(config: Config) -> None:
    service = Service(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: service._spawn(service._shutdown(EXIT_HOOKS_S)))
    await service.run()


def main() -> None:
    config = codec.load(Config, json.loads(sys.argv[1]))
    config.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(Path(config.run) / "worker.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another worker already runs on this home", file=sys.stderr)  # noqa: T201 - the worker's log
        sys.exit(rpc.ANOTHER_RUNS)
    os.truncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file, ours or a container's, would hold secrets
    try:
        asyncio.run(_main(config))
    except IonianError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
