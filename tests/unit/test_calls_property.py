"""Random calls, outputs, cancels, crashes, deploys and restarts against real dispatch, scheduler, journal and database.

No accepted input is lost, none begins more often than its function allows, none ends twice, no slot is lost, nothing
waits without need: checked after every step, and at the end when everything has been let go on.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ionian.dispatch.slot import Container
from ionian.model import (
    Batching,
    ContainerState,
    FunctionSpec,
    InputRef,
    OpenInput,
    Retries,
    RunnerSpec,
    Scaling,
    Status,
)
from ionian.runner import frames
from ionian.state import calls
from ionian.state.calls import NewCall, NewInput
from ionian.state.database import Row, SqliteDatabase, Tx
from tests.unit.calls_world import Box, World
from tests.unit.state_tables import new_app, open_tables

RETRIED = (Status.FAILURE, Status.TIMEOUT, Status.OUT_OF_MEMORY)


def _spec(number: int, app_id: str, **fields: Any) -> FunctionSpec:
    name = f"fu-{number}"
    runner = RunnerSpec(name, app_id, "app", "f", "module", "1.6.4")
    return FunctionSpec(name, app_id, "app", "main", "f", 1, "im-1", (), (), (), runner, **fields)


def _specs(app_ids: list[str]) -> list[FunctionSpec]:
    two = Scaling(max_containers=2, scaledown_window_s=5)
    wide = Scaling(max_concurrent_inputs=3, max_containers=2, scaledown_window_s=5)
    fields: list[dict[str, Any]] = [
        {"scaling": two},
        {"scaling": two, "retries": Retries(2, 2.0, 0.0), "timeout_s": 20},
        {"scaling": two, "retries": Retries(1), "batching": Batching(3, 1.0)},
        {"scaling": two, "max_inputs": 1, "retries": Retries(1, initial_delay_s=0.0)},
        {"scaling": wide, "retries": Retries(1, initial_delay_s=0.0), "timeout_s": 20},
    ]
    return [_spec(n, app_id, **given) for n, (app_id, given) in enumerate(zip(app_ids, fields, strict=True))]


def _template(folder: Path) -> list[FunctionSpec]:
    """A database with five functions, each in an app of its own."""
    database = open_tables(folder)

    def make(tx: Tx) -> list[str]:
        app_ids = [new_app(tx, f"app{n}") for n in range(5)]
        for n, app_id in enumerate(app_ids):
            sql = "INSERT INTO functions (function_id, app_id, name, created_at) VALUES (?, ?, 'f', 1)"
            tx.execute(sql, f"fu-{n}", app_id)
        return app_ids

    app_ids = asyncio.run(_write(database, make))
    database.close()
    return _specs(app_ids)


async def _write(database: SqliteDatabase, function: Callable[[Tx], list[str]]) -> list[str]:
    return await database.write(function)


def _up(machine: CallsMachine) -> bool:
    return machine.world.server is not None


def _alive(machine: CallsMachine) -> bool:
    return any(box.alive for box in machine.world.boxes.values())


def _works(machine: CallsMachine) -> bool:
    return any(box.alive and box.working for box in machine.world.boxes.values())


def _wanted(machine: CallsMachine) -> bool:
    server = machine.world.server
    return server is not None and (_alive(machine) or any(pool.waiting for pool in server.pools.values()))


def _undecided(machine: CallsMachine) -> bool:
    server = machine.world.server
    return server is not None and machine.flushing is None and server.calls.ledger.waits


def _starts(machine: CallsMachine) -> bool:
    return any(box.alive and not box.loaded for box in machine.world.boxes.values())


FOLDER = tempfile.TemporaryDirectory(prefix="ionian-calls-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
MADE: list[FunctionSpec] = []
index = st.integers(0, 1000)


class CallsMachine(RuleBasedStateMachine):
    """One world. Rules that find nothing to do, do nothing."""

    def __init__(self) -> None:
        super().__init__()
        if not MADE:
            MADE.extend(_template(Path(FOLDER.name)))
        self.specs = MADE
        path = Path(FOLDER.name) / "one.db"
        for old in path.parent.glob("one.db*"):
            old.unlink()
        shutil.copy(path.parent / "state.db", path)
        self.loop = asyncio.new_event_loop()
        self.ids = pytest.MonkeyPatch()  # the same steps shall have the same ids
        self.ids.setattr("ionian.model.secrets", SimpleNamespace(token_bytes=random.Random(0).randbytes))
        self.database = SqliteDatabase(path)
        self.calls: list[tuple[str, FunctionSpec]] = []
        self.seen: dict[str, Row] = {}
        self.flushing: asyncio.Task[None] | None = None
        self.pace = 0  # ordinary moves after each rule
        self.world: World

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    @initialize(crash_requeue=st.booleans(), seed=index, pace=st.integers(0, 6))
    def begin(self, crash_requeue: bool, seed: int, pace: int) -> None:
        self.pace = pace
        self.world = World(self.loop, self.database, crash_requeue, seed)
        self.world.live = {spec.function_id: spec for spec in self.specs}
        self.run(self.world.boot())
        for spec in self.specs:
            self.run(self._submit(spec, 2, False, False))

    # -- clients

    @precondition(_up)
    @rule(function=st.integers(0, 4), count=st.integers(1, 5), die=st.booleans(), blob=st.booleans())
    def submit(self, function: int, count: int, die: bool, blob: bool) -> None:
        self.run(self._submit(self.specs[function], count, die and count == 1, blob))

    async def _submit(self, spec: FunctionSpec, count: int, die: bool, blob: bool) -> None:
        world = self.world
        if world.server is None:
            return
        new = NewInput(0, 1, args_blob="0" * 64) if blob else NewInput(0, 1, args=b"args")
        news = [replace(new, position=n) for n in range(count)]
        slot = world.server.reserve(spec.function_id) if count == 1 else None

        def accept(tx: Tx) -> tuple[str, list[OpenInput]]:
            new = NewCall(spec.function_id, 1, 1)
            call_id, (_, fresh) = calls.create(tx, new, world.now, news, slot.container_id if slot else "")
            return call_id, fresh

        call_id, fresh = await self.database.write(accept)
        self.calls.append((call_id, spec))
        if die:  # accepted, and killed before the answer
            await self._kill()
        elif slot is not None:
            ref = InputRef(fresh[0].input_id, call_id, "", 1, new.args, new.args_blob)
            world.server.start(slot, fresh[0], ref)
        else:
            world.server.submit(fresh)
        await world.settle()

    @precondition(lambda machine: _up(machine) and bool(machine.calls))
    @rule(which=index, terminate=st.booleans(), die=st.booleans(), together=st.sampled_from(["", "before", "after"]))
    def cancel(self, which: int, terminate: bool, die: bool, together: str) -> None:
        if self.calls and self.world.server is not None:
            self.run(
                self._cancel(
                    self.calls[-1 - which % min(len(self.calls), 8)][0], terminate, die and which % 4 == 0, together
                )
            )

    async def _cancel(self, call_id: str, terminate: bool, die: bool, together: str) -> None:
        """``together``: a flush shares its transaction, before it or after it."""
        world = self.world

        async def cancel() -> None:
            if not await self.database.write(calls.cancel, call_id, "cancelled", world.now):
                return
            if world.server is not None and not die:
                world.server.calls.cancel(call_id, terminate)
                world.over |= {row["input_id"] for row in await self._rows(call_id) if not self._on_its_way(row)}

        order = {"": [cancel], "before": [self._flush_once, cancel], "after": [cancel, self._flush_once]}[together]
        await asyncio.gather(*(work() for work in order))
        if die:
            await self._kill()
        await world.settle()

    async def _rows(self, call_id: str) -> list[Row]:
        return await self.database.read(lambda tx: tx.all("SELECT * FROM inputs WHERE call_id = ?", call_id))

    def _on_its_way(self, row: Row) -> bool:
        """It lies in a socket, or the reading of its arguments was under way: the container may begin it."""
        calls_of = self.world.server.calls if self.world.server else None
        running = calls_of.running.get(row["input_id"]) if calls_of else None
        return (running is not None and running.link is not None) or any(
            row["input_id"].encode() in chunk for wire in self.world.wires for chunk in wire.server.out
        )

    # -- journal

    async def _flush_once(self) -> None:
        if self.flushing is None:
            await self.world.flush()

    @precondition(_undecided)
    @rule()
    def flush(self) -> None:
        self.run(self._flush_once())

    @precondition(_undecided)
    @rule()
    def flush_and_deliver(self) -> None:
        self.run(self._flush_once())
        self.run(self._deliver_all())

    @precondition(_undecided)
    @rule()
    def flush_slowly(self) -> None:
        """Committed, and the server has not heard of it yet."""
        if self.flushing is None and self.world.server is not None:
            self.run(self._begin_flush())

    async def _begin_flush(self) -> None:
        self.world.gate = asyncio.Event()
        self.flushing = asyncio.ensure_future(self.world.flush())
        await self.world.settle()

    @precondition(lambda machine: machine.flushing is not None)
    @rule()
    def flushed(self) -> None:
        self.run(self._end_flush())

    async def _end_flush(self) -> None:
        if self.world.gate is not None:
            self.world.gate.set()
            self.world.gate = None
        if self.flushing is not None:
            await asyncio.gather(self.flushing, return_exceptions=False)
            self.flushing = None

    @precondition(_up)
    @rule()
    def disk_full(self) -> None:
        if self.flushing is None:
            self.world.full = True
            self.run(self.world.flush())
            self.world.full = False

    # -- containers

    def _box(self, which: int, loaded: bool | None = None) -> Box | None:
        boxes = [b for b in self.world.boxes.values() if b.alive and (loaded is None or b.loaded is loaded)]
        return boxes[which % len(boxes)] if boxes else None

    @precondition(_wanted)
    @rule()
    def look(self) -> None:
        self.run(self.world.step())

    @precondition(_wanted)
    @rule(loaded=st.booleans())
    def grow(self, loaded: bool) -> None:
        """Containers for what waits."""
        self.run(self._grow(loaded))

    async def _grow(self, loaded: bool) -> None:
        await self.world.step()
        for box in [b for b in self.world.boxes.values() if b.alive and not b.loaded and loaded]:
            self.world.load(box)
        await self._deliver_all()

    @precondition(_starts)
    @rule(which=index)
    def load(self, which: int) -> None:
        self.run(self._load(which))

    async def _load(self, which: int) -> None:
        if box := self._box(which, loaded=False):
            self.world.load(box)
            await self._deliver(which, 1, to_server=True)

    @precondition(_starts)
    @rule(which=index)
    def load_fails(self, which: int) -> None:
        self.run(self._load_fails(which))

    async def _load_fails(self, which: int) -> None:
        if which % 4 == 0 and (box := self._box(which, loaded=False)):
            box.control.greeting = lambda working: frames.control(
                frames.FAILED, {"exception": "no", "traceback": "", "parts": [0, 0, 0]}
            )
            self.world.load(box)
            box.exit(1)

    @precondition(_works)
    @rule(which=index, ok=st.integers(0, 3))
    def finish(self, which: int, ok: int) -> None:
        self.run(self._finish(which, ok))

    async def _finish(self, which: int, ok: int) -> None:
        if (box := self._box(which, loaded=True)) and box.working:
            input_id = list(box.working)[which % len(box.working)]
            if input_id in box.cancelled:
                box.finish(input_id, Status.TERMINATED)
            else:
                box.finish(input_id, Status.SUCCESS if ok else Status.FAILURE)
            await self._deliver(which, ok, to_server=True)

    @precondition(lambda machine: bool(machine.world.wires))
    @rule(which=index, count=st.integers(1, 4), to_server=st.booleans())
    def deliver(self, which: int, count: int, to_server: bool) -> None:
        self.run(self._deliver(which, count, to_server))

    async def _deliver(self, which: int, count: int, to_server: bool) -> None:
        wires = [w for w in self.world.wires if (w.container.out or not w.box.alive if to_server else w.server.out)]
        if wires:
            wire = wires[which % len(wires)]
            for _ in range(count):
                if self.world.server is not None:
                    (wire.to_server if to_server else wire.to_container)()
        await self.world.settle()

    @precondition(lambda machine: bool(machine.world.wires))
    @rule()
    def deliver_all(self) -> None:
        self.run(self._deliver_all())

    async def _deliver_all(self) -> bool:
        moved = False
        for wire in list(self.world.wires):
            while wire.to_container():
                moved = True
            while self.world.server is not None and wire.to_server():
                moved = True
        await self.world.settle()
        return moved

    @precondition(_alive)
    @rule(which=index)
    def exit(self, which: int) -> None:
        if box := self._box(which):
            box.exit(9)

    @precondition(lambda machine: _up(machine) and _alive(machine))
    @rule(which=index)
    def vanish(self, which: int) -> None:
        """A container ends, and the server hears all of it."""
        self.run(self._vanish(which))

    async def _vanish(self, which: int) -> None:
        if box := self._box(which):
            box.exit(9)
            for wire in [wire for wire in self.world.wires if wire.box is box]:
                while wire.to_server():
                    pass
            while await self.world.event():
                pass

    @precondition(lambda machine: _up(machine) and bool(machine.world.events))
    @rule()
    def exit_told(self) -> None:
        self.run(self.world.event())

    @precondition(lambda machine: _up(machine) and _works(machine))
    @rule(which=index)
    def take_back(self, which: int) -> None:
        """``container stop``: what it works on begins anew elsewhere."""
        self.run(self._take_back(which))

    async def _take_back(self, which: int) -> None:
        world, box = self.world, self._box(which)
        if box is None or world.server is None or world.server.container(box.container_id) is None:
            return
        rows = await self.database.read(
            lambda tx: tx.all("SELECT * FROM inputs WHERE finished = 0 AND container_id = ?", box.container_id)
        )
        world.taken_back.update(row["input_id"] for row in rows)
        if not world.server.drain(box.container_id):
            world.server.reassign(box.container_id)
        await world.settle()
        if which % 2:
            await world.stop(box.container_id, 0.0)

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 3.0, 25.0]))
    def advance(self, seconds: float) -> None:
        self.run(self.world.advance(seconds))

    @precondition(lambda machine: _up(machine) and machine.world.blobs.gate.is_set())
    @rule()
    def blobs_are_slow(self) -> None:
        self.world.blobs.gate.clear()

    @precondition(lambda machine: not machine.world.blobs.gate.is_set())
    @rule()
    def blobs_come(self) -> None:
        self.run(self._blobs_come())

    async def _blobs_come(self) -> None:
        self.world.blobs.gate.set()
        await self.world.settle()

    # -- deploys

    @precondition(_up)
    @rule(function=st.integers(0, 4), changed=st.booleans(), linger=st.sampled_from([0.2, 1.0]))
    def deploy(self, function: int, changed: bool, linger: float) -> None:
        spec = self.world.live.get(f"fu-{function}", self.specs[function])
        if changed:
            spec = replace(spec, definition=spec.definition + b"x")
        if spec.batching is not None:
            spec = replace(spec, batching=replace(spec.batching, linger_s=linger))
        self.world.live[spec.function_id] = spec
        self._apply()

    def _apply(self) -> None:
        async def apply() -> None:
            if self.world.server is not None:
                self.world.server.apply(list(self.world.live.values()))
                await self.world.settle()

        self.run(apply())

    @precondition(_up)
    @rule(function=st.integers(0, 19))
    def stop_app(self, function: int) -> None:
        if function < 5:
            self.run(self._stop_app(self.specs[function]))

    async def _stop_app(self, spec: FunctionSpec) -> None:
        world = self.world
        if world.server is None:
            return
        for call_id in await self.database.write(calls.cancel_app, spec.app_id, "the app was stopped", world.now):
            world.server.calls.cancel(call_id, True)
        world.live.pop(spec.function_id, None)
        world.server.apply(list(world.live.values()))
        await world.settle()

    # -- servers

    @precondition(_up)
    @rule(back=st.integers(0, 3))
    def kill_server(self, back: int) -> None:
        self.run(self._kill())
        if back:
            self.run(self.world.boot())

    async def _kill(self) -> None:
        await self.world.kill_server()
        if self.flushing is not None:
            await asyncio.gather(self.flushing, return_exceptions=True)
            self.flushing = None

    @precondition(lambda machine: not _up(machine))
    @rule()
    def start_server(self) -> None:
        if self.world.server is None:
            self.run(self.world.boot())

    # -- what goes on by itself

    @rule(pace=st.integers(0, 6))
    def change_pace(self, pace: int) -> None:
        self.pace = pace

    @invariant()
    def life_goes_on_and_all_is_well(self) -> None:
        self.check()
        for _ in range(self.pace):
            self.run(self._move())
            self.check()

    def check(self) -> None:
        self.ended_once_and_for_all()
        self.begun_as_often_as_allowed()
        self.slots_are_conserved()
        self.nobody_waits_without_need()

    async def _move(self) -> None:
        """Something ordinary."""
        chance = self.world.random
        which, up = chance.randrange(1000), self.world.server is not None
        moves: list[Coroutine[Any, Any, Any]] = [
            self._deliver(which, 1, True),
            self._deliver(which, 1, False),
            self._finish(which, which % 4),
        ]
        if up:
            moves += [self._flush_once(), self._flush_once(), self._grow(which % 2 == 0), self.world.event()]
            moves += [
                self._submit(self.specs[which % 5], 1 + which % 4, False, which % 7 == 0),
                self.world.advance(0.5),
            ]
        chosen = chance.choice(moves)
        for move in moves:
            if move is not chosen:
                move.close()
        await chosen

    # -- what must hold

    def ended_once_and_for_all(self) -> None:
        rows = self.run(self.database.read(lambda tx: tx.all("SELECT * FROM outputs")))
        now = {row["input_id"]: row for row in rows}
        assert len(now) == len(rows), "two outputs of one input"
        for input_id, row in self.seen.items():
            assert now.get(input_id) == row, "an output that was visible has changed"
        self.seen = now

    def begun_as_often_as_allowed(self) -> None:
        for row in self.run(self.database.read(lambda tx: tx.all("SELECT * FROM inputs"))):
            input_id, spec = row["input_id"], self.specs[int(row["function_id"][3:])]
            assert row["attempt"] <= spec.retries.max_retries
            assert row["crashes"] <= (8 if self.world.crash_requeue else 0)
            allowed = 1 + row["attempt"] + row["crashes"] + self.world.taken_back[input_id]
            assert self.world.starts[input_id] <= allowed, "it began too often"

    def slots_are_conserved(self) -> None:
        server = self.world.server
        if server is None:
            return
        held: Counter[str] = Counter()
        for slot in {id(r.slot): r.slot for r in server.calls.working()}.values():
            held[slot.container_id] += 1
        for container in self._containers():
            assert container.in_flight == held[container.container_id], "a slot was lost or doubled"

    def nobody_waits_without_need(self) -> None:
        server = self.world.server
        for pool in server.pools.values() if server else []:
            first = pool.waiting.first()
            if first is None:
                continue
            batching = pool.spec.batching
            filling = batching and len(pool.waiting) < batching.max_size
            if filling and batching and self.world.now < first.since + batching.linger_s:
                continue
            for c in pool.containers.values():
                spent = pool.spec.max_inputs and c.taken >= pool.spec.max_inputs
                usable = c.state is ContainerState.READY and c.key == pool.key and not spent
                assert not usable or c.in_flight >= c.capacity, "it waits while there is room"

    def _containers(self) -> list[Container]:
        server = self.world.server
        return [c for pool in server.pools.values() for c in pool.containers.values()] if server else []

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                self.run(self._drain())
                self._check_end()
        finally:
            self.run(self._end())
            self.ids.undo()
            self.database.close()
            self.loop.close()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _drain(self) -> None:
        """Everything goes on from here, and goes well."""
        world = self.world
        await self._end_flush()
        await self._blobs_come()
        if world.server is None:
            await world.boot()
        for turn in range(300):
            for box in [b for b in world.boxes.values() if b.alive and not b.loaded]:
                world.load(box)
            for box in [b for b in world.boxes.values() if b.alive]:
                for input_id in list(box.working):
                    box.finish(input_id, Status.SUCCESS)
            while await self._deliver_all() or await world.event():
                pass
            await world.flush()
            await world.step()
            await world.advance(0.2 if turn < 20 else 2.0)
            busy = any(c.in_flight or c.state is ContainerState.STARTING for c in self._containers())
            if not busy and not await self._open():
                break

    async def _open(self) -> list[Row]:
        return await self.database.read(lambda tx: tx.all("SELECT * FROM inputs WHERE finished = 0"))

    def _check_end(self) -> None:
        open_rows = self.run(self._open())
        assert not open_rows, f"accepted inputs were lost: {open_rows}"
        self.check()
        assert not any(c.in_flight for c in self._containers()), "a slot was never given back"
        server = self.world.server
        assert server is not None
        assert not list(server.calls.working())
        for row in self.run(self.database.read(lambda tx: tx.all("SELECT * FROM inputs"))):
            output, spec = self.seen[row["input_id"]], self.specs[int(row["function_id"][3:])]
            if output["status"] in RETRIED and not output["exception"].startswith("f could not start"):
                assert row["attempt"] == spec.retries.max_retries, "it was not tried as often as it may be"
            if output["status"] == Status.SUCCESS:
                assert output["data"].decode().split()[1] == str(row["attempt"]), "the result of another attempt"


CallsMachine.TestCase.settings = settings(
    max_examples=120, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
TestCallsMachine = CallsMachine.TestCase
