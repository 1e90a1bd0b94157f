"""Wake, snapshot, plan, apply. The only place that starts and stops containers, through the engine."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ionian.dispatch.dispatch import Dispatch
from ionian.dispatch.failures import ContainerLost
from ionian.dispatch.slot import Container
from ionian.engines.engine import ContainerExited, Engine
from ionian.errors import IonianError, NotFound, WorkerAway
from ionian.model import (
    Action,
    ContainerSpec,
    ContainerState,
    FunctionSpec,
    OpenInput,
    RunningContainer,
    StartContainer,
    StopContainer,
    new_id,
    spec_key,
)
from ionian.scheduler.plan import plan

WAITING_S = 0.05  # seconds between looks while something waits
IDLE_S = 0.5  # seconds between looks while containers live
EXIT_HOOKS_S = 31.0  # seconds a container gets to run its exit hooks: 30, and a moment to say that they are over


@dataclass(frozen=True, slots=True)
class Decision:
    """An applied action, kept for ``explain``."""

    at: float  # unix seconds
    action: Action


class Scheduler:
    """``prepare`` makes a function's files ready on the machine again when the engine says they are missing.

    ``describe`` gives what a container of a function is started with, by its id.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        engine: Engine,
        prepare: Callable[[FunctionSpec], Awaitable[None]],
        describe: Callable[[str, FunctionSpec], Awaitable[ContainerSpec]],
        max_containers: int,
        cores: int,
    ) -> None:
        self._dispatch = dispatch
        self._engine = engine
        self._prepare = prepare
        self._describe = describe
        self._max_containers = max_containers
        self._cores = cores
        self._stopping: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.decisions: deque[Decision] = deque(maxlen=1000)
        self.paused = False

    async def run(self) -> None:
        """Until cancelled. Sleeps without a tick when there is neither demand nor a container."""
        demand = self._dispatch.demand
        while True:
            pools = self._dispatch.pools.values()
            tick = WAITING_S if any(p.waiting for p in pools) else IDLE_S
            quiet = not any(p.containers or p.waiting or p.spec.scaling.min_containers for p in pools)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(demand.wait(), None if quiet else tick)
            demand.clear()
            self.step()

    def step(self) -> None:
        """One look: decide and apply."""
        if self.paused:
            return
        now = self._dispatch.clock()
        self._dispatch.calls.sweep(now)
        for action in plan(self._dispatch.snapshot(), now, self._max_containers - self._strangers(), self._cores):
            self._apply(action, now)
        for container_id in self._dispatch.drained():
            self._stop(container_id, EXIT_HOOKS_S)

    async def adopt(self, found: list[RunningContainer], inputs: list[OpenInput]) -> None:
        """Take over from an earlier server: its containers, and then the inputs it had accepted and not recorded."""
        alive = []
        for running in found:
            pool = self._dispatch.pools.get(running.function_id)
            if pool is None or pool.retired:  # one of an older version finishes what it has: the planner drains it
                self._stop(running.container_id, EXIT_HOOKS_S)
                continue
            capacity = pool.spec.scaling.max_concurrent_inputs
            container = Container(
                running.container_id,
                running.function_id,
                running.spec_key,
                running.socket,
                capacity,
                running.started_at,
            )
            container.taken = pool.spec.max_inputs  # what it took before is not known: no more
            container.found_at = self._dispatch.clock()
            self._dispatch.started(container)
            alive.append(container)
        self._dispatch.calls.restore(inputs, frozenset(container.container_id for container in alive))
        for container in alive:
            await self._dispatch.connect(container)
            if not self._dispatch.linked(container.container_id):
                self._stop(container.container_id, 0.0)
                text = "it could not be reached when the server started again"
                self._dispatch.exited(ContainerLost(container.container_id, None, None, False, text))

    async def worker_replaced(self, alive: set[str], others: set[str]) -> None:
        """The worker is another one, and these containers live on. ``others``: of them, who is not a function's."""
        self._stopping.clear()  # what the former was told, it took with it
        for known in self._dispatch.snapshot().containers:
            container = self._dispatch.container(known.container_id)
            if container is not None and container.socket and known.container_id not in alive:
                text = "it ended while its worker was restarted"
                self._dispatch.exited(ContainerLost(known.container_id, None, None, False, text))
        for container_id in alive - others:
            if self._dispatch.container(container_id) is None:  # it came to be while nobody heard of it
                self._stop(container_id, 0.0)

    def _strangers(self) -> int:
        """Containers of functions that are gone, which take up room until they have ended."""
        return sum(self._dispatch.container(container_id) is None for container_id in self._stopping)

    def _apply(self, action: Action, now: float) -> None:
        self.decisions.append(Decision(now, action))
        if isinstance(action, StartContainer):
            self._start(action)
        elif isinstance(action, StopContainer):
            if action.kill:
                self._kill(action)
            elif self._dispatch.drain(action.container_id):
                self._stop(action.container_id, EXIT_HOOKS_S)

    def _kill(self, action: StopContainer) -> None:
        container = self._dispatch.container(action.container_id)
        if container is not None and container.state is ContainerState.STARTING:
            self._dispatch.blame(action.container_id, action.reason)
        else:
            self._dispatch.drain(action.container_id)  # what it got now would be lost
        self._stop(action.container_id, 0.0)

    def kill(self, container_id: str, reason: str) -> None:
        """End a container at once (its input ran over time, its link broke)."""
        self._apply(StopContainer(container_id, reason, kill=True), self._dispatch.clock())

    def _start(self, action: StartContainer) -> None:
        spec = self._dispatch.spec(action.function_id)
        container_id = new_id("ta")
        capacity = spec.scaling.max_concurrent_inputs
        container = Container(container_id, spec.function_id, spec_key(spec), "", capacity, self._dispatch.clock())
        self._dispatch.started(container)
        self._spawn(self._launch(container, spec))

    async def _launch(self, container: Container, spec: FunctionSpec) -> None:
        try:
            request = await self._describe(container.container_id, spec)
            try:
                container.socket = await self._engine.start(request)
            except NotFound:
                await self._prepare(spec)
                container.socket = await self._engine.start(request)
        except WorkerAway:
            self._dispatch.not_started(container.container_id)
            return
        except IonianError as error:
            self._dispatch.blame(container.container_id, str(error))
            self._dispatch.exited(ContainerLost(container.container_id, None, None, False, str(error)))
            return
        await self._dispatch.connect(container)

    def _stop(self, container_id: str, grace_s: float) -> None:
        if container_id not in self._stopping or grace_s == 0:
            self._stopping.add(container_id)
            self._spawn(self._engine_stop(container_id, grace_s))

    async def _engine_stop(self, container_id: str, grace_s: float) -> None:
        try:
            await self._engine.stop(container_id, grace_s)
        except IonianError:
            self._stopping.discard(container_id)  # the worker is away: decided again at the next look

    def exited(self, event: ContainerExited) -> None:
        """The engine says that a container is gone."""
        self._stopping.discard(event.container_id)
        self._dispatch.exited(
            ContainerLost(event.container_id, event.code, event.signal, event.out_of_memory, event.last_output)
        )

    def _spawn(self, coroutine: Awaitable[None]) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
