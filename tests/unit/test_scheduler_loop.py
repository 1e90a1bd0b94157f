"""Dispatch and scheduler over the fake engine: containers for demand, and every way a container can let down."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from ionian.blobs.files import FileBlobStore
from ionian.dispatch.dispatch import START_TRIES, Dispatch
from ionian.engines.engine import ContainerExited, Engine
from ionian.engines.fake import FakeEngine
from ionian.errors import ContainerFailed, DeadlineExceeded, NotFound, ResourceExhausted, Unavailable
from ionian.model import (
    ContainerKind,
    ContainerSpec,
    FunctionSpec,
    JournalEntries,
    Journalled,
    OpenInput,
    RunnerSpec,
    Scaling,
    Status,
)
from ionian.scheduler.loop import Scheduler
from ionian.state import calls
from ionian.state.calls import NewCall, NewInput
from ionian.state.database import Row, Tx
from tests.unit.state_tables import new_app, open_tables

RUNNER = RunnerSpec("fu-1", "ap-1", "app", "f", "module", "1.6.4")
SPEC = FunctionSpec("fu-1", "ap-1", "app", "main", "f", 1, "im-1", (), (), (), RUNNER)


class House:
    """A server without API, gateway and worker."""

    def __init__(self, directory: Path) -> None:
        self.engine = FakeEngine(directory)
        self.database = open_tables(directory)
        self.journal_failures: list[Exception] = []
        self.dispatch = Dispatch(
            time.time, FileBlobStore(directory / "blobs"), self._journal, lambda *_: None, self._kill, max_queued=3
        )
        engine: Engine = self.engine
        self.scheduler = Scheduler(self.dispatch, engine, self._prepare, self._describe, 4, cores=2)

    async def _journal(self, entries: JournalEntries) -> Journalled:
        if self.journal_failures:
            raise self.journal_failures.pop()
        return await self.database.write(calls.commit, entries)

    def _kill(self, container_id: str, reason: str) -> None:
        self.scheduler.kill(container_id, reason)

    async def _prepare(self, spec: FunctionSpec) -> None:
        pass

    async def _describe(self, container_id: str, spec: FunctionSpec) -> ContainerSpec:
        return ContainerSpec(container_id, ContainerKind.FUNCTION, spec.app_id, spec)

    async def events(self) -> None:
        async for event in self.engine.events():
            assert isinstance(event, ContainerExited)
            self.scheduler.exited(event)

    async def submit(self, *ids: str) -> None:
        """Accept inputs of one call; their ids are their arguments."""
        self.dispatch.submit(await self.database.write(_accept, ids))

    async def cancel(self, terminate: bool) -> None:
        await self.database.write(calls.cancel, "fc-1", "cancelled", 1.0)
        self.dispatch.calls.cancel("fc-1", terminate)

    async def output(self, input_id: str) -> Row:
        async with asyncio.timeout(20):
            while True:
                row = await self.database.read(lambda tx: tx.one("SELECT * FROM outputs WHERE input_id = ?", input_id))
                if row is not None:
                    return row
                await asyncio.sleep(0.01)


def _accept(tx: Tx, ids: tuple[str, ...]) -> list[OpenInput]:
    if tx.one("SELECT * FROM calls") is None:
        app_id = new_app(tx, "app")
        tx.execute("INSERT INTO functions (function_id, app_id, name, created_at) VALUES ('fu-1', ?, 'f', 1)", app_id)
        calls.create(tx, NewCall("fu-1", 1, 1), 1.0)
        tx.execute("UPDATE calls SET call_id = 'fc-1'")
    known = tx.one("SELECT COUNT(*) AS n FROM inputs")
    assert known is not None
    first = int(known["n"])
    made, _ = calls.accept(tx, "fc-1", [NewInput(first + n, 1, args=i.encode()) for n, i in enumerate(ids)], 1.0)
    for (_, input_id), name in zip(made, ids, strict=True):
        tx.execute("UPDATE inputs SET input_id = ? WHERE input_id = ?", name, input_id)
    return [OpenInput(name, "fc-1", "fu-1") for name in ids]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    made.dispatch.apply([SPEC])
    tasks = [
        asyncio.create_task(loop) for loop in (made.scheduler.run(), made.events(), made.dispatch.calls.ledger.loop())
    ]
    yield made
    for container in list(made.engine.live.values()):
        await container.exit(0)
    await until(lambda: not made.engine.open_links and not made.dispatch.snapshot().containers)
    for task in tasks:
        task.cancel()
    made.database.close()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks)


async def test_from_zero_and_warm_again(house: House) -> None:
    slot = await house.dispatch.acquire("fu-1", 20)
    slot.release()
    again = house.dispatch.try_acquire("fu-1")
    assert again is not None
    assert again.container_id == slot.container_id
    again.release()
    assert house.engine.started == 1


async def test_second_container_when_the_first_is_full(house: House) -> None:
    first = await house.dispatch.acquire("fu-1", 20)
    second = await house.dispatch.acquire("fu-1", 20)
    assert first.container_id != second.container_id
    first.release()
    second.release()


async def test_outputs_outlast_a_full_disk(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ionian.dispatch.ledger.AGAIN_S", 0.01)
    house.journal_failures = [ResourceExhausted("the disk is full"), Unavailable("it is locked")]
    await house.submit("in-1", "in-2")
    for name in ("in-1", "in-2"):
        assert (await house.output(name))["status"] == Status.SUCCESS
    assert house.journal_failures == []


async def test_max_containers_makes_the_second_wait(house: House) -> None:
    house.dispatch.apply([replace(SPEC, scaling=Scaling(max_containers=1))])
    first = await house.dispatch.acquire("fu-1", 20)
    waiting = asyncio.create_task(house.dispatch.acquire("fu-1", 20))
    with pytest.raises(DeadlineExceeded):
        await house.dispatch.acquire("fu-1", 0.5)
    assert not waiting.done()
    first.release()
    second = await waiting
    second.release()
    assert house.engine.started == 1


async def test_queue_is_bounded(house: House) -> None:
    house.engine.knobs.never_ready = True
    waiting = [asyncio.create_task(house.dispatch.acquire("fu-1", 20)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted):
        await house.dispatch.acquire("fu-1", 20)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert not house.dispatch.pools["fu-1"].waiting  # whoever is cancelled leaves the queue


async def test_inputs_run_and_are_recorded(house: House) -> None:
    await house.submit("in-1", "in-2", "in-3")
    for name in ("in-1", "in-2", "in-3"):
        record = await house.output(name)
        assert (record["status"], record["data"]) == (Status.SUCCESS, name.encode())
    assert not house.dispatch.calls.running


async def test_start_refused_by_the_machine(house: House) -> None:
    house.engine.knobs.refuse_start = "no room on the disk"
    with pytest.raises(ContainerFailed, match="no room on the disk"):
        await house.dispatch.acquire("fu-1", 20)
    house.engine.knobs.refuse_start = ""
    (await house.dispatch.acquire("fu-1", 20)).release()  # the next one gets its own try, after the back-off


async def test_who_waits_goes_on_waiting_while_the_worker_is_away(house: House) -> None:
    house.engine.knobs.away = 2
    await house.submit("in-1")
    assert (await house.output("in-1"))["status"] == Status.SUCCESS
    assert not house.engine.knobs.away


async def test_a_container_killed_while_it_starts_is_started_again(house: House) -> None:
    house.engine.knobs.killed = START_TRIES - 1
    await house.submit("in-1")
    assert (await house.output("in-1"))["status"] == Status.SUCCESS
    assert house.engine.started == START_TRIES


async def test_containers_that_are_always_killed_while_they_start_are_told_of(house: House) -> None:
    house.engine.knobs.killed = START_TRIES
    await house.submit("in-1")
    record = await house.output("in-1")
    assert record["status"] == Status.INIT_FAILURE
    assert "could not start" in record["exception"]


async def test_another_worker(house: House) -> None:
    (await house.dispatch.acquire("fu-1", 20)).release()
    known = next(iter(house.engine.live))
    await house.engine.start(await house._describe("ta-stray", SPEC))
    await house.engine.start(await house._describe("ta-sandbox", SPEC))
    alive = {known, "ta-stray", "ta-sandbox"}
    await house.scheduler.worker_replaced(alive, {"ta-sandbox"})
    await until(lambda: house.engine.live.keys() == {known, "ta-sandbox"})
    await house.scheduler.worker_replaced({"ta-sandbox"}, {"ta-sandbox"})
    await until(lambda: house.dispatch.container(known) is None)


async def test_failed_load_reaches_requests_and_inputs(house: House) -> None:
    house.engine.knobs.fail_load = "ImportError('nope')"
    with pytest.raises(ContainerFailed, match="nope"):
        await house.dispatch.acquire("fu-1", 20)
    await house.submit("in-1")
    record = await house.output("in-1")
    assert record["status"] == Status.INIT_FAILURE
    assert "nope" in record["exception"]


async def test_overdue_start_is_ended_and_named(house: House) -> None:
    house.engine.knobs.never_ready = True
    house.dispatch.apply([replace(SPEC, startup_timeout_s=1)])
    with pytest.raises(ContainerFailed, match="startup_timeout=1"):
        await house.dispatch.acquire("fu-1", 20)


async def test_container_lost_with_an_input(house: House) -> None:
    house.engine.knobs.die_on_input = True
    await house.submit("in-1")
    record = await house.output("in-1")
    assert record["status"] == Status.FAILURE
    assert "exited with code 9" in record["exception"]
    assert not house.dispatch.calls.running


async def test_input_past_its_timeout_ends_with_its_container(house: House) -> None:
    house.engine.knobs.hold_inputs = True
    house.dispatch.apply([replace(SPEC, timeout_s=1)])
    await house.submit("in-1")
    record = await house.output("in-1")
    assert record["status"] == Status.TIMEOUT
    assert "timeout of 1 s" in record["exception"]
    await until(lambda: not house.engine.live)


async def test_cancel_queued_and_running(house: House) -> None:
    house.engine.knobs.hold_inputs = True
    house.dispatch.apply([replace(SPEC, scaling=Scaling(max_containers=1))])
    await house.submit("in-1", "in-2")
    await until(lambda: any(container.inputs for container in house.engine.live.values()))
    await house.cancel(terminate=False)
    assert (await house.output("in-2"))["status"] == Status.TERMINATED
    (container,) = house.engine.live.values()
    await until(lambda: container.cancelled == ["in-1"])
    house.engine.knobs.release.set()


async def test_a_new_version_drains_the_old(house: House) -> None:
    old = await house.dispatch.acquire("fu-1", 20)
    house.dispatch.apply([replace(SPEC, definition=b"new")])
    new = await house.dispatch.acquire("fu-1", 20)
    assert new.container_id != old.container_id
    assert old.container_id in house.engine.live  # it still works
    old.release()
    await until(lambda: old.container_id not in house.engine.live)
    new.release()


async def test_a_stopped_app_ends_its_queue_and_containers(house: House) -> None:
    slot = await house.dispatch.acquire("fu-1", 20)
    slot.release()
    house.dispatch.apply([])
    with pytest.raises(NotFound):
        house.dispatch.try_acquire("fu-1")
    await until(lambda: not house.engine.live)
    assert "fu-1" not in house.dispatch.pools
    await house.submit("in-9")
    assert (await house.output("in-9"))["status"] == Status.INTERNAL_FAILURE


async def test_idle_to_zero(house: House) -> None:
    house.dispatch.apply([replace(SPEC, scaling=Scaling(scaledown_window_s=1))])
    (await house.dispatch.acquire("fu-1", 20)).release()
    await until(lambda: not house.engine.live)


async def test_every_decision_has_its_reason(house: House) -> None:
    (await house.dispatch.acquire("fu-1", 20)).release()
    assert house.scheduler.decisions
    assert all(decision.action.reason for decision in house.scheduler.decisions)
