"""Rows of schedules: due times are claimed with the calls that run them, each once, whatever happens in between."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ionian.errors import NotFound
from ionian.model import OpenInput, OutputRecord, Status, new_id
from ionian.state import apps, calls, schedules
from ionian.state.database import Row, SqliteDatabase, Tx
from ionian.timetable import Cron, Period, Schedule
from tests.unit.state_tables import add_function, new_app, publish

HOUR = 3600.0
NOON = 1_767_182_400.0  # 2025-12-31 12:00 UTC
HOURLY = Cron("0 * * * *")


def _deployed(tx: Tx, schedule: Schedule = HOURLY, name: str = "a", now: float = NOON) -> str:
    app_id = new_app(tx, name)
    function_id = add_function(tx, app_id, "f")
    publish(tx, app_id, name, function_id)
    schedules.replace(tx, app_id, {function_id: schedule}, now, True)
    return function_id


def _fire(tx: Tx, now: float, overlap: bool = False, kept: int = 100, catch_up_s: float = 24 * HOUR) -> list[OpenInput]:
    inputs, call_ids, more = schedules.fire(tx, now, catch_up_s, overlap, kept, 100)
    assert call_ids == [opened.call_id for opened in inputs]
    assert more is False
    return inputs


def _end(tx: Tx, opened: OpenInput, status: Status = Status.SUCCESS, error: str = "") -> None:
    record = OutputRecord(
        opened.input_id, opened.call_id, status, 1, b"r", exception=error, started_at=NOON, created_at=NOON + 1
    )
    assert calls.record_output(tx, record)


def _app_of(tx: Tx, function_id: str) -> str:
    return str(schedules.get(tx, function_id)["app_id"])


def _history(tx: Tx, function_id: str) -> list[Row]:
    return schedules.history(tx, function_id, 1000)


async def test_a_due_time_is_claimed_with_its_call(database: SqliteDatabase) -> None:
    function_id = await database.write(_deployed)
    assert await database.read(schedules.next_due) == NOON + HOUR
    assert await database.write(_fire, NOON + HOUR - 0.001) == []
    [opened] = await database.write(_fire, NOON + HOUR)
    assert [found.input_id for found in await database.read(calls.open_inputs)] == [opened.input_id]
    row = await database.read(calls.get_input, opened.input_id)
    assert (pickle.loads(row["args"]), row["data_format"], row["function_id"]) == (((), {}), 1, function_id)
    [run] = await database.read(_history, function_id)
    assert (run["due_at"], run["status"], run["cause"], run["call_id"]) == (
        NOON + HOUR,
        "running",
        "due",
        opened.call_id,
    )
    assert await database.write(_fire, NOON + HOUR) == []
    assert await database.read(schedules.next_due) == NOON + 2 * HOUR


async def test_a_crash_before_the_commit_leaves_the_due_time_open(database: SqliteDatabase) -> None:
    function_id = await database.write(_deployed)

    def crashing(tx: Tx) -> None:
        assert len(_fire(tx, NOON + HOUR)) == 1
        raise KeyError("crash")

    with pytest.raises(KeyError):
        await database.write(crashing)
    assert await database.read(calls.open_inputs) == []
    assert await database.read(_history, function_id) == []
    assert len(await database.write(_fire, NOON + HOUR)) == 1


async def test_missed_times_are_one_late_run(database: SqliteDatabase) -> None:
    function_id = await database.write(_deployed)
    assert len(await database.write(_fire, NOON + 5.5 * HOUR)) == 1
    [run] = await database.read(_history, function_id)
    assert (run["due_at"], run["since_at"], run["cause"]) == (NOON + 5 * HOUR, NOON + HOUR, "late")


async def test_what_is_too_late_is_noted_as_missed(database: SqliteDatabase) -> None:
    function_id = await database.write(_deployed)
    assert await database.write(_fire, NOON + 5.5 * HOUR, catch_up_s=0.0) == []
    [run] = await database.read(_history, function_id)
    assert (run["status"], run["due_at"], run["since_at"], run["call_id"]) == (
        "missed",
        NOON + 5 * HOUR,
        NOON + HOUR,
        "",
    )


async def test_a_run_that_goes_on_has_the_next_skipped_unless_both_may(database: SqliteDatabase) -> None:
    function_id = await database.write(_deployed)
    [first] = await database.write(_fire, NOON + HOUR)
    assert await database.write(_fire, NOON + 2 * HOUR) == []
    assert len(await database.write(_fire, NOON + 3 * HOUR, overlap=True)) == 1
    await database.write(_end, first)
    assert await database.write(_fire, NOON + 4 * HOUR) == []  # the second one goes on still
    statuses = [run["status"] for run in await database.read(_history, function_id)]
    assert statuses == ["skipped", "running", "skipped", "running"]


async def test_ends_are_noted_and_failures_told_until_somebody_was(database: SqliteDatabase) -> None:
    function_id = await database.write(_deployed)
    for number, status in enumerate((Status.SUCCESS, Status.TIMEOUT, Status.TERMINATED, Status.FAILURE), 1):
        [opened] = await database.write(_fire, NOON + number * HOUR)
        assert await database.read(schedules.open_calls) == [opened.call_id]
        assert await database.read(schedules.ended, [opened.call_id]) == []
        await database.write(_end, opened, status, "broken" if status == Status.FAILURE else "")
        assert await database.read(schedules.ended, [opened.call_id]) == [opened.call_id]
        await database.write(schedules.settle, [opened.call_id], True, NOON)
    found = [(run["status"], run["error"]) for run in await database.read(_history, function_id)]
    assert found == [("failure", "broken"), ("terminated", ""), ("timeout", ""), ("success", "")]
    [late, failed] = await database.read(schedules.untold)
    assert (late["status"], failed["app"], failed["function"], failed["environment"]) == ("timeout", "a", "f", "main")
    await database.write(schedules.told, late["run_id"])
    assert [run["run_id"] for run in await database.read(schedules.untold)] == [failed["run_id"]]
    assert await database.read(schedules.open_calls) == []


async def test_nobody_who_wants_to_know_means_nothing_untold(database: SqliteDatabase) -> None:
    await database.write(_deployed)
    [opened] = await database.write(_fire, NOON + HOUR)
    await database.write(_end, opened, Status.FAILURE)
    await database.write(schedules.settle, [opened.call_id], False, NOON)
    assert await database.read(schedules.untold) == []


async def test_a_run_whose_results_have_expired_is_settled(database: SqliteDatabase) -> None:
    function_id = await database.write(_deployed)
    [opened] = await database.write(_fire, NOON + HOUR)
    await database.write(_end, opened)
    await database.write(calls.expire, NOON + 2 * HOUR)
    assert await database.read(schedules.ended, [opened.call_id]) == [opened.call_id]
    await database.write(schedules.settle, [opened.call_id], True, NOON + 2 * HOUR)
    assert [run["status"] for run in await database.read(_history, function_id)] == ["unknown"]


async def test_a_deploy_restarts_periods_and_leaves_crons(database: SqliteDatabase) -> None:
    period, cron = Period(hours=24), Cron("0 9 * * *")
    by_period = await database.write(_deployed, period, "p")
    by_cron = await database.write(_deployed, cron, "c")

    def redeploy(tx: Tx, restart: bool) -> tuple[float, float]:
        for function_id, schedule in ((by_period, period), (by_cron, cron)):
            schedules.replace(tx, _app_of(tx, function_id), {function_id: schedule}, NOON + 10 * HOUR, restart)
        return schedules.get(tx, by_period)["due_at"], schedules.get(tx, by_cron)["due_at"]

    assert await database.write(redeploy, False) == (NOON + 24 * HOUR, NOON + 21 * HOUR)  # a restart of the server
    assert await database.write(redeploy, True) == (NOON + 34 * HOUR, NOON + 21 * HOUR)


async def test_a_cron_that_is_due_survives_a_deploy(database: SqliteDatabase) -> None:
    function_id = await database.write(_deployed)

    def redeploy(tx: Tx) -> list[OpenInput]:
        schedules.replace(tx, _app_of(tx, function_id), {function_id: HOURLY}, NOON + HOUR + 1, True)
        return _fire(tx, NOON + HOUR + 1)

    assert len(await database.write(redeploy)) == 1


async def test_another_schedule_begins_anew_and_none_ends_it(database: SqliteDatabase) -> None:
    function_id = await database.write(_deployed)

    def change(tx: Tx) -> None:
        app_id = _app_of(tx, function_id)
        schedules.replace(tx, app_id, {function_id: Cron("30 * * * *")}, NOON + 2 * HOUR, True)
        assert schedules.get(tx, function_id)["due_at"] == NOON + 2.5 * HOUR
        schedules.replace(tx, app_id, {}, NOON + 2 * HOUR, True)
        assert _fire(tx, NOON + 30 * HOUR) == []
        with pytest.raises(NotFound):
            schedules.get(tx, function_id)

    await database.write(change)


async def test_a_stopped_app_fires_nothing(database: SqliteDatabase) -> None:
    function_id = await database.write(_deployed)

    def stop(tx: Tx) -> list[OpenInput]:
        apps.stop(tx, _app_of(tx, function_id), "", NOON)
        return _fire(tx, NOON + 2 * HOUR)

    assert await database.write(stop) == []
    assert await database.read(schedules.next_due) is None
    assert await database.read(schedules.listing) == []
    assert await database.read(_history, function_id) == []


async def test_paused_fires_nothing_and_is_not_made_up_for(database: SqliteDatabase) -> None:
    function_id = await database.write(_deployed)
    await database.write(schedules.pause, function_id)
    assert await database.read(schedules.next_due) is None
    assert await database.write(_fire, NOON + 2 * HOUR) == []
    await database.write(lambda tx: schedules.replace(tx, _app_of(tx, function_id), {function_id: HOURLY}, NOON, True))
    assert await database.read(schedules.next_due) is None  # a deploy does not end a pause
    await database.write(schedules.resume, function_id, NOON + 5.5 * HOUR)
    await database.write(schedules.resume, function_id, NOON + 7.5 * HOUR)  # it goes on already
    assert await database.read(schedules.next_due) == NOON + 6 * HOUR
    assert await database.write(_fire, NOON + 5.9 * HOUR) == []


async def test_asked_for_runs_come_beside_the_schedule(database: SqliteDatabase) -> None:
    function_id = await database.write(_deployed)
    due = await database.read(schedules.next_due)
    for _ in range(2):
        run, [opened] = await database.write(schedules.ask, function_id, NOON + 1)
        assert (run["cause"], run["status"], run["call_id"]) == ("asked", "running", opened.call_id)
    assert await database.read(schedules.next_due) == due
    [listed] = await database.read(schedules.listing)
    assert (listed["app"], listed["function"], listed["last_status"]) == ("a", "f", "running")
    with pytest.raises(NotFound, match="has no schedule"):
        await database.write(schedules.ask, "fu-none", NOON)


async def test_the_history_is_as_long_as_it_may_be(database: SqliteDatabase) -> None:
    function_id = await database.write(_deployed)
    [going] = await database.write(_fire, NOON + HOUR)
    for number in range(2, 10):
        await database.write(_fire, NOON + number * HOUR, kept=3)
    dues = [run["due_at"] for run in await database.read(_history, function_id)]
    assert dues == [NOON + number * HOUR for number in (9, 8, 7, 1)]  # what goes on is not forgotten
    await database.write(_end, going)
    await database.write(schedules.settle, [going.call_id], False, NOON)
    await database.write(_fire, NOON + 10 * HOUR, kept=3)
    assert len(await database.read(_history, function_id)) == 3


async def test_nothing_is_left_of_apps_that_stopped_long_ago(database: SqliteDatabase) -> None:
    function_id = await database.write(_deployed)
    await database.write(_fire, NOON + HOUR)
    await database.write(lambda tx: apps.stop(tx, _app_of(tx, function_id), "", NOON + HOUR))
    await database.write(schedules.expire, NOON)
    assert len(await database.read(_history, function_id)) == 1
    await database.write(schedules.expire, NOON + 2 * HOUR)
    assert await database.read(_history, function_id) == []


async def test_a_clock_set_back_plans_anew_and_runs_nothing_twice(database: SqliteDatabase) -> None:
    function_id = await database.write(_deployed)
    assert len(await database.write(_fire, NOON + 5 * HOUR, overlap=True)) == 1  # five hours ahead of the truth
    assert await database.read(schedules.is_set_back, NOON + 5 * HOUR) is False
    assert await database.read(schedules.is_set_back, NOON) is True
    ran = []
    for number in range(13):
        ran += await database.write(_fire, NOON + number * HOUR / 2, overlap=True)
    dues = [run["due_at"] for run in await database.read(_history, function_id)]
    assert sorted(dues) == [NOON + number * HOUR for number in range(1, 7)]
    assert len(ran) == 5


async def test_a_time_passed_over_by_a_wrong_clock_is_run_by_the_right_one(database: SqliteDatabase) -> None:
    function_id = await database.write(_deployed)
    assert await database.write(_fire, NOON + 1.5 * HOUR, catch_up_s=0.0) == []
    await database.write(_fire, NOON)
    assert len(await database.write(_fire, NOON + HOUR)) == 1
    [run] = await database.read(_history, function_id)
    assert (run["status"], run["cause"], run["made_at"]) == ("running", "due", NOON + HOUR)


def _many(tx: Tx) -> None:
    app_id = new_app(tx, "many")
    ids = [add_function(tx, app_id, f"f{number}") for number in range(7)]
    publish(tx, app_id, "many", *ids)
    schedules.replace(tx, app_id, dict.fromkeys(ids, HOURLY), NOON, True)


async def test_many_at_once_fire_in_portions(database: SqliteDatabase) -> None:
    await database.write(_many)
    ran = []
    for expected in (3, 3, 1):
        inputs, _, more = await database.write(schedules.fire, NOON + HOUR, 0.0, False, 10, 3)
        assert (len(inputs), more) == (expected, expected == 3)
        ran += inputs
    assert len({opened.function_id for opened in ran}) == 7


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["fire", "fire", "crash", "set", "end", "pause", "resume", "deploy"]),
            st.floats(0, 3 * HOUR),
            st.integers(-6, 6),
        ),
        max_size=25,
    )
)
async def test_no_due_time_has_two_calls(database: SqliteDatabase, steps: list[tuple[str, float, int]]) -> None:
    """Whatever comes between: crashes in the transaction, clocks that are set, ends, pauses, deploys."""
    function_id = await database.write(_deployed, HOURLY, new_id("app"))
    now, going, made = NOON, list[OpenInput](), 0

    def crash(tx: Tx, now: float) -> None:
        _fire(tx, now)
        raise KeyError

    def deploy(tx: Tx, now: float) -> None:
        schedules.replace(tx, _app_of(tx, function_id), {function_id: HOURLY}, now, True)

    for step, passed, jump in steps:
        now += passed
        if step == "set":
            now += jump * HOUR
        elif step == "crash":
            with pytest.raises(KeyError):
                await database.write(crash, now)
        elif step == "end" and going:
            await database.write(_end, going.pop())
        elif step == "pause":
            await database.write(schedules.pause, function_id)
        elif step == "resume":
            await database.write(schedules.resume, function_id, now)
        elif step == "deploy":
            await database.write(deploy, now)
        else:
            fresh = await database.write(_fire, now)
            assert len(fresh) <= (0 if going else 1)
            going += fresh
            made += len(fresh)
    rows = await database.read(_history, function_id)
    assert len({row["due_at"] for row in rows}) == len(rows)
    assert all(row["due_at"] % HOUR == 0 for row in rows)
    assert len([row for row in rows if row["call_id"]]) == made
    await database.write(lambda tx: apps.stop(tx, _app_of(tx, function_id), "", now))
