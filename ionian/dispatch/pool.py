"""One function's queue and slots. A slot is released exactly once, and each release serves the queue at once.

No input waits here while a ready container of its function has a free slot. Knows no clock: times are arguments.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from ionian.errors import IonianError
from ionian.model import ContainerState, ContainerView, FunctionSpec, FunctionView, spec_key


class Waiter(Protocol):
    """Somebody in the queue: an HTTP request or an input of a call."""

    since: float  # unix seconds when it began to wait

    def give(self, slot: Slot) -> bool:
        """Take the slot. False: no longer interested, the slot goes to the next."""

    def fail(self, error: IonianError) -> None: ...


class Container:
    """A live container as dispatch sees it. ``in_flight`` counts taken slots."""

    __slots__ = (
        "capacity",
        "container_id",
        "function_id",
        "idle_since",
        "in_flight",
        "key",
        "served",
        "socket",
        "started_at",
        "state",
    )

    def __init__(self, container_id: str, function_id: str, key: str, socket: str, capacity: int, now: float) -> None:
        self.container_id = container_id
        self.function_id = function_id
        self.key = key
        self.socket = socket
        self.capacity = capacity
        self.state = ContainerState.STARTING
        self.in_flight = 0
        self.served = 0
        self.started_at = now
        self.idle_since: float | None = None


class Slot:
    """The right to run one input in one container, until ``release``."""

    __slots__ = ("_pool", "_released", "container", "container_id", "socket")

    def __init__(self, pool: Pool, container: Container) -> None:
        self._pool = pool
        self._released = False
        self.container = container
        self.container_id = container.container_id
        self.socket = container.socket

    def release(self, broken: bool = False) -> None:
        """Give it back. ``broken``: the container misbehaved and gets no more inputs. A second call is a bug."""
        if self._released:
            raise AssertionError(f"slot of {self.container_id} released twice")
        self._released = True
        self._pool.released(self.container, broken)


class Pool:
    """Queue and slots of one function. ``changed`` is called when the planner should look."""

    def __init__(self, spec: FunctionSpec, clock: Callable[[], float], changed: Callable[[], None]) -> None:
        self.spec = spec
        self.key = spec_key(spec)
        self.containers: dict[str, Container] = {}
        self.waiting: deque[Waiter] = deque()
        self.retired = False
        self.failures = 0
        self.blocked_until = 0.0
        self._ready: list[Container] = []
        self._queued_since = 0.0  # when the queue began to be not empty
        self._clock = clock
        self._changed = changed

    def update(self, spec: FunctionSpec) -> None:
        """A new version is live: containers of another key take no more inputs (the planner drains them)."""
        self.spec = spec
        key = spec_key(spec)
        if key != self.key:
            self.key = key
            self.failures, self.blocked_until = 0, 0.0
        for container in self.containers.values():
            if container.state is ContainerState.READY:
                container.capacity = spec.scaling.max_concurrent_inputs
        self._index()
        self.serve()
        self._changed()

    def try_acquire(self) -> Slot | None:
        """A slot of the least loaded ready container, unless others wait already or all are full."""
        if self.waiting:
            return None
        return self._pick()

    def enqueue(self, waiter: Waiter) -> None:
        if not self.waiting:
            self._queued_since = waiter.since
        self.waiting.append(waiter)
        self._changed()

    def forget(self, waiter: Waiter) -> None:
        """Leave the queue (client gone, deadline over)."""
        try:
            self.waiting.remove(waiter)
        except ValueError:
            return
        self._changed()

    def serve(self) -> None:
        """Hand free slots to the queue, first come first served."""
        while self.waiting:
            slot = self._pick()
            if slot is None:
                return
            while self.waiting:
                if self.waiting.popleft().give(slot):
                    break
            else:
                slot.release()

    def fail_waiting(self, error: IonianError) -> None:
        """End everybody in the queue with ``error``."""
        waiting, self.waiting = self.waiting, deque()
        for waiter in waiting:
            waiter.fail(error)

    def add(self, container: Container) -> None:
        self.containers[container.container_id] = container

    def ready(self, container: Container, in_flight: int) -> None:
        """The container takes inputs now. ``in_flight`` counts what it is still working on for an earlier server."""
        if container.state is not ContainerState.STARTING:
            return
        container.state = ContainerState.READY
        container.in_flight = in_flight
        container.idle_since = None if in_flight else self._clock()
        self.failures, self.blocked_until = 0, 0.0
        self._index()
        self.serve()
        self._changed()

    def drain(self, container: Container) -> None:
        """No new inputs for this container."""
        container.state = ContainerState.DRAINING
        self._index()

    def remove(self, container: Container) -> None:
        container.state = ContainerState.EXITED
        self.containers.pop(container.container_id, None)
        self._index()
        self._changed()

    def released(self, container: Container, broken: bool) -> None:
        """A slot came back."""
        container.in_flight -= 1
        container.served += 1
        if broken and container.state is ContainerState.READY:
            self.drain(container)
            self._changed()
        if self.waiting:
            self.serve()
        if container.in_flight == 0:
            container.idle_since = self._clock()
            if self.waiting or container.state is not ContainerState.READY:
                self._changed()

    def start_failed(self, now: float) -> None:
        """A start failed: wait longer before each next one, at most 30 seconds."""
        self.failures += 1
        self.blocked_until = now + min(30.0, 0.5 * 2 ** (self.failures - 1))

    def view(self, now: float) -> FunctionView:
        return FunctionView(
            function_id=self.spec.function_id,
            scaling=self.spec.scaling,
            queued=len(self.waiting),
            oldest_wait_s=now - self.waiting[0].since if self.waiting else 0.0,
            queued_for_s=now - self._queued_since if self.waiting else 0.0,
            retired=self.retired,
            blocked_until=self.blocked_until,
            startup_timeout_s=self.spec.startup_timeout_s,
        )

    def container_views(self) -> list[ContainerView]:
        return [
            ContainerView(
                container_id=c.container_id,
                function_id=c.function_id,
                state=c.state,
                in_flight=c.in_flight,
                started_at=c.started_at,
                idle_since=c.idle_since,
                stale=c.key != self.key,
            )
            for c in self.containers.values()
        ]

    def _index(self) -> None:
        self._ready = [c for c in self.containers.values() if c.state is ContainerState.READY and c.key == self.key]

    def _pick(self) -> Slot | None:
        best: Container | None = None
        for container in self._ready:
            free = container.in_flight < container.capacity
            if free and (best is None or container.in_flight < best.in_flight):
                best = container
        if best is None:
            return None
        best.in_flight += 1
        best.idle_since = None
        return Slot(self, best)
