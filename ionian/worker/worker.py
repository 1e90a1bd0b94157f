"""The worker: starts and ends containers, builds images, keeps their output. One per machine; outlives the server.

Every container it knows has state on disk before its process exists, so the next worker finds it. Single-threaded.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ionian.blobs.store import BlobStore
from ionian.config import Config
from ionian.errors import IonianError, NotFound
from ionian.images import bytecode
from ionian.images.build import Builder
from ionian.images.client import client_layer
from ionian.images.interpreters import Interpreters
from ionian.images.layers import Layers
from ionian.images.request import BuildDone, BuildOutput, BuildRequest
from ionian.logs import SYSTEM, Record, Writer
from ionian.model import ContainerSpec, FunctionSpec, MountFile, RunningContainer, spec_key
from ionian.runtimes.runtime import Runtime
from ionian.worker import bundle, container, imports
from ionian.worker.container import LiveContainer, State
from ionian.worker.execs import Execs
from ionian.worker.terminal import Terminal

LEARN_S = 8.0  # seconds after a start by when a container has imported what it needs
EXIT_HOOKS_S = 30.0  # what a program gets after SIGTERM when nobody says otherwise


class Worker:
    """``emit`` sends an event to the server, if one is connected."""

    def __init__(
        self,
        config: Config,
        runtime: Runtime,
        blobs: BlobStore,
        emit: Callable[[dict[str, Any]], None],
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._blobs = blobs
        self._emit = emit
        self._layers = Layers(config)
        self._interpreters = Interpreters(config)
        self._builder = Builder(config, runtime, blobs)
        self._root = config.run / "c"
        self._lib: Path
        self._live: dict[str, LiveContainer] = {}
        self.execs = Execs(self._live.get)
        self._writers: dict[str, Writer] = {}
        self._watchers: set[asyncio.Task[None]] = set()
        self._fresh_logs: set[str] = set()
        self._images: dict[str, tuple[tuple[str, ...], str]] = {}  # container -> image layers, Python series
        self._compiling: set[tuple[str, ...]] = set()
        self._learning: set[asyncio.Task[None]] = set()

    @property
    def runtime(self) -> Runtime:
        return self._runtime

    def open(self) -> None:
        """Install the runner for containers, and adopt what a previous worker left running."""
        self._root.mkdir(parents=True, exist_ok=True)
        self._lib = self._install_lib()
        self._builder.clean()
        for name in sorted(p.name for p in self._root.iterdir() if p.is_dir()):
            found = container.adopt(self._root, name, self._runtime, self._appender)
            if found is not None:
                if found.state.interactive:  # its terminal went with the worker that had it
                    found.signal(signal.SIGKILL)
                self._live[found.state.container_id] = found
                self._watch(found)
        self._runtime.keep({live.state.app_id for live in self._live.values()})
        if not self._live:  # who lives may read the copy of an earlier version
            for path in self._config.run.glob("lib*"):
                if path != self._lib:
                    shutil.rmtree(path, ignore_errors=True)

    def _install_lib(self) -> Path:
        """A readable copy: the package itself may lie where containers cannot look (mode 0700, under /root).

        It is named by its content and stays as it is: containers of an earlier worker read it while they start.
        """
        source = Path(__file__).resolve().parent.parent
        digest = _digest({f"ionian_{package}": source / package for package in ("runner", "compat")})
        lib = self._config.run / f"lib-{digest}"
        if lib.is_dir() and _digest({path.name: path for path in lib.iterdir()}) == digest:
            return lib
        fresh = self._config.run / "lib.new"
        for path in (fresh, lib):  # half made, or damaged
            shutil.rmtree(path, ignore_errors=True)
        for package in ("runner", "compat"):
            shutil.copytree(source / package, fresh / f"ionian_{package}", ignore=shutil.ignore_patterns("__pycache__"))
        for path in [fresh, *fresh.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        fresh.rename(lib)
        return lib

    # -- containers

    async def start(self, spec: ContainerSpec) -> str:
        """Start a container; its socket's path. Raises NotFound (a mount was never prepared), ContainerFailed."""
        function = spec.function
        interpreter = await self._interpreters.find(function.python_version)
        client = self._lib  # a sandbox has no runner, and needs no client
        if not spec.command:
            client = await client_layer(self._config, function.runner.client_version, interpreter)
        layers = self._layer_paths(function)
        self._runtime.check(layers, spec.app_id)  # again: links go with the worker, apps stay deployed
        state = State(
            spec.container_id,
            function.function_id,
            spec.app_id,
            spec_key(function),
            time.time(),
            interactive=function.interactive is not None,
        )
        live = container.create(self._root, state, self._appender(spec.app_id))
        if function.interactive is not None:
            live.output.open_terminal(function.interactive)
        try:
            places = bundle.Places(layers, interpreter, self._lib, client, live.place, live.scratch)
            await (self._launch_sandbox if spec.command else self._launch)(live, spec, places)
        except BaseException:
            await live.end()
            raise
        self._live[spec.container_id] = live
        self._images[spec.container_id] = function.layers, function.python_version
        self._watch(live)
        asyncio.get_running_loop().call_later(LEARN_S, self._learn_later, spec.container_id)
        return str(live.socket)

    def _learn_later(self, container_id: str) -> None:
        live = self._live.get(container_id)
        if live is not None:
            task = asyncio.get_running_loop().create_task(self._learn(live))
            self._learning.add(task)
            task.add_done_callback(self._learning.discard)

    async def _learn(self, live: LiveContainer) -> None:
        """Compile what this container imported, so that the next one of its image starts faster."""
        layers, series = self._images.get(live.state.container_id, ((), ""))
        written = self._runtime.written(live.scratch)
        if not layers or written is None or layers in self._compiling:
            return
        files = imports.imported(written)
        self._compiling.add(layers)
        try:
            await self._builder.precompile(layers, series, files)
        except IonianError as error:
            print(f"byte code of {live.state.container_id}: {error}", file=sys.stderr)  # noqa: T201 - the worker's log
        finally:
            self._compiling.discard(layers)

    async def _launch(self, live: LiveContainer, spec: ContainerSpec, places: bundle.Places) -> None:
        home = self._runtime.home(live.scratch)
        shown = {bind.target: self._runtime.shown(bind) for bind in bundle.binds(places)}
        (live.place / "spec.json").write_text(bundle.launch_json(spec, shown, home))
        (live.place / "definition").write_bytes(spec.function.definition)
        (live.place / "layout").write_text(spec.layout)
        (live.place / "params").write_bytes(spec.function.params)
        listener = live.listen()
        stdin, stdout, stderr = live.output.descriptors()
        try:
            env = bundle.environment(spec, shown, home, listener.fileno())
            sandbox = bundle.sandbox(spec, places, env, shown[bundle.LIB], listener.fileno(), stdin, stdout, stderr)
            live.process = await self._runtime.start(sandbox)
        finally:
            listener.close()
            for descriptor in {stdin, stdout, stderr} - {-1}:
                os.close(descriptor)
        live.state = replace(live.state, pid=live.process.pid, start_time=live.process.start_time)
        live.save()

    async def _launch_sandbox(self, live: LiveContainer, spec: ContainerSpec, places: bundle.Places) -> None:
        stdout, stderr = live.output.stdout.writer(), live.output.stderr.writer()
        try:
            home = self._runtime.home(live.scratch)
            live.process = await self._runtime.start(bundle.plain(spec, places, home, stdout, stderr))
        finally:
            os.close(stdout)
            os.close(stderr)
        live.state = replace(live.state, pid=live.process.pid, start_time=live.process.start_time)
        live.save()

    def _layer_paths(self, function: FunctionSpec) -> tuple[Path, ...]:
        compiled = bytecode.current(self._layers, function.layers) if function.layers else None
        digests = (*function.layers, compiled) if compiled else function.layers
        image = [self._layers.checked(digest) for digest in digests]
        mounts = []
        for mount in function.mounts:
            path = self._layers.mount_path(mount.digest)
            if not path.is_dir():
                raise NotFound(f"files of mount {mount.mount_id} are not prepared on this machine")
            mounts.append(path)
        return (*image, *mounts)

    def _watch(self, live: LiveContainer) -> None:
        task = asyncio.get_running_loop().create_task(self._until_exit(live))
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)

    async def _until_exit(self, live: LiveContainer) -> None:
        end = await live.wait()
        container_id = live.state.container_id
        if not end.code and bytecode.current(self._layers, self._images.get(container_id, ((), ""))[0]) is None:
            await self._learn(live)
        await self.execs.end(container_id)
        await live.end()
        self._live.pop(container_id, None)
        self._images.pop(container_id, None)
        if text := container.ending(end, live.signals):
            record = Record(time.time_ns(), container_id, live.state.function_id, SYSTEM, text)
            self._appender(live.state.app_id)([record])
        self._emit(
            {
                "event": "exited",
                "container_id": container_id,
                "code": end.code,
                "signal": end.signal,
                "out_of_memory": end.out_of_memory,
                "last_output": live.last_output(),
            }
        )

    def stop(self, container_id: str, grace_s: float) -> None:
        """SIGTERM now (the runner drains and runs exit hooks), SIGKILL after ``grace_s``. Unknown: nothing."""
        live = self._live.get(container_id)
        if live is None:
            return
        live.stopping = True
        loop = asyncio.get_running_loop()
        if grace_s > 0:
            live.signal(signal.SIGTERM)
            loop.call_later(grace_s, live.signal, signal.SIGKILL)
        else:
            live.signal(signal.SIGKILL)

    def terminal(self, container_id: str) -> Terminal:
        """The terminal of an interactive container. Raises NotFound."""
        live = self._live.get(container_id)
        if live is None or live.output.terminal is None:
            raise NotFound(f"no container {container_id} with a terminal is running")
        return live.output.terminal

    def claim_terminal(self, container_id: str) -> bool:
        """See ``Terminal.claim``; nobody can claim what has gone."""
        live = self._live.get(container_id)
        return live is not None and live.output.terminal is not None and live.output.terminal.claim()

    def running(self) -> list[RunningContainer]:
        return [
            RunningContainer(
                container_id=live.state.container_id,
                function_id=live.state.function_id,
                app_id=live.state.app_id,
                socket=str(live.socket),
                started_at=live.state.started_at,
                spec_key=live.state.spec_key,
            )
            for live in self._live.values()
            if not live.stopping
        ]

    async def stop_all(self, grace_s: float) -> None:
        """End every container and wait until nothing is left of them, nor of what apps needed on the host."""
        for container_id in list(self._live):
            self.stop(container_id, grace_s)
        while self._watchers:
            await asyncio.wait(set(self._watchers))
        self._runtime.keep(())

    # -- what functions need

    async def prepare(self, function: FunctionSpec, mounts: dict[str, tuple[MountFile, ...]]) -> None:
        """Client package, mount trees, and in the process runtime links on the host. Raises InvalidRequest."""
        interpreter = await self._interpreters.find(function.python_version)
        await client_layer(self._config, function.runner.client_version, interpreter)
        for digest, files in mounts.items():
            await asyncio.to_thread(self._layers.mount_layer, files, digest, self._blobs)
        self._runtime.check(self._layer_paths(function), function.app_id)

    def release(self, app_id: str) -> None:
        self._runtime.release(app_id)
        writer = self._writers.pop(app_id, None)
        if writer is not None:
            writer.close()

    def build(self, request: BuildRequest) -> AsyncIterator[BuildOutput | BuildDone]:
        return self._builder.build(request)

    # -- output

    def _appender(self, app_id: str) -> Callable[[list[Record]], None]:
        def append(records: list[Record]) -> None:
            writer = self._writers.get(app_id)
            if writer is None:
                writer = self._writers[app_id] = Writer(self._config.logs / app_id, self._config.log_segment_bytes)
            writer.append(records)
            if not self._fresh_logs:
                asyncio.get_running_loop().call_later(0.02, self._announce)
            self._fresh_logs.add(app_id)

        return append

    def _announce(self) -> None:
        fresh, self._fresh_logs = self._fresh_logs, set()
        for app_id in fresh:
            self._emit({"event": "logs", "app_id": app_id})

    def close(self) -> None:
        self.execs.close()
        for writer in self._writers.values():
            writer.close()


def _digest(packages: dict[str, Path]) -> str:
    """Names the content of directories, byte code aside."""
    content = hashlib.sha256()
    for name, package in sorted(packages.items()):
        for path in sorted(package.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                data = path.read_bytes()
                content.update(f"{name}/{path.relative_to(package)} {len(data)}\n".encode() + data)
    return content.hexdigest()[:16]
