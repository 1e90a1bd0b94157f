"""The hot path: a function's slots at once when a container is warm, else demand that wakes the planner.

Owns every live container this server knows: its pool, its control link, and what becomes of those who waited for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ionian.dispatch.calls import Blobs, Calls
from ionian.dispatch.failures import ContainerLost, StartFailed
from ionian.dispatch.ledger import Journal
from ionian.dispatch.links import ControlLink, connect
from ionian.dispatch.pool import Later, Pool, by_loop
from ionian.dispatch.records import reported
from ionian.dispatch.slot import Container, Slot
from ionian.errors import DeadlineExceeded, IonianError, NotFound, ResourceExhausted
from ionian.model import ContainerState, FunctionSpec, InputRef, OpenInput, Snapshot, Status

LAST_WORDS_S = 1.0  # seconds that the rest of an ended container's link may take to arrive
START_TRIES = 3  # containers that may be killed one after the other while they start
AWAY_S = 0.5  # seconds that a worker may need to be there again
LINGER_S = 5.0  # seconds a program may take to end after it has closed its link
Items = Callable[[str, dict[str, Any], bytes], None]


class _RequestWaiter:
    """An HTTP request in a function's queue."""

    __slots__ = ("future", "since", "waiting")

    def __init__(self, future: asyncio.Future[Slot], since: float) -> None:
        self.future = future
        self.since = since
        self.waiting = False

    def give(self, slot: Slot) -> bool:
        if self.future.done():
            return False
        self.future.set_result(slot)
        return True

    def fail(self, error: IonianError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Dispatch:
    """One per server. ``demand`` is set whenever the planner should look."""

    def __init__(
        self,
        clock: Callable[[], float],
        blobs: Blobs,
        journal: Journal,
        items: Items,
        kill: Callable[[str, str], None],
        max_queued: int,
        crash_requeue: bool = False,
        later: Later = by_loop,
    ) -> None:
        self.clock = clock
        self.demand = asyncio.Event()
        self.pools: dict[str, Pool] = {}
        self.calls = Calls(clock, blobs, journal, self._pool, self._link_of, kill, crash_requeue, later)
        self._later = later
        self._items = items
        self._kill = kill
        self._max_queued = max_queued
        self._containers: dict[str, tuple[Container, Pool]] = {}
        self._links: dict[str, ControlLink] = {}
        self._failures: dict[str, StartFailed] = {}
        self._ended: dict[str, ContainerLost] = {}  # exited, with something of their link still to be read
        self._settled: dict[str, asyncio.Future[dict[str, Any]]] = {}

    # -- functions

    def apply(self, specs: list[FunctionSpec]) -> None:
        """The functions of all live app versions. What is gone is retired: its queue ends, its containers drain."""
        live = {spec.function_id: spec for spec in specs}
        for function_id, spec in live.items():
            pool = self.pools.get(function_id)
            if pool is None:
                self.pools[function_id] = Pool(spec, self.clock, self.demand.set, self._later)
            else:
                pool.retired = False
                pool.update(spec)
        for function_id in [f for f in self.pools if f not in live]:
            pool = self.pools[function_id]
            pool.retired = True
            pool.fail_waiting(NotFound(f"function {pool.spec.name} is gone: app {pool.spec.app_name} has stopped"))
            self._forget_if_empty(pool)
        self.demand.set()

    def enlist(self, spec: FunctionSpec) -> None:
        """One more function, beside the live ones."""
        pool = self.pools.get(spec.function_id)
        if pool is None:
            self.pools[spec.function_id] = Pool(spec, self.clock, self.demand.set, self._later)
        else:
            pool.retired = False
            pool.update(spec)

    def retire(self, function_id: str) -> None:
        """This function takes no more calls. Its queue is empty."""
        pool = self.pools[function_id]
        pool.retired = True
        self._forget_if_empty(pool)

    def spec(self, function_id: str) -> FunctionSpec:
        """The live function. Raises NotFound."""
        return self._pool(function_id).spec

    def _pool(self, function_id: str) -> Pool:
        pool = self.pools.get(function_id)
        if pool is None or pool.retired:
            raise NotFound(f"no live function {function_id}: its app is stopped or was never deployed")
        return pool

    def _forget_if_empty(self, pool: Pool) -> None:
        if pool.retired and not pool.containers:
            self.pools.pop(pool.spec.function_id, None)

    # -- slots

    def try_acquire(self, function_id: str) -> Slot | None:
        """A slot when a warm container has one free, else None. Raises NotFound."""
        return self._pool(function_id).try_acquire()

    async def acquire(self, function_id: str, timeout_s: float) -> Slot:
        """A slot, waiting for one. Raises NotFound, ResourceExhausted, DeadlineExceeded, ContainerFailed."""
        pool = self._pool(function_id)
        slot = pool.try_acquire()
        if slot is not None:
            return slot
        if len(pool.waiting) >= self._max_queued:
            raise ResourceExhausted(f"{len(pool.waiting)} requests wait for {pool.spec.name} already; try again later")
        future: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        waiter = _RequestWaiter(future, self.clock())
        pool.enqueue(waiter)
        try:
            done, _ = await asyncio.wait({future}, timeout=timeout_s)
        except BaseException:
            pool.forget(waiter)
            if future.done() and future.exception() is None:
                future.result().release()
            raise
        if done:
            return future.result()
        pool.forget(waiter)
        future.cancel()
        raise DeadlineExceeded(f"no container of {pool.spec.name} had room within {timeout_s:.0f} s")

    def submit(self, inputs: list[OpenInput]) -> None:
        """Queue accepted inputs. Those of a function that is gone end at once, in a named error."""
        self.calls.submit(inputs)

    def reserve(self, function_id: str) -> Slot | None:
        """A free slot for an input that is about to be accepted; a function that batches has none to give."""
        pool = self.pools.get(function_id)
        return pool.try_acquire() if pool is not None and not pool.retired and pool.spec.batching is None else None

    def start(self, slot: Slot, opened: OpenInput, ref: InputRef) -> None:
        """Run an input on the slot reserved for it; its claim is committed."""
        pool = self.pools.get(opened.function_id)
        if pool is None:  # its app was stopped meanwhile
            slot.release()
            self.submit([opened])
        else:
            self.calls.start(slot, pool, opened, ref)

    # -- containers

    def started(self, container: Container) -> None:
        """A container of a live function is about to exist, or was found running."""
        pool = self.pools[container.function_id]
        pool.add(container)
        self._containers[container.container_id] = (container, pool)

    async def connect(self, container: Container) -> None:
        """Open the control link of a started container. A container that is gone already reports its exit by itself."""
        with contextlib.suppress(OSError):
            await connect(container.container_id, container.socket, self)

    def settled(self, container_id: str) -> asyncio.Future[dict[str, Any]]:
        """Completes when the container has reported ready, has failed, or is gone."""
        return self._settled.setdefault(container_id, asyncio.get_running_loop().create_future())

    def start_failed(self, function_id: str, error: IonianError, by_chance: bool = False) -> None:
        """A container could not be created or ended before it was ready. If nobody serves, the queue learns why.

        ``by_chance``: somebody killed it. Only when that goes on does the queue learn of it.
        """
        pool = self.pools.get(function_id)
        if pool is None:
            return
        pool.start_failed(self.clock())
        if by_chance and pool.failures < START_TRIES:
            return
        if not any(c.state is ContainerState.READY and c.key == pool.key for c in pool.containers.values()):
            pool.fail_waiting(error)
        self.demand.set()

    def not_started(self, container_id: str) -> None:
        """Nobody was there to start this container. Those who wait for it go on waiting."""
        found = self._containers.pop(container_id, None)
        if found is None:
            return
        container, pool = found
        pool.blocked_until = self.clock() + AWAY_S
        pool.remove(container)
        self._settle(container_id, {})
        self._forget_if_empty(pool)

    def exited(self, lost: ContainerLost) -> None:
        """A container has ended and is cleaned up. What it said last may still lie in its link: that comes first."""
        found = self._containers.get(lost.container_id)
        if found is not None and found[0].state is ContainerState.READY:
            found[1].drain(found[0])
        if lost.container_id in self._links:
            self._ended[lost.container_id] = lost
            self._later(LAST_WORDS_S, lambda: self._forget(lost))
        else:
            self._forget(lost)

    def _forget(self, lost: ContainerLost) -> None:
        self._ended.pop(lost.container_id, None)
        found = self._containers.pop(lost.container_id, None)
        link = self._links.pop(lost.container_id, None)
        failure = self._failures.pop(lost.container_id, None)
        if link is not None:
            link.close()
        if found is None:
            return
        container, pool = found
        failed = container.state is ContainerState.STARTING and container.found_at is None and container.key == pool.key
        pool.remove(container)
        self.calls.container_exited(lost.container_id, lost)
        if failed:
            error = failure or StartFailed(f"{pool.spec.name} could not start: {lost}")
            killed = lost.code is None or (lost.signal == signal.SIGKILL and not lost.out_of_memory)
            self.start_failed(container.function_id, error, killed and failure is None)
        self._settle(lost.container_id, {})
        self._forget_if_empty(pool)
        self.demand.set()

    def drain(self, container_id: str) -> bool:
        """No more inputs for this container. True when it has nothing in flight."""
        found = self._containers.get(container_id)
        if found is None:
            return False
        container, pool = found
        pool.drain(container)
        return container.in_flight == 0 and not self.calls.expects(container_id)

    def reassign(self, container_id: str) -> None:
        """No more inputs for this container, and those it works on begin anew elsewhere: it is about to be killed."""
        self.drain(container_id)
        self.submit(self.calls.take_back(container_id))

    def drained(self) -> list[str]:
        """Containers that take no more inputs and have none left."""
        return [
            container.container_id
            for container, _ in self._containers.values()
            if container.state is ContainerState.DRAINING
            and container.in_flight == 0
            and not self.calls.expects(container.container_id)
        ]

    def blame(self, container_id: str, reason: str) -> None:
        """Say why a starting container is about to be ended, for those who wait for it."""
        found = self._containers.get(container_id)
        if found is not None and container_id not in self._failures:
            self._failures[container_id] = StartFailed(f"{found[1].spec.name} could not start: {reason}")

    def container(self, container_id: str) -> Container | None:
        found = self._containers.get(container_id)
        return found[0] if found else None

    def snapshot(self) -> Snapshot:
        """What the planner decides from."""
        now = self.clock()
        pools = list(self.pools.values())
        return Snapshot(
            functions=tuple(pool.view(now) for pool in pools),
            containers=tuple(view for pool in pools for view in pool.container_views()),
        )

    # -- links

    def linked(self, container_id: str) -> bool:
        """Whether it has a control link."""
        return container_id in self._links

    def _link_of(self, container_id: str) -> ControlLink | None:
        return self._links.get(container_id)

    def link_made(self, link: ControlLink) -> None:
        if link.container_id in self._containers:
            self._links[link.container_id] = link
        else:
            link.close()

    def link_ready(self, container_id: str, header: dict[str, Any]) -> None:
        found = self._containers.get(container_id)
        if found is None:
            return
        container, pool = found
        working = list(header.get("inputs", []))
        if container.state in (ContainerState.STARTING, ContainerState.DRAINING):  # a found one may drain already
            container.capacity = pool.spec.scaling.max_concurrent_inputs
            self.calls.found(container_id, working, pool, lambda: Slot(pool, container))
            pool.ready(container, len(working) + int(header.get("web_active", 0)))
            if header.get("stopping"):  # an earlier server had ended it
                pool.drain(container)
        self._settle(container_id, header)

    def link_failed(self, container_id: str, header: dict[str, Any], payload: bytes) -> None:
        found = self._containers.get(container_id)
        name = found[1].spec.name if found else container_id
        record = reported(container_id, "", {"id": "", "status": Status.INIT_FAILURE, **header}, payload)
        if record.data:
            record = replace(record, status=int(Status.FAILURE))
        text = f"{name} could not start: {header.get('exception') or 'no reason given'}"
        self._failures[container_id] = StartFailed(text, record)

    def link_output(self, container_id: str, header: dict[str, Any], payload: bytes) -> None:
        link = self._links.get(container_id)
        if link is not None:
            self.calls.output(container_id, header, payload, link)

    def link_item(self, container_id: str, header: dict[str, Any], payload: bytes) -> None:
        self._items(container_id, header, payload)

    def link_freed(self, container_id: str) -> None:
        found = self._containers.get(container_id)
        if found is not None:
            found[1].released(found[0], False)

    def link_lost(self, container_id: str) -> None:
        """The socket closed, as it does when a program ends. One that lives on without its link is useless: end it."""
        self._links.pop(container_id, None)
        if container_id in self._ended:
            self._forget(self._ended[container_id])
            return
        found = self._containers.get(container_id)
        if found is None or found[0].state is ContainerState.DRAINING:
            return  # gone, or stopping: whoever stops it gives it its time
        if found[0].state is ContainerState.READY:
            found[1].drain(found[0])
        self._later(LINGER_S, lambda: self._end_unlinked(container_id))

    def _end_unlinked(self, container_id: str) -> None:
        if container_id in self._containers and container_id not in self._links:
            self._kill(container_id, "its control link closed")

    def _settle(self, container_id: str, header: dict[str, Any]) -> None:
        future = self._settled.pop(container_id, None)
        if future is not None and not future.done():
            future.set_result(header)
