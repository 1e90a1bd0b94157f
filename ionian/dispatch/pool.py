"""One function's queue and slots. A slot is released exactly once, and each release serves the queue at once.

No input waits here while a ready container of its function has a free slot, but for a batch that is still filling.
Knows no clock: times are arguments.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ionian.dispatch.line import Line, Waiter
from ionian.dispatch.slot import Container, Slot
from ionian.errors import IonianError
from ionian.model import Batching, ContainerState, ContainerView, FunctionSpec, FunctionView, spec_key

_NEVER = float("inf")
Later = Callable[[float, Callable[[], None]], None]  # seconds, what to do then


def by_loop(seconds: float, then: Callable[[], None]) -> None:
    """The timer of the running event loop."""
    asyncio.get_running_loop().call_later(seconds, then)


class Pool:
    """Queue and slots of one function. ``changed`` is called when the planner should look."""

    def __init__(
        self, spec: FunctionSpec, clock: Callable[[], float], changed: Callable[[], None], later: Later = by_loop
    ) -> None:
        self.spec = spec
        self.key = spec_key(spec)
        self.containers: dict[str, Container] = {}
        self.waiting = Line()
        self.retired = False
        self.failures = 0
        self.blocked_until = 0.0
        self._ready: list[Container] = []
        self._queued_since = 0.0  # when the queue began to be not empty
        self._clock = clock
        self._changed = changed
        self._later = later
        self._lingers_until = _NEVER

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
        self.waiting.join(waiter)
        self._changed()

    def forget(self, waiter: Waiter) -> None:
        """Leave the queue (client gone, deadline over)."""
        if self.waiting.leave(waiter):
            self._changed()

    def serve(self) -> None:
        """Hand free slots to the queue, first come first served."""
        if self.spec.batching is not None:
            self._serve_batches(self.spec.batching)
            return
        while self.waiting:
            slot = self._pick()
            if slot is None:
                return
            while self.waiting:
                if self.waiting.next().give(slot):
                    break
            else:
                slot.release()

    def _serve_batches(self, batching: Batching) -> None:
        """A batch goes out when it is full, or when its first input has waited long enough for others."""
        while first := self.waiting.first():
            short = len(self.waiting) < batching.max_size
            missing_s = first.since + batching.linger_s - self._clock()
            if short and missing_s > 0:
                self._linger(missing_s)
                return
            size = min(batching.max_size, len(self.waiting))
            slot = self._pick(size)
            if slot is None:
                return
            for waiter in [self.waiting.next() for _ in range(size)]:
                if not waiter.give(slot):
                    slot.release()

    def _linger(self, seconds: float) -> None:
        until = self._clock() + seconds
        if until < self._lingers_until and any(self._has_room(container) for container in self._ready):
            self._lingers_until = until
            self._later(seconds, self._lingered)

    def _lingered(self) -> None:
        self._lingers_until = _NEVER
        self.serve()

    def fail_waiting(self, error: IonianError) -> None:
        """End everybody in the queue with ``error``."""
        for waiter in self.waiting.take_all():
            waiter.fail(error)

    def add(self, container: Container) -> None:
        self.containers[container.container_id] = container

    def ready(self, container: Container, in_flight: int) -> None:
        """The container takes inputs now. ``in_flight`` counts what it is still working on for an earlier server."""
        container.in_flight = in_flight
        if container.state is not ContainerState.STARTING:
            return
        container.state = ContainerState.READY
        container.idle_since = None if in_flight else self._clock()
        self.failures, self.blocked_until = 0, 0.0
        if self._spent(container) and not in_flight:  # found running: it has had its inputs
            container.state = ContainerState.DRAINING
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
        if (broken or (self._spent(container) and not container.in_flight)) and container.state is ContainerState.READY:
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
        first = self.waiting.first()
        return FunctionView(
            function_id=self.spec.function_id,
            scaling=self.spec.scaling,
            queued=len(self.waiting),
            oldest_wait_s=now - first.since if first else 0.0,
            queued_for_s=now - self._queued_since if first else 0.0,
            batch_size=self.spec.batching.max_size if self.spec.batching else 1,
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
                started_at=c.started_at if c.found_at is None else c.found_at,
                idle_since=c.idle_since,
                stale=c.key != self.key,
                found=c.found_at is not None,
            )
            for c in self.containers.values()
        ]

    def _index(self) -> None:
        self._ready = [c for c in self.containers.values() if c.state is ContainerState.READY and c.key == self.key]

    def _spent(self, container: Container) -> bool:
        """It has taken all inputs that a container of this function may (``single_use_containers``)."""
        return bool(self.spec.max_inputs) and container.taken >= self.spec.max_inputs

    def _has_room(self, container: Container) -> bool:
        return container.in_flight < container.capacity and not self._spent(container)

    def _pick(self, inputs: int = 1) -> Slot | None:
        best: Container | None = None
        for container in self._ready:
            if self._has_room(container) and (best is None or container.in_flight < best.in_flight):
                best = container
        if best is None:
            return None
        best.in_flight += 1
        best.taken += inputs
        best.idle_since = None
        return Slot(self, best, inputs)
