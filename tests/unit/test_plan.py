"""The planner: given a snapshot, at ``now``, expect a plan."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ionian.model import (
    ContainerState,
    ContainerView,
    FunctionView,
    Scaling,
    Snapshot,
    StartContainer,
    StopContainer,
)
from ionian.scheduler.plan import plan

NOW = 1_000_000.0
F = "fu-1"


def function(**values: object) -> FunctionView:
    return replace(FunctionView(F, Scaling(), queued=0), **values)  # type: ignore[arg-type]


def container(name: str, **values: object) -> ContainerView:
    ready = ContainerView(name, F, ContainerState.READY, in_flight=0, started_at=NOW - 100, idle_since=NOW)
    return replace(ready, **values)  # type: ignore[arg-type]


def starts(view: FunctionView, *containers: ContainerView, room: int = 100) -> int:
    actions = plan(Snapshot((view,), containers), NOW, room)
    return sum(isinstance(action, StartContainer) for action in actions)


def stops(view: FunctionView, *containers: ContainerView) -> list[StopContainer]:
    actions = plan(Snapshot((view,), containers), NOW, 100)
    return [action for action in actions if isinstance(action, StopContainer)]


def test_nothing_to_do_at_zero() -> None:
    assert plan(Snapshot((function(),), ()), NOW, 10) == []


def test_from_zero_on_demand() -> None:
    assert starts(function(queued=1)) == 1


def test_starts_as_many_as_the_queue_asks_for_from_zero() -> None:
    assert starts(function(queued=3)) == 3
    assert starts(function(queued=30, scaling=Scaling(max_concurrent_inputs=10))) == 3


def test_starting_containers_count() -> None:
    assert starts(function(queued=1), container("a", state=ContainerState.STARTING, idle_since=None)) == 0


def test_second_when_the_first_is_full_and_somebody_waits() -> None:
    busy = container("a", in_flight=1, idle_since=None)
    assert starts(function(queued=1, oldest_wait_s=0.2), busy) == 1


def test_a_short_queue_is_left_to_the_warm_container() -> None:
    busy = container("a", in_flight=1, idle_since=None)
    assert starts(function(queued=5, oldest_wait_s=0.01), busy) == 0


def test_a_queue_that_never_empties_uses_every_core() -> None:
    busy = container("a", in_flight=1, idle_since=None)
    view = function(queued=5, oldest_wait_s=0.02, queued_for_s=0.6)
    assert len(plan(Snapshot((view,), (busy,)), NOW, 100, cores=2)) == 1
    both = (busy, container("b", in_flight=1, idle_since=None))
    assert plan(Snapshot((view,), both), NOW, 100, cores=2) == []


def test_max_containers_is_a_limit() -> None:
    busy = container("a", in_flight=1, idle_since=None)
    assert starts(function(queued=9, oldest_wait_s=9, scaling=Scaling(max_containers=1)), busy) == 0


def test_at_most_doubles_while_something_serves() -> None:
    busy = [container(str(i), in_flight=1, idle_since=None) for i in range(3)]
    assert starts(function(queued=50, oldest_wait_s=9), *busy) == 3


def test_the_machine_has_room_for_so_many() -> None:
    assert starts(function(queued=50), room=4) == 4


def test_backs_off_after_a_failed_start() -> None:
    assert starts(function(queued=1, blocked_until=NOW + 1)) == 0
    assert starts(function(queued=1, blocked_until=NOW - 1)) == 1


def test_min_containers_without_demand() -> None:
    assert starts(function(scaling=Scaling(min_containers=2))) == 2


def test_idle_container_stops_after_its_window() -> None:
    old = container("a", idle_since=NOW - 61)
    (action,) = stops(function(), old)
    assert action.container_id == "a"
    assert "scaledown_window=60" in action.reason
    assert not stops(function(), container("a", idle_since=NOW - 59))


def test_idle_containers_down_to_min() -> None:
    idle = [container(str(i), idle_since=NOW - 100 - i) for i in range(3)]
    actions = stops(function(scaling=Scaling(min_containers=1)), *idle)
    assert [a.container_id for a in actions] == ["2", "1"]  # the longest idle first


def test_busy_container_never_stops_for_idleness() -> None:
    assert not stops(function(), container("a", in_flight=1, idle_since=None))


def test_stale_and_retired_drain() -> None:
    assert [a.kill for a in stops(function(), container("a", stale=True, in_flight=1, idle_since=None))] == [False]
    assert [a.kill for a in stops(function(retired=True), container("a"))] == [False]
    starting = container("a", stale=True, state=ContainerState.STARTING, idle_since=None)
    assert [a.kill for a in stops(function(), starting)] == [True]


def test_stale_containers_do_not_count_as_capacity() -> None:
    assert starts(function(queued=1, oldest_wait_s=0.2), container("a", stale=True)) == 1


def test_overdue_start_is_killed_and_says_so() -> None:
    late = container("a", state=ContainerState.STARTING, started_at=NOW - 301, idle_since=None)
    (action,) = stops(function(startup_timeout_s=300), late)
    assert action.kill
    assert "startup_timeout=300" in action.reason


views = st.builds(
    ContainerView,
    container_id=st.uuids().map(str),
    function_id=st.just(F),
    state=st.sampled_from(list(ContainerState)),
    in_flight=st.integers(0, 3),
    started_at=st.floats(NOW - 400, NOW),
    idle_since=st.one_of(st.none(), st.floats(NOW - 400, NOW)),
    stale=st.booleans(),
)
scalings = st.builds(
    Scaling,
    min_containers=st.integers(0, 3),
    max_containers=st.one_of(st.none(), st.integers(3, 6)),
    buffer_containers=st.integers(0, 2),
    max_concurrent_inputs=st.integers(1, 4),
)


def test_a_full_machine_ends_what_idles_longest_elsewhere_for_who_waits() -> None:
    waiting = function(queued=2, oldest_wait_s=1.0)
    idling = function(function_id="fu-2", scaling=Scaling(min_containers=1))
    busy = [container("a", in_flight=1, idle_since=None)]
    idle = [container(name, function_id="fu-2", idle_since=NOW - age) for name, age in [("b", 1), ("c", 3), ("d", 2)]]
    actions = plan(Snapshot((idling, waiting), (*busy, *idle)), NOW, 4)
    assert [action.container_id for action in actions if isinstance(action, StopContainer)] == ["c"]
    assert not [action for action in actions if isinstance(action, StartContainer)]
    leaving = replace(idle[1], state=ContainerState.DRAINING)
    assert plan(Snapshot((idling, waiting), (*busy, idle[0], leaving, idle[2])), NOW, 4) == []


def test_an_idle_machine_keeps_its_containers_when_there_is_room() -> None:
    idle = container("b", function_id="fu-2")
    actions = plan(Snapshot((function(queued=1), function(function_id="fu-2")), (idle,)), NOW, 2)
    assert [type(action) for action in actions] == [StartContainer]


def test_who_has_no_container_gets_one_of_who_has_most() -> None:
    greedy, waiting = function(queued=50), function(function_id="fu-2", queued=1)
    held = [container(name, in_flight=n, idle_since=None) for name, n in [("a", 3), ("b", 1), ("c", 2)]]
    [stop] = plan(Snapshot((greedy, waiting), tuple(held)), NOW, 3)
    assert isinstance(stop, StopContainer)
    assert (stop.container_id, stop.kill) == ("b", False)
    [start] = plan(Snapshot((greedy, waiting), (held[0], held[2])), NOW, 3)  # and the place goes to it
    assert isinstance(start, StartContainer)
    assert start.function_id == "fu-2"


def test_the_only_container_of_a_function_is_never_taken_while_it_works() -> None:
    others = (function(queued=9), function(function_id="fu-2", queued=1))
    assert plan(Snapshot(others, (container("a", in_flight=1, idle_since=None),)), NOW, 1) == []


@settings(max_examples=300, deadline=None)
@given(st.lists(views, max_size=8), scalings, st.integers(0, 40), st.floats(0, 5), st.booleans(), st.integers(0, 12))
def test_never_over_its_limits(
    containers: list[ContainerView], scaling: Scaling, queued: int, wait: float, retired: bool, room: int
) -> None:
    view = FunctionView(F, scaling, queued, wait, wait, retired=retired)
    actions = plan(Snapshot((view,), tuple(containers)), NOW, room)
    begun = [a for a in actions if isinstance(a, StartContainer)]
    ended = {a.container_id for a in actions if isinstance(a, StopContainer)}
    alive = [c for c in containers if c.state is not ContainerState.EXITED]
    active = (ContainerState.STARTING, ContainerState.READY)
    current = [c for c in alive if not c.stale and c.state in active]
    assert all(action.reason for action in actions)
    assert not (retired and begun)
    if begun:
        assert len(alive) + len(begun) <= room
        if scaling.max_containers is not None:
            assert len(current) + len(begun) <= scaling.max_containers
    idle_stops = [c for c in current if c.container_id in ended and c.state is ContainerState.READY and not retired]
    assert all(c.in_flight == 0 for c in idle_stops)
    if idle_stops:
        assert len(current) - len(idle_stops) >= scaling.min_containers


def test_what_an_earlier_server_left_is_heard_before_it_is_judged() -> None:
    """It may be working: neither stale nor retired ends it before it is ready, only silence does."""
    found = container("a", state=ContainerState.STARTING, found=True, stale=True, idle_since=None, started_at=NOW - 1)
    assert stops(function(startup_timeout_s=300), found) == []
    assert stops(function(startup_timeout_s=300, retired=True), found) == []
    assert [stop.kill for stop in stops(function(startup_timeout_s=1), found)] == [True]
