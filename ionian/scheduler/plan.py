"""Decides containers. Pure: ``plan(snapshot, now)`` gives actions, each with its reason; no clock, no state, no engine.

It never decides single inputs: a free slot serves the queue at once, in dispatch, without asking here.
"""

from __future__ import annotations

from collections import defaultdict
from math import ceil

from ionian.model import (
    Action,
    ContainerState,
    ContainerView,
    FunctionView,
    Scaling,
    Snapshot,
    StartContainer,
    StopContainer,
)

PATIENCE_S = 0.1  # with a warm container present, a wait shorter than this is cheaper to serve than to scale for
SUSTAINED_S = 0.5  # a queue that never empties for so long is worth another container, while a core is free for it


def plan(snapshot: Snapshot, now: float, max_containers: int, cores: int = 1) -> list[Action]:
    """Actions that bring actual to desired.

    ``now`` is unix seconds; ``max_containers`` bounds the whole machine, which has ``cores`` CPU cores.
    """
    by_function: dict[str, list[ContainerView]] = defaultdict(list)
    for container in snapshot.containers:
        by_function[container.function_id].append(container)
    room = max_containers - sum(c.state is not ContainerState.EXITED for c in snapshot.containers)
    actions: list[Action] = []
    denied: dict[str, int] = {}  # starts for which the machine has no room, by function
    # Who has no container yet comes first: on a full machine the others would take every place that becomes free.
    for function in sorted(snapshot.functions, key=lambda function: bool(by_function.get(function.function_id))):
        containers = by_function.get(function.function_id, [])
        actions += _retire(function, containers)
        actions += _overdue(function, containers, now)
        current = [c for c in containers if not c.stale and c.state in (ContainerState.STARTING, ContainerState.READY)]
        if function.retired:
            continue
        wanted = _starts(function, current, now, cores)
        starts = wanted[: max(0, room)]
        room -= len(starts)
        if function.queued and len(starts) < len(wanted):
            denied[function.function_id] = len(wanted) - len(starts)
        actions += starts or _idle(function, current, now)
    return actions + (_make_room(snapshot, denied, actions) if denied else [])


def desired(function: FunctionView, in_flight: int) -> tuple[int, str]:
    """How many containers the present demand asks for, and why."""
    scaling = function.scaling
    per_container = scaling.target_concurrent_inputs or scaling.max_concurrent_inputs
    demand = ceil(function.queued / function.batch_size) + in_flight
    wanted = ceil(demand / per_container) + (scaling.buffer_containers if demand else 0)
    reason = f"{function.queued} queued and {in_flight} running, {per_container} per container"
    if wanted < scaling.min_containers:
        return scaling.min_containers, f"min_containers={scaling.min_containers}"
    if scaling.max_containers is not None and wanted > scaling.max_containers:
        return scaling.max_containers, f"{reason}, limited by max_containers={scaling.max_containers}"
    return wanted, reason


def _starts(function: FunctionView, current: list[ContainerView], now: float, cores: int) -> list[StartContainer]:
    if now < function.blocked_until:
        return []
    wanted, reason = desired(function, sum(c.in_flight for c in current))
    missing = wanted - len(current)
    ready = sum(c.state is ContainerState.READY for c in current)
    starting = len(current) - ready
    below_minimum = len(current) < function.scaling.min_containers
    if ready and not below_minimum:
        sustained = function.queued_for_s >= SUSTAINED_S and len(current) < cores
        if function.queued and function.oldest_wait_s < PATIENCE_S and not sustained:
            return []
        missing = min(missing, ready - starting)  # at most double while something already serves
    return [StartContainer(function.function_id, reason) for _ in range(max(0, missing))]


def _idle(function: FunctionView, current: list[ContainerView], now: float) -> list[StopContainer]:
    scaling: Scaling = function.scaling
    if function.queued:
        return []
    idle = [c for c in current if c.state is ContainerState.READY and c.in_flight == 0 and c.idle_since is not None]
    idle.sort(key=lambda c: c.idle_since or 0.0)
    busy = any(c.in_flight for c in current)
    keep = max(scaling.min_containers, 0) + (scaling.buffer_containers if busy else 0)
    spare = len(current) - keep
    due = [c for c in idle if now - (c.idle_since or now) >= scaling.scaledown_window_s]
    reason = f"idle for scaledown_window={scaling.scaledown_window_s} s"
    return [StopContainer(c.container_id, reason) for c in due[: max(0, spare)]]


def _make_room(snapshot: Snapshot, denied: dict[str, int], actions: list[Action]) -> list[StopContainer]:
    """On a full machine: what idles gives way to what waits, and who has several to who has none.

    A container that works finishes what it has first. Room that is on its way already counts.
    """
    leaving = {action.container_id for action in actions if isinstance(action, StopContainer)}
    leaving |= {c.container_id for c in snapshot.containers if c.state is ContainerState.DRAINING}
    staying: dict[str, list[ContainerView]] = defaultdict(list)
    for c in snapshot.containers:
        if c.state in (ContainerState.STARTING, ContainerState.READY) and c.container_id not in leaving:
            staying[c.function_id].append(c)
    functions = {function.function_id: function for function in snapshot.functions}
    missing = sum(denied.values()) - len(leaving)
    found = _idle_elsewhere(functions, staying, denied)[: max(0, missing)]
    without = sum(not staying[function_id] for function_id in denied) - len(leaving) - len(found)
    chosen = {c.container_id for c in found}
    for _ in range(max(0, without)):
        left = [[c for c in held if c.container_id not in chosen] for held in staying.values()]
        most = max(left, key=len, default=[])
        ready = [c for c in most if c.state is ContainerState.READY]
        if len(most) < 2 or not ready:
            break
        found.append(min(ready, key=lambda c: c.in_flight))
        chosen.add(found[-1].container_id)
    return [StopContainer(c.container_id, "its place on this machine is needed by another function") for c in found]


def _idle_elsewhere(
    functions: dict[str, FunctionView], staying: dict[str, list[ContainerView]], denied: dict[str, int]
) -> list[ContainerView]:
    """Containers that are spare: longest idle first, of functions that wait for nothing, beyond their minimum."""
    spare: list[ContainerView] = []
    for function_id, held in staying.items():
        function = functions.get(function_id)
        if function is None or function_id in denied or function.queued:
            continue
        idle = sorted((c for c in held if c.in_flight == 0 and c.idle_since), key=lambda c: c.idle_since or 0.0)
        spare += idle[: max(0, len(held) - function.scaling.min_containers)]
    return sorted(spare, key=lambda c: c.idle_since or 0.0)


def _retire(function: FunctionView, containers: list[ContainerView]) -> list[StopContainer]:
    actions = []
    for container in containers:
        if container.state not in (ContainerState.STARTING, ContainerState.READY):
            continue
        if container.found and container.state is ContainerState.STARTING:
            continue
        if function.retired or container.stale:
            reason = "its app has stopped" if function.retired else "a newer version is deployed"
            actions.append(
                StopContainer(container.container_id, reason, kill=container.state is ContainerState.STARTING)
            )
    return actions


def _overdue(function: FunctionView, containers: list[ContainerView], now: float) -> list[StopContainer]:
    return [
        StopContainer(c.container_id, f"not ready within startup_timeout={function.startup_timeout_s} s", kill=True)
        for c in containers
        if c.state is ContainerState.STARTING
        and (c.found or not (c.stale or function.retired))
        and now - c.started_at >= function.startup_timeout_s
    ]
