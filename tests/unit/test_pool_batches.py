"""Batches fill or wait their time, and no longer; containers of a limited number of inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ionian.dispatch.pool import Pool
from ionian.dispatch.slot import Container, Slot
from ionian.model import Batching, ContainerState, FunctionSpec
from tests.unit.test_pool import Waiting, spec


class Hall:
    """A pool, its clock and its timers."""

    def __init__(self, given: FunctionSpec) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.pool = Pool(given, lambda: self.now, lambda: None, self._later)

    def _later(self, seconds: float, then: Callable[[], None]) -> None:
        self.timers.append((self.now + seconds, then))

    def container(self, name: str, capacity: int = 1) -> Container:
        container = Container(name, "fu-1", self.pool.key, "/s", capacity, self.now)
        self.pool.add(container)
        self.pool.ready(container, 0)
        return container

    def come(self, count: int = 1) -> list[Waiting]:
        came = [Waiting() for _ in range(count)]
        for waiting in came:
            waiting.since = self.now
            self.pool.enqueue(waiting)
        self.pool.serve()
        return came

    def wait(self, seconds: float) -> None:
        self.now += seconds
        due, self.timers = [t for t in self.timers if t[0] <= self.now], [t for t in self.timers if t[0] > self.now]
        for _, then in due:
            then()


def batched(size: int = 3, linger_s: float = 1.0, **values: object) -> FunctionSpec:
    return replace(spec(), batching=Batching(size, linger_s), **values)  # type: ignore[arg-type]


def slots(waiting: list[Waiting]) -> set[Slot]:
    return {w.slot for w in waiting if w.slot is not None}


def test_a_full_batch_goes_at_once_in_one_slot() -> None:
    hall = Hall(batched())
    container = hall.container("a")
    came = hall.come(3)
    assert len(slots(came)) == 1
    assert container.in_flight == 1
    (slot,) = slots(came)
    for _ in range(2):
        slot.release()
        assert container.in_flight == 1  # one of three still works
    slot.release()
    assert container.in_flight == 0


def test_a_short_batch_goes_when_its_first_has_waited_long_enough() -> None:
    hall = Hall(batched())
    hall.container("a")
    first = hall.come()
    hall.wait(0.9)
    second = hall.come()
    assert not slots(first + second)
    hall.wait(0.1)
    assert len(slots(first + second)) == 1
    assert not hall.pool.waiting


def test_the_wait_counts_from_the_first_also_when_no_container_was_there() -> None:
    hall = Hall(batched())
    came = hall.come(2)
    hall.wait(5.0)
    hall.container("a")
    assert len(slots(came)) == 1


def test_what_is_too_much_for_one_batch_is_the_next() -> None:
    hall = Hall(batched())
    hall.container("a")
    hall.container("b")
    came = hall.come(7)
    assert len(slots(came[:3])) == len(slots(came[3:6])) == 1
    assert slots(came[:3]) != slots(came[3:6])
    assert not slots(came[6:])
    hall.wait(1.0)
    assert not slots(came[6:])  # both work
    for _ in range(3):
        next(iter(slots(came[:3]))).release()
    assert len(slots(came[6:])) == 1


def test_who_leaves_does_not_shorten_the_wait_of_who_comes_later() -> None:
    hall = Hall(batched())
    hall.container("a")
    (gone,) = hall.come()
    hall.wait(0.5)
    (stays,) = hall.come()
    hall.pool.forget(gone)
    hall.wait(0.5)
    assert stays.slot is None
    hall.wait(0.5)
    assert stays.slot is not None


def test_a_deploy_with_a_shorter_wait_holds_for_those_who_wait() -> None:
    hall = Hall(batched(linger_s=10.0))
    hall.container("a")
    (waits,) = hall.come()
    hall.pool.update(batched(linger_s=0.2))
    hall.container("b")  # what is batched otherwise is another container
    hall.wait(0.2)
    assert waits.slot is not None
    hall.wait(10.0)


def test_a_container_of_one_input_is_drained_after_it() -> None:
    hall = Hall(replace(spec(), max_inputs=1))
    container = hall.container("a", capacity=2)
    first, second = hall.come(2)
    assert first.slot is not None
    assert second.slot is None  # though there is room
    first.slot.release()
    assert container.state is ContainerState.DRAINING
    assert second.slot is None
    hall.container("b")
    assert second.slot is not None


def test_a_container_of_three_inputs_may_run_them_together() -> None:
    hall = Hall(replace(spec(), max_inputs=3))
    container = hall.container("a", capacity=2)
    came = hall.come(4)
    assert [w.slot is not None for w in came] == [True, True, False, False]
    for waiting in came[:2]:
        assert waiting.slot is not None
        waiting.slot.release()
    assert [w.slot is not None for w in came] == [True, True, True, False]
    assert str(container.state) == "ready"
    assert came[2].slot is not None
    came[2].slot.release()
    assert container.state is ContainerState.DRAINING


def test_a_container_that_was_found_takes_no_more_inputs_when_they_are_counted() -> None:
    hall = Hall(replace(spec(), max_inputs=1))
    idle = Container("a", "fu-1", hall.pool.key, "/s", 1, 0.0)
    idle.taken = 1
    hall.pool.add(idle)
    hall.pool.ready(idle, 0)
    assert idle.state is ContainerState.DRAINING
    busy = Container("b", "fu-1", hall.pool.key, "/s", 1, 0.0)
    busy.taken = 1
    hall.pool.add(busy)
    hall.pool.ready(busy, 1)
    assert str(busy.state) == "ready"
    hall.pool.released(busy, False)
    assert busy.state is ContainerState.DRAINING
