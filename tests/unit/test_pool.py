"""Slots and queue of one function: work-conserving, first come first served, every slot released exactly once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ionian.dispatch.pool import Pool
from ionian.dispatch.slot import Container, Slot
from ionian.errors import IonianError, NotFound
from ionian.model import ContainerState, FunctionSpec, RunnerSpec, Scaling, spec_key


def spec(capacity: int = 1, layers: tuple[str, ...] = ("l1",)) -> FunctionSpec:
    runner = RunnerSpec("fu-1", "ap-1", "app", "f", "module", "1.6.4")
    scaling = Scaling(max_concurrent_inputs=capacity)
    return FunctionSpec("fu-1", "ap-1", "app", "main", "f", 1, "im-1", layers, (), (), runner, scaling=scaling)


class Waiting:
    def __init__(self, wants: bool = True) -> None:
        self.since = 0.0
        self.waiting = False
        self.wants = wants
        self.slot: Slot | None = None
        self.error: IonianError | None = None

    def give(self, slot: Slot) -> bool:
        if self.wants:
            self.slot = slot
        return self.wants

    def fail(self, error: IonianError) -> None:
        self.error = error


def pool_with(*names: str, capacity: int = 1) -> Pool:
    pool = Pool(spec(capacity), lambda: 0.0, lambda: None)
    for name in names:
        container = Container(name, "fu-1", pool.key, f"/s/{name}", capacity, 0.0)
        pool.add(container)
        pool.ready(container, 0)
    return pool


def test_least_loaded_first() -> None:
    pool = pool_with("a", "b", capacity=2)
    taken = [pool.try_acquire() for _ in range(4)]
    assert sorted(slot.container_id for slot in taken if slot) == ["a", "a", "b", "b"]
    assert {slot.container_id for slot in taken[:2] if slot} == {"a", "b"}
    assert pool.try_acquire() is None


def test_release_serves_the_queue_in_order() -> None:
    pool = pool_with("a")
    slot = pool.try_acquire()
    assert slot is not None
    first, second = Waiting(), Waiting()
    pool.enqueue(first)
    pool.enqueue(second)
    assert pool.try_acquire() is None  # nobody overtakes the queue
    slot.release()
    assert first.slot is not None
    assert second.slot is None


def test_a_waiter_that_lost_interest_is_skipped() -> None:
    pool = pool_with("a")
    slot = pool.try_acquire()
    assert slot is not None
    gone, here = Waiting(wants=False), Waiting()
    pool.enqueue(gone)
    pool.enqueue(here)
    slot.release()
    assert here.slot is not None


def test_second_release_is_a_bug() -> None:
    slot = pool_with("a").try_acquire()
    assert slot is not None
    slot.release()
    with pytest.raises(AssertionError):
        slot.release()


def test_broken_container_gets_no_more() -> None:
    pool = pool_with("a")
    slot = pool.try_acquire()
    assert slot is not None
    slot.release(broken=True)
    assert pool.try_acquire() is None
    assert pool.containers["a"].state is ContainerState.DRAINING


def test_new_version_takes_over() -> None:
    pool = pool_with("a")
    pool.update(spec(layers=("l2",)))
    assert pool.try_acquire() is None
    assert [view.stale for view in pool.container_views()] == [True]
    pool.update(replace(spec(), version=7))  # the same content under another version number stays warm
    assert pool.try_acquire() is not None


def test_key_ignores_version_and_scaling_only() -> None:
    assert spec_key(spec()) == spec_key(replace(spec(5), version=3))
    assert spec_key(spec()) != spec_key(spec(layers=("l2",)))
    assert spec_key(spec()) != spec_key(replace(spec(), definition=b"x"))


def test_failing_the_queue() -> None:
    pool = pool_with()
    waiting = Waiting()
    pool.enqueue(waiting)
    pool.fail_waiting(NotFound("gone"))
    assert isinstance(waiting.error, NotFound)


class PoolMachine(RuleBasedStateMachine):
    """Random containers, requests, releases, exits: slots are conserved and no free slot is idle while one waits."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool(spec(2), lambda: 0.0, lambda: None)
        self.waiting: list[Waiting] = []
        self.held: list[Slot] = []
        self.count = 0

    @rule()
    def start(self) -> None:
        self.count += 1
        container = Container(f"c{self.count}", "fu-1", self.pool.key, "/s", 2, 0.0)
        self.pool.add(container)
        self.pool.ready(container, 0)

    @rule()
    def request(self) -> None:
        slot = self.pool.try_acquire()
        if slot:
            self.held.append(slot)
            return
        waiter = Waiting()
        self.waiting.append(waiter)
        self.pool.enqueue(waiter)

    @rule(index=st.integers(0, 50), broken=st.booleans())
    def release(self, index: int, broken: bool) -> None:
        if self.held:
            self.held.pop(index % len(self.held)).release(broken)

    @rule(index=st.integers(0, 50))
    def leave(self, index: int) -> None:
        queued = [w for w in self.waiting if w.slot is None]
        if queued:
            waiter = queued[index % len(queued)]
            self.pool.forget(waiter)
            self.waiting.remove(waiter)

    @rule(index=st.integers(0, 50))
    def exit(self, index: int) -> None:
        containers = list(self.pool.containers.values())
        if containers:
            gone = containers[index % len(containers)]
            self.pool.remove(gone)
            for slot in [s for s in self.held if s.container is gone]:
                self.held.remove(slot)
                slot.release(broken=True)

    @invariant()
    def conserved(self) -> None:
        for waiter in [w for w in self.waiting if w.slot is not None]:
            assert waiter.slot is not None
            self.waiting.remove(waiter)
            self.held.append(waiter.slot)
        for container in self.pool.containers.values():
            assert container.in_flight == sum(s.container is container for s in self.held)
            assert container.in_flight <= container.capacity

    @invariant()
    def work_conserving(self) -> None:
        if self.pool.waiting:
            ready = [c for c in self.pool.containers.values() if c.state is ContainerState.READY]
            assert all(c.in_flight >= c.capacity for c in ready)


PoolMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestPoolMachine = PoolMachine.TestCase
