"""Clocks that are set by hours while the server runs: what measures durations does not notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ionian.api import apps as apps_api
from ionian.api.context import Context
from ionian.blobs.files import FileBlobStore
from ionian.clock import Jumps, steady
from ionian.config import Config
from ionian.dispatch.dispatch import Dispatch
from ionian.dispatch.slot import Container
from ionian.logs import STDOUT, Record, Writer, read, since
from ionian.model import ContainerState, FunctionSpec, RunnerSpec, StartContainer, StopContainer, spec_key
from ionian.scheduler.plan import plan
from ionian.state import apps, blobs, tokens
from ionian.state.database import SqliteDatabase
from ionian.state.migrate import migrate
from ionian.state.watch import Watch

HOUR = 3600.0
hours = st.floats(-1000, 1000).map(lambda number: number * HOUR)
steps = st.lists(st.tuples(st.floats(0, 100), hours), max_size=20)


class Machine:
    """A machine whose clock somebody sets."""

    def __init__(self) -> None:
        self.passed = 50.0
        self.ahead = 1_700_000_000.0

    def wall(self) -> float:
        return self.passed + self.ahead

    def elapsed(self) -> float:
        return self.passed


@given(steps)
def test_the_steady_clock_counts_what_passes(steps: list[tuple[float, float]]) -> None:
    machine = Machine()
    clock = steady(machine.wall, machine.elapsed)
    begun = clock()
    assert begun == machine.wall()
    for seconds, jump in steps:
        before = clock()
        machine.passed += seconds
        machine.ahead += jump
        assert clock() - before == pytest.approx(seconds, abs=1e-5)
    assert clock() - begun == pytest.approx(sum(seconds for seconds, _ in steps), abs=1e-4)


@given(steps)
def test_a_jump_is_seen_once(steps: list[tuple[float, float]]) -> None:
    machine = Machine()
    jumps, seen = Jumps(machine.wall, machine.elapsed), 0.0
    for seconds, jump in steps:
        machine.passed += seconds
        machine.ahead += jump
        seen += jumps.look()
        assert jumps.look() == 0.0
    assert seen == pytest.approx(sum(jump for _, jump in steps), abs=1.01)


RUNNER = RunnerSpec("fu-1", "ap-1", "app", "f", "module", "1.6.4")
SPEC = FunctionSpec("fu-1", "ap-1", "app", "main", "f", 1, "im-1", (), (), (), RUNNER)


async def _nothing(*_: object) -> bytes:
    return b""


@pytest.mark.parametrize("jump", [-5 * HOUR, 5 * HOUR])
@pytest.mark.parametrize("ready", [False, True])
async def test_a_jump_neither_ends_a_container_nor_keeps_one(jump: float, ready: bool) -> None:
    machine = Machine()
    clock = steady(machine.wall, machine.elapsed)
    dispatch = Dispatch(clock, _nothing, _nothing, lambda *_: None, lambda *_: None, 10)  # type: ignore[arg-type]
    dispatch.apply([SPEC])
    container = Container("ta-1", "fu-1", spec_key(SPEC), "", 1, clock())
    dispatch.started(container)
    if ready:
        dispatch.pools["fu-1"].ready(container, 0)
    assert container.state is (ContainerState.READY if ready else ContainerState.STARTING)
    machine.ahead += jump
    machine.passed += 59
    assert plan(dispatch.snapshot(), clock(), 10) == []
    machine.passed += 300
    (stop,) = plan(dispatch.snapshot(), clock(), 10)
    assert isinstance(stop, StopContainer)
    assert "startup_timeout" in stop.reason or ready


@pytest.mark.parametrize("jump", [-5 * HOUR, 5 * HOUR])
async def test_a_jump_neither_ends_nor_prolongs_the_pause_after_a_failed_start(jump: float) -> None:
    machine = Machine()
    clock = steady(machine.wall, machine.elapsed)
    dispatch = Dispatch(clock, _nothing, _nothing, lambda *_: None, lambda *_: None, 10)  # type: ignore[arg-type]
    dispatch.apply([SPEC])
    pool = dispatch.pools["fu-1"]
    for _ in range(5):
        pool.start_failed(clock())
    waiting: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    class Waiter:
        since = clock()
        waiting = False

        def give(self, slot: object) -> bool:
            waiting.set_result(slot)
            return True

        def fail(self, error: Exception) -> None:
            waiting.set_exception(error)

    pool.enqueue(Waiter())
    machine.ahead += jump
    machine.passed += 1
    assert plan(dispatch.snapshot(), clock(), 10) == []
    machine.passed += 30
    (start,) = plan(dispatch.snapshot(), clock(), 10)
    assert isinstance(start, StartContainer)
    waiting.cancel()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    made = SqliteDatabase(tmp_path / "rows.db")
    await migrate(made)
    yield made
    made.close()


class _Services:
    async def reload(self) -> None: ...

    async def release(self, app_id: str) -> None: ...


@pytest.mark.parametrize("jump", [-5 * HOUR, 5 * HOUR])
async def test_a_jump_ends_no_app_whose_client_is_alive(database: SqliteDatabase, tmp_path: Path, jump: float) -> None:
    machine = Machine()
    jumps = Jumps(machine.wall, machine.elapsed)
    services = _Services()
    context = Context(Config(tmp_path), database, Watch(), FileBlobStore(tmp_path), services, clock=machine.wall)  # type: ignore[arg-type]
    row = await database.write(apps.create, "main", "lives", apps.EPHEMERAL, "1.6.4", {}, machine.wall())
    machine.ahead += jump
    machine.passed += 20
    await database.write(apps.move_heartbeats, jumps.look())
    assert await apps_api.end_lost_apps(context) == []
    machine.passed += 301
    await database.write(apps.move_heartbeats, jumps.look())
    assert await apps_api.end_lost_apps(context) == [row["app_id"]]


async def test_tokens_do_not_know_the_time(database: SqliteDatabase) -> None:
    token_id, secret = tokens.mint()
    await database.write(tokens.replace_first, token_id, secret, 5 * HOUR)
    for _ in range(2):
        assert await database.read(tokens.check, token_id, secret)
        await database.write(tokens.replace_first, token_id, secret, 0.0)


async def test_a_blob_address_outlives_a_clock_that_is_set_back(database: SqliteDatabase) -> None:
    blob_id = await database.write(blobs.create, 1, "", "", 100 * HOUR)
    ticket = await database.write(blobs.ticket, blob_id, blobs.PUT, 101 * HOUR)
    assert (await database.read(blobs.admit, ticket, blobs.PUT, 95 * HOUR))["blob_id"] == blob_id


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(-5, 5)), min_size=1, max_size=15))
def test_logs_keep_their_order_when_the_clock_is_set(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]]
) -> None:
    directory = tmp_path_factory.mktemp("logs")
    writer, now = Writer(directory, segment_bytes=100), 10**15
    written = []
    for number, (passed, jump) in enumerate(steps):
        now = max(1, now + passed + jump * 3600 * 10**9)
        written.append(Record(now, "ta-1", "fu-1", STDOUT, f"{number}\n"))
        writer.append(written[-1:])
    writer.close()
    assert read(directory, since(directory, 0))[0] == written
    for record in written:  # a question by time may find more than asked for, never less
        assert record in read(directory, since(directory, record.time_ns))[0]
