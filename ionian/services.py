"""The running server as its edges see it: what lies behind rows, wired together by ``server.py``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Sequence
from typing import Any

from ionian.api import layouts
from ionian.api.context import Inside
from ionian.config import Config
from ionian.dispatch.dispatch import Dispatch
from ionian.dispatch.failures import StartFailed
from ionian.dispatch.slot import Slot
from ionian.engines.engine import ContainerExited, LogsWritten, WorkerLost
from ionian.engines.local import LocalEngine
from ionian.errors import FailedPrecondition, IonianError, NotFound, WorkerAway
from ionian.gateway.router import Router, WebFunction, app_label
from ionian.model import (
    ContainerKind,
    ContainerSpec,
    FunctionSpec,
    InputRef,
    OpenInput,
    RunningContainer,
    Status,
)
from ionian.recorder import Recorder
from ionian.runtimes import gpus
from ionian.scheduler import sandboxes
from ionian.scheduler.bound import Bound
from ionian.scheduler.builds import Builds
from ionian.scheduler.loop import Scheduler
from ionian.scheduler.sandboxes import Sandboxes
from ionian.scheduler.schedules import Schedules
from ionian.state import calls, functions, labels, mounts, passes, secrets
from ionian.state.database import Database, Tx
from ionian.state.sandboxes import is_one as is_sandbox
from ionian.state.schedules import TOPIC as SCHEDULES
from ionian.state.watch import Watch, logs_topic

log = logging.getLogger("ionian")

LAYOUTS_KEPT = 256
GRACE_S = 30.0  # seconds for exit hooks of a container that is stopped by name


class Server:
    """Everything that lives while the server runs. ``server.py`` makes it and runs its loops."""

    def __init__(
        self,
        config: Config,
        database: Database,
        watch: Watch,
        engine: LocalEngine,
        router: Router,
        container_key: bytes,
    ) -> None:
        self.config = config
        self.database = database
        self.watch = watch
        self.engine = engine
        self.router = router
        self.port = config.port
        self._container_key = container_key
        self._layouts: dict[tuple[str, int], str] = {}  # by app and version, for versions never change
        self.dispatch: Dispatch
        self.bound = Bound(database, lambda: self.dispatch, time.monotonic)
        self._tasks: set[asyncio.Task[None]] = set()
        self.recorder: Recorder
        self.scheduler: Scheduler
        self.builds: Builds
        self.sandboxes: Sandboxes
        self.schedules: Schedules
        self._adopted = False
        self._names_resolve = resolves("ionian-check.localhost")

    # -- what the API needs (api.context.Services)

    def submit(self, inputs: list[OpenInput]) -> None:
        away = {opened.function_id for opened in inputs} - self.dispatch.pools.keys()
        if not away:
            self.dispatch.submit(inputs)
            return
        task = asyncio.get_running_loop().create_task(self._submit_later(inputs, away))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _submit_later(self, inputs: list[OpenInput], away: set[str]) -> None:
        for function_id in away:
            await self.enlist(function_id)
        self.dispatch.submit(inputs)

    def queued(self, function_id: str) -> int:
        pool = self.dispatch.pools.get(function_id)
        return len(pool.waiting) if pool is not None else 0

    async def enlist(self, function_id: str) -> bool:
        return await self.bound.enlist(function_id)

    def reserve(self, function_id: str) -> Slot | None:
        return self.dispatch.reserve(function_id)

    def start(self, slot: Slot, opened: OpenInput, ref: InputRef) -> None:
        self.dispatch.start(slot, opened, ref)

    def cancel(self, call_id: str, terminate_containers: bool) -> None:
        self.dispatch.calls.cancel(call_id, terminate_containers)

    def taken(self, call_id: str, items: int) -> None:
        self.dispatch.calls.taken(call_id, items)

    def running_call(self, input_id: str, container_id: str) -> str | None:
        """The call of an input that runs now in this container; what an earlier attempt still yields is not heard."""
        running = self.dispatch.calls.running.get(input_id)
        return running.input.call_id if running is not None and running.slot.container_id == container_id else None

    def build(self) -> None:
        self.builds.wake()

    async def reload(self) -> None:
        """Serve exactly the functions of live versions, at once."""
        self._layouts.clear()  # they have addresses, which environments may have changed
        self.watch.notify(SCHEDULES)
        async with self.bound.changing:
            before = {spec.app_id for spec in (pool.spec for pool in self.dispatch.pools.values())}
            specs = await self.database.read(functions.live, self.bound.kept())
            self.router.replace(web for spec in specs for web in self._web_functions(spec))
            self.dispatch.apply(specs)
        for app_id in before - {spec.app_id for spec in specs}:
            await self.engine.release(app_id)
            self.watch.notify(logs_topic(app_id))

    def _web_functions(self, spec: FunctionSpec) -> list[WebFunction]:
        """What of a function answers HTTP: it, or methods of it. Bound ones have no addresses."""
        return [
            WebFunction(
                function_id=spec.function_id,
                workspace=labels.prefix(self.config.workspace, spec.web_suffix),
                app=spec.app_name,
                name=spec.name.removesuffix("*") + web.class_method if web.class_method else spec.name,
                label=labels.host(self.config.workspace, spec.web_suffix, web.label),
                timeout_s=spec.timeout_s,
                environment=spec.environment,
                class_method=web.class_method,
            )
            for web in (spec.runner.web, *spec.runner.web_methods)
            if web and not spec.base_id
        ]

    async def prepare(self, spec: FunctionSpec) -> None:
        """Client package, mounted files and links for a function. Raises InvalidRequest naming what cannot be had."""
        files = await self.database.read(_mounted_files, spec)
        try:
            await self.engine.prepare(spec, files)
        except IonianError as error:
            if isinstance(error, NotFound):
                await self.builds.forget_lost()
            if not any(pool.spec.app_id == spec.app_id and not pool.retired for pool in self.dispatch.pools.values()):
                await self.engine.release(spec.app_id)  # nothing of it is live: nor shall other functions' links be
            raise

    async def release(self, app_id: str) -> None:
        await self.sandboxes.end_app(app_id)
        await self.engine.release(app_id)

    def url(self, suffix: str, label: str) -> str:
        """The address that resolves on this machine through getaddrinfo: a name, else the path form."""
        host = labels.host(self.config.workspace, suffix, label)
        if self._names_resolve:
            return f"http://{host}.localhost:{self.port}"
        return f"{self.base_url}/_web/{host}"

    def blob_url(self, host: str, ticket: str) -> str:
        return f"{self._reached_as(host)}/_blob/{ticket}"

    def token_url(self, host: str, flow_id: str) -> str:
        return f"{self._reached_as(host)}/_ionian/token/{flow_id}"

    def app_url(self, host: str, app_id: str) -> str:
        return f"{self._reached_as(host)}/_ionian/app/{app_id}"

    @property
    def execs(self) -> LocalEngine:
        return self.engine

    def router_url(self, host: str) -> str:
        return self._reached_as(host)

    def _reached_as(self, host: str) -> str:
        """Our address for a client that dialled ``host``."""
        name = host.rsplit(":", 1)[0] if host and not host.startswith("[") else ""
        return f"http://{name or self._address}:{self.port}"

    async def gpus(self) -> Sequence[str]:
        return await asyncio.to_thread(gpus.names)

    def containers(self) -> list[RunningContainer]:
        return [
            RunningContainer(c.container_id, c.function_id, pool.spec.app_id, c.socket, c.started_at, c.key)
            for pool in self.dispatch.pools.values()
            for c in pool.containers.values()
        ] + self.sandboxes.containers()

    async def start_sandbox(self, sandbox_id: str, env: dict[str, str]) -> None:
        await self.sandboxes.start(sandbox_id, env)

    async def stop_sandbox(self, sandbox_id: str, status: Status) -> None:
        await self.sandboxes.stop(sandbox_id, status)

    async def type_at_terminal(self, container_id: str, number: int, data: bytes) -> None:
        await self.engine.type_at_terminal(container_id, number, data)

    async def claim_terminal(self, container_id: str) -> bool:
        return await self.engine.claim_terminal(container_id)

    async def stop_container(self, container_id: str, graceful: bool) -> None:
        if found := self.sandboxes.running.get(container_id):
            await self.sandboxes.stop(found.sandbox_id, Status.TERMINATED, sandboxes.GRACE_S)
            return
        if self.dispatch.container(container_id) is None:
            raise NotFound(f"no container {container_id} is running")
        if self.dispatch.drain(container_id):
            await self.engine.stop(container_id, GRACE_S)
        elif not graceful:
            self.dispatch.reassign(container_id)
            await self.engine.stop(container_id, 0.0)

    # -- addresses

    @property
    def _address(self) -> str:
        return "127.0.0.1" if self.config.host in ("0.0.0.0", "::", "") else self.config.host

    @property
    def base_url(self) -> str:
        return f"http://{self._address}:{self.port}"

    def addresses(self, spec: FunctionSpec) -> list[str]:
        """All addresses of what answers HTTP: its own, the app's, and one that needs no name resolution."""
        return [
            address
            for web in self._web_functions(spec)
            for address in (
                f"http://{web.label}.localhost:{self.port}",
                f"http://{app_label(web)}.localhost:{self.port}/{web.name}",
                f"{self.base_url}/_web/{web.label}",
            )
        ]

    # -- what dispatch and scheduler need

    async def describe(self, container_id: str, spec: FunctionSpec) -> ContainerSpec:
        """What a container is started with: its secrets, opened for this start alone, then where a client in there
        finds this server, and who it is. Raises FailedPrecondition when a secret cannot be had.
        """
        try:
            env = await secrets.variables(self.database, self.config.secret_key_file, spec.secret_ids, time.time())
        except IonianError as error:
            raise FailedPrecondition(str(error)) from None  # NotFound would mean: prepare it, then try again
        token_id, secret = passes.mint(self._container_key, container_id)
        env |= {"MODAL_SERVER_URL": self.base_url, "MODAL_TOKEN_ID": token_id, "MODAL_TOKEN_SECRET": secret}
        layout = await self._layout(spec)
        return ContainerSpec(container_id, ContainerKind.FUNCTION, spec.app_id, spec, tuple(env.items()), layout)

    async def _layout(self, spec: FunctionSpec) -> str:
        key = spec.app_id, spec.version
        found = self._layouts.get(key)
        if found is None:
            found = await self.database.read(layouts.written, spec.app_id, spec.version, self.url)
        if spec.version:
            if len(self._layouts) >= LAYOUTS_KEPT:
                self._layouts.clear()
            self._layouts[key] = found
        return found

    def inside(self, token_id: str, secret: str) -> Inside | None:
        container_id = passes.container_of(self._container_key, token_id, secret)
        container = self.dispatch.container(container_id) if container_id else None
        pool = self.dispatch.pools.get(container.function_id) if container else None
        if container is None or pool is None:
            return None
        return Inside(container.container_id, pool.spec.app_id, pool.spec.environment)

    # -- life

    async def adopt(self) -> None:
        """Take over the containers a previous server left; end those nobody needs. Then run what it had accepted."""
        self.scheduler.paused = True  # until then a container that lives would be started once more
        found = await self.engine.running_then()
        await self.sandboxes.adopt(found)
        functions_of = [c for c in found if c.container_id not in self.sandboxes.running]
        for running in functions_of:
            await self.enlist(running.function_id)
        await self.scheduler.adopt(functions_of, await self.database.read(calls.open_inputs))
        self.scheduler.paused = False
        self.dispatch.demand.set()
        if self.engine.replaced:  # while that went on
            await self._compare()
        self._adopted = True

    async def engine_events(self) -> None:
        """Follow the engine. A lost worker is started again; it finds its containers, we take them over."""
        async for event in self.engine.events():
            if isinstance(event, ContainerExited) and self.sandboxes.exited(event):
                continue
            if isinstance(event, ContainerExited):
                self.scheduler.exited(event)
            elif isinstance(event, LogsWritten):
                self.watch.notify(logs_topic(event.app_id))
            elif isinstance(event, WorkerLost):
                await self._worker_lost()

    async def _worker_lost(self) -> None:
        await self.engine.reconnect()
        if self._adopted:  # else it is done after that
            await self._compare()

    async def _compare(self) -> None:
        """What lives in another worker than before, and what does not any more."""
        with contextlib.suppress(WorkerAway):  # lost again: that is the next event
            found = await self.engine.running()
            alive = {running.container_id for running in found}
            await self.sandboxes.lost(alive)
            others = {running.container_id for running in found if is_sandbox(running.function_id)}
            await self.scheduler.worker_replaced(alive, others)

    async def prepare_all(self) -> None:
        """After a start: make every live function ready again (links, client packages); failures are told later."""
        for pool in list(self.dispatch.pools.values()):
            try:
                await self.prepare(pool.spec)
            except WorkerAway:
                continue  # whoever starts a container of it prepares it
            except IonianError as error:
                failed = StartFailed(f"{pool.spec.name} could not start: {error}")
                self.dispatch.start_failed(pool.spec.function_id, failed)


def _mounted_files(tx: Tx, spec: FunctionSpec) -> dict[str, Any]:
    return {mount.digest: mounts.files(tx, mount.mount_id) for mount in spec.mounts}


def resolves(name: str) -> bool:
    """Whether getaddrinfo on this machine knows ``*.localhost``, as programs in every language will ask it."""
    try:
        return bool(socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM))
    except OSError:
        return False
