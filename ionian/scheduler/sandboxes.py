"""Sandboxes while they run: started at once, ended by their command, their time, their app or whoever asks.

Every one in the rows that has not ended is in ``running``; a server that finds another's takes it over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ionian.engines.engine import ContainerExited, Engine
from ionian.errors import IonianError, NotFound
from ionian.model import ContainerKind, ContainerSpec, FunctionSpec, RunningContainer, Status
from ionian.state import apps, sandboxes
from ionian.state.database import Database, Row
from ionian.state.sandboxes import Settings
from ionian.state.watch import Watch

GRACE_S = 10.0  # seconds between SIGTERM and SIGKILL for one that is stopped as a container
log = logging.getLogger("ionian.sandboxes")


@dataclass
class Running:
    """A live sandbox. ``ended_by``: the client's status for its end, when it was not its own command's."""

    sandbox_id: str
    container: RunningContainer
    timer: asyncio.TimerHandle | None = None
    ended_by: Status | None = None


class Sandboxes:
    """``prepare`` makes the files of a spec ready when the engine lacks them; clients in there dial ``address``."""

    def __init__(
        self,
        database: Database,
        engine: Engine,
        watch: Watch,
        prepare: Callable[[FunctionSpec], Awaitable[None]],
        address: Callable[[], str],
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._engine = engine
        self._watch = watch
        self._prepare = prepare
        self._address = address
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self.running: dict[str, Running] = {}  # by container

    async def start(self, sandbox_id: str, env: dict[str, str]) -> None:
        """Start the container of a new row. Raises what the engine says; the row has it too."""
        row = await self._database.read(sandboxes.get, sandbox_id)
        spec = await self._database.read(sandboxes.spec, sandbox_id)
        container_id = row["container_id"]
        self._add(row, RunningContainer(container_id, sandbox_id, spec.app_id, "", self._clock(), ""))
        known = {"MODAL_SERVER_URL": self._address(), "MODAL_TASK_ID": container_id, "MODAL_SANDBOX_ID": sandbox_id}
        command = Settings.decode(row["settings"]).command
        request = ContainerSpec(
            container_id, ContainerKind.SANDBOX, spec.app_id, spec, tuple({**known, **env}.items()), command=command
        )
        try:
            try:
                await self._engine.start(request)
            except NotFound:
                await self._prepare(spec)
                await self._engine.start(request)
        except IonianError as error:
            await self._finish(container_id, Status.INIT_FAILURE, 1, str(error))
            raise
        if (await self._database.read(apps.get, spec.app_id))["state"] == apps.STOPPED:
            await self.end_app(spec.app_id)

    def _add(self, row: Row, container: RunningContainer) -> None:
        left = container.started_at + Settings.decode(row["settings"]).timeout_s - self._clock()
        running = Running(row["sandbox_id"], container)
        self.running[container.container_id] = running
        running.timer = asyncio.get_running_loop().call_later(
            max(left, 0.0), lambda: self._spawn(self.stop(running.sandbox_id, Status.TIMEOUT))
        )

    async def stop(self, sandbox_id: str, status: Status, grace_s: float = 0.0) -> None:
        """End a sandbox; nothing happens to one that has ended. What is noted of it is ``status``."""
        for container_id, running in list(self.running.items()):
            if running.sandbox_id == sandbox_id:
                running.ended_by = running.ended_by or status
                await self._engine.stop(container_id, grace_s)

    async def end_app(self, app_id: str) -> None:
        """The app has ended: so do its sandboxes."""
        for running in list(self.running.values()):
            if running.container.app_id == app_id:
                await self.stop(running.sandbox_id, Status.TERMINATED)

    def containers(self) -> list[RunningContainer]:
        return [running.container for running in self.running.values()]

    def described(self) -> list[dict[str, object]]:
        """What ``ionian status`` shows of each."""
        return [
            {
                "container_id": found.container_id,
                "function_id": found.function_id,
                "app_id": found.app_id,
                "state": "sandbox",
                "in_flight": 0,
                "served": 0,
                "started_at": found.started_at,
            }
            for found in self.containers()
        ]

    def exited(self, event: ContainerExited) -> bool:
        """The engine says that a container is gone. True when it was a sandbox's."""
        running = self.running.get(event.container_id)
        if running is None:
            return False
        code = 137 if event.code is None else event.code
        if running.ended_by is not None:
            status, error = running.ended_by, ""
        elif event.out_of_memory:
            status, error = Status.OUT_OF_MEMORY, "the sandbox was killed: out of memory"
        else:
            status, error = (Status.FAILURE if code else Status.SUCCESS), ""
        self._spawn(self._finish(event.container_id, status, code, error))
        return True

    async def _finish(self, container_id: str, status: Status, code: int, error: str) -> None:
        running = self.running[container_id]
        if running.timer is not None:
            running.timer.cancel()
        await self._database.write(sandboxes.finish, running.sandbox_id, int(status), code, error, self._clock())
        self.running.pop(container_id, None)
        self._watch.notify(sandboxes.topic(running.sandbox_id))

    async def adopt(self, alive: list[RunningContainer]) -> None:
        """Take over what runs; note the end of what does not any more; end what nobody has a row of."""
        found = {container.container_id: container for container in alive if sandboxes.is_one(container.function_id)}
        for row in await self._database.read(sandboxes.unfinished):
            container = found.pop(row["container_id"], None)
            if container is not None:
                self._add(row, container)
                continue
            text = "it ended while the server was away"
            await self._database.write(
                sandboxes.finish, row["sandbox_id"], int(Status.INTERNAL_FAILURE), 1, text, self._clock()
            )
        for running in list(self.running.values()):
            if (await self._database.read(apps.get, running.container.app_id))["state"] == apps.STOPPED:
                await self.stop(running.sandbox_id, Status.TERMINATED)
        for container_id in found:
            await self._engine.stop(container_id, 0.0)

    async def lost(self, alive: set[str]) -> None:
        """The worker is another one, and these containers live on."""
        for container_id in self.running.keys() - alive:
            await self._finish(container_id, Status.INTERNAL_FAILURE, 1, "it ended while its worker was restarted")

    def _spawn(self, work: Awaitable[None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except IonianError as error:
                log.warning("a sandbox: %s", error)

        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
