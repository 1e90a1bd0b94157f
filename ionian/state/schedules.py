"""Schedules of deployed functions, and their runs. A due time is claimed in the transaction that accepts its call.

So a crash neither loses a run nor doubles it: either the next start finds the due time open, or the call.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping

from ionian import timetable
from ionian.errors import NotFound
from ionian.model import OpenInput, Status, new_id
from ionian.state import apps, calls
from ionian.state.calls import NewCall, NewInput
from ionian.state.database import Row, Tx
from ionian.timetable import Occasion, Plan, Schedule

TOPIC = "schedules"  # woken when a schedule or a run has changed
RUNNING = "running"
ASKED = "asked"  # cause of a run that a person wanted; the others are ``due`` and ``late``
_UNARY, _ASYNC, _PICKLE = 1, 3, 1  # the client's numbers: one input, nobody waits, format of the arguments
_NO_ARGUMENTS = pickle.dumps(((), {}), protocol=4)
_ERROR_CHARACTERS = 2000


def replace(tx: Tx, app_id: str, wanted: Mapping[str, Schedule], now: float, restart: bool) -> None:
    """An app has exactly these schedules, by function id. An unchanged cron goes on; a period too, unless restarted.

    A paused schedule stays paused.
    """
    rows = {row["function_id"]: row for row in tx.all("SELECT * FROM schedules WHERE app_id = ?", app_id)}
    plans = {function_id: timetable.planned(schedule, now) for function_id, schedule in wanted.items()}
    tx.many("DELETE FROM schedules WHERE function_id = ?", [(gone,) for gone in rows if gone not in wanted])
    for function_id, plan in plans.items():
        row = rows.get(function_id)
        is_cron = isinstance(plan.schedule, timetable.Cron)
        if row and row["schedule"] == timetable.encode(plan.schedule) and (is_cron or not restart):
            continue
        tx.execute(
            "INSERT INTO schedules (function_id, app_id, schedule, anchor_at, due_at, planned_at, paused) "
            "VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT (function_id) DO UPDATE SET schedule = excluded.schedule, "
            "anchor_at = excluded.anchor_at, due_at = excluded.due_at, planned_at = excluded.planned_at",
            function_id,
            app_id,
            timetable.encode(plan.schedule),
            plan.anchor,
            plan.due,
            plan.made,
        )


def get(tx: Tx, function_id: str) -> Row:
    """The schedule of a function of a deployed app. Raises NotFound."""
    row = tx.one(
        "SELECT schedules.* FROM schedules JOIN apps ON apps.app_id = schedules.app_id "
        "WHERE function_id = ? AND apps.state = ?",
        function_id,
        apps.DEPLOYED,
    )
    if row is None:
        raise NotFound(f"function {function_id} has no schedule, or its app is not deployed")
    return row


def listing(tx: Tx) -> list[Row]:
    """The schedules of deployed apps with the names of what they belong to, each with its last run."""
    return tx.all(
        "SELECT schedules.*, functions.name AS function, apps.name AS app, apps.environment, "
        "runs.status AS last_status, runs.due_at AS last_due FROM schedules "
        "JOIN functions ON functions.function_id = schedules.function_id "
        "JOIN apps ON apps.app_id = schedules.app_id LEFT JOIN schedule_runs AS runs ON runs.run_id = "
        "(SELECT run_id FROM schedule_runs WHERE function_id = schedules.function_id ORDER BY made_at DESC LIMIT 1) "
        "WHERE apps.state = ? ORDER BY apps.environment, apps.name, functions.name",
        apps.DEPLOYED,
    )


def pause(tx: Tx, function_id: str) -> None:
    """Runs nothing until it is resumed. Raises NotFound."""
    get(tx, function_id)
    tx.execute("UPDATE schedules SET paused = 1 WHERE function_id = ?", function_id)


def resume(tx: Tx, function_id: str, now: float) -> None:
    """Goes on with the next due time from now. Raises NotFound."""
    row = get(tx, function_id)
    if row["paused"]:
        _move(tx, function_id, timetable.resumed(_plan(row), now))
        tx.execute("UPDATE schedules SET paused = 0 WHERE function_id = ?", function_id)


def next_due(tx: Tx) -> float | None:
    """When something is due next (unix seconds); None when nothing is."""
    row = tx.one("SELECT MIN(due_at) AS due_at FROM schedules WHERE paused = 0")
    return row["due_at"] if row else None


def is_set_back(tx: Tx, now: float) -> bool:
    """Whether a schedule was planned at a later time than it is now."""
    latest = now + timetable.BACK_S
    return tx.one("SELECT 1 AS one FROM schedules WHERE paused = 0 AND planned_at > ? LIMIT 1", latest) is not None


def fire(
    tx: Tx, now: float, catch_up_s: float, overlap: bool, kept: int, limit: int
) -> tuple[list[OpenInput], list[str], bool]:
    """Claim due times that have come, up to ``limit`` schedules, and accept their calls.

    Returns the inputs to run, the ids of their calls, and whether there may be more. ``kept``: runs in the history.
    """
    rows = tx.all(
        "SELECT schedules.*, apps.state FROM schedules JOIN apps ON apps.app_id = schedules.app_id "
        "WHERE paused = 0 AND (due_at <= ? OR planned_at > ?) ORDER BY due_at LIMIT ?",
        now,
        now + timetable.BACK_S,
        limit,
    )
    inputs: list[OpenInput] = []
    for row in rows:
        if row["state"] != apps.DEPLOYED:
            tx.execute("DELETE FROM schedules WHERE function_id = ?", row["function_id"])
            continue
        busy = not overlap and _is_busy(tx, row["function_id"])
        plan, occasion = timetable.decide(_plan(row), now, catch_up_s, busy)
        _move(tx, row["function_id"], plan)
        if occasion is not None:
            inputs += _run(tx, row, occasion, now)
            _trim(tx, row["function_id"], kept)
    return inputs, [opened.call_id for opened in inputs], len(rows) == limit


def ask(tx: Tx, function_id: str, now: float) -> tuple[Row, list[OpenInput]]:
    """Run a scheduled function now, beside its schedule. Returns the run and the inputs. Raises NotFound."""
    row = get(tx, function_id)
    run_id = _insert(tx, row, now, now, ASKED, RUNNING, now)
    inputs = _call(tx, run_id, function_id, now)
    return run(tx, run_id), inputs


def _plan(row: Row) -> Plan:
    return Plan(timetable.decode(row["schedule"]), row["anchor_at"], row["due_at"], row["planned_at"])


def _move(tx: Tx, function_id: str, plan: Plan) -> None:
    tx.execute(
        "UPDATE schedules SET anchor_at = ?, due_at = ?, planned_at = ? WHERE function_id = ?",
        plan.anchor,
        plan.due,
        plan.made,
        function_id,
    )


def _is_busy(tx: Tx, function_id: str) -> bool:
    """Whether a run of this function has not ended."""
    row = tx.one(
        "SELECT 1 AS one FROM schedule_runs AS runs JOIN inputs ON inputs.call_id = runs.call_id "
        "WHERE runs.function_id = ? AND runs.status = ? AND inputs.finished = 0 LIMIT 1",
        function_id,
        RUNNING,
    )
    return row is not None


def _run(tx: Tx, row: Row, occasion: Occasion, now: float) -> list[OpenInput]:
    """Claim a due time. One that was run before (by a clock that was set back since) is not run again."""
    cause = "late" if now - occasion.since > timetable.GRACE_S else "due"
    status = RUNNING if occasion.outcome == timetable.RUN else occasion.outcome
    run_id = _insert(tx, row, occasion.due, occasion.since, cause, status, now)
    return _call(tx, run_id, row["function_id"], now) if run_id and status == RUNNING else []


def _insert(tx: Tx, row: Row, due: float, since: float, cause: str, status: str, now: float) -> str:
    """A run's id; empty when that due time had one before. One that was only noted as passed over gives way."""
    added = tx.one(
        "INSERT INTO schedule_runs (run_id, function_id, app_id, due_at, since_at, cause, status, call_id, made_at, "
        "started_at, ended_at, error, untold) VALUES (?, ?, ?, ?, ?, ?, ?, '', ?, 0, ?, '', 0) "
        "ON CONFLICT (function_id, due_at) WHERE cause <> 'asked' DO UPDATE SET since_at = excluded.since_at, "
        "cause = excluded.cause, status = excluded.status, made_at = excluded.made_at, ended_at = excluded.ended_at "
        "WHERE schedule_runs.status IN ('skipped', 'missed') RETURNING run_id",
        new_id("sr"),
        row["function_id"],
        row["app_id"],
        due,
        since,
        cause,
        status,
        now,
        0 if status == RUNNING else now,
    )
    return str(added["run_id"]) if added else ""


def _call(tx: Tx, run_id: str, function_id: str, now: float) -> list[OpenInput]:
    new = NewCall(function_id, _UNARY, _ASYNC)
    call_id, (_, inputs) = calls.create(tx, new, now, [NewInput(0, _PICKLE, args=_NO_ARGUMENTS)])
    tx.execute("UPDATE schedule_runs SET call_id = ? WHERE run_id = ?", call_id, run_id)
    return inputs


def _trim(tx: Tx, function_id: str, kept: int) -> None:
    """Forget the oldest runs beyond so many."""
    tx.execute(
        "DELETE FROM schedule_runs WHERE function_id = ? AND status <> ? AND made_at < (SELECT made_at FROM "
        "schedule_runs WHERE function_id = ? ORDER BY made_at DESC LIMIT 1 OFFSET ?)",
        function_id,
        RUNNING,
        function_id,
        kept - 1,
    )


def run(tx: Tx, run_id: str) -> Row:
    """A run with the names of what it belongs to. Raises NotFound."""
    row = tx.one(
        "SELECT runs.*, functions.name AS function, apps.name AS app, apps.environment, schedules.schedule "
        "FROM schedule_runs AS runs JOIN functions ON functions.function_id = runs.function_id "
        "JOIN apps ON apps.app_id = runs.app_id LEFT JOIN schedules ON schedules.function_id = runs.function_id "
        "WHERE run_id = ?",
        run_id,
    )
    if row is None:
        raise NotFound(f"run {run_id} not found, or it was forgotten")
    return row


def history(tx: Tx, function_id: str, limit: int) -> list[Row]:
    """The runs of a function, newest first."""
    return tx.all(
        "SELECT * FROM schedule_runs WHERE function_id = ? ORDER BY made_at DESC, due_at DESC LIMIT ?",
        function_id,
        limit,
    )


def open_calls(tx: Tx) -> list[str]:
    """The calls of runs that have not ended, as far as their rows say."""
    return [row["call_id"] for row in tx.all("SELECT call_id FROM schedule_runs WHERE status = ?", RUNNING)]


def ended(tx: Tx, call_ids: Iterable[str]) -> list[str]:
    """Those of the calls without an open input."""
    sql = "SELECT 1 AS one FROM inputs WHERE call_id = ? AND finished = 0 LIMIT 1"
    return [call_id for call_id in call_ids if tx.one(sql, call_id) is None]


def settle(tx: Tx, call_ids: Iterable[str], tell: bool, now: float) -> None:
    """Note in the runs of these calls how they ended. ``tell``: of failures, somebody wants to know (``untold``)."""
    for call_id in call_ids:
        output = tx.one("SELECT * FROM outputs WHERE call_id = ? ORDER BY entry DESC LIMIT 1", call_id)
        status = Status(output["status"]).name.lower() if output else "unknown"  # its results have expired
        failed = status not in ("success", "terminated", "unknown")
        tx.execute(
            "UPDATE schedule_runs SET status = ?, started_at = ?, ended_at = ?, error = ?, untold = ? "
            "WHERE call_id = ? AND status = ?",
            status,
            output["started_at"] if output else 0,
            output["created_at"] if output else now,
            output["exception"][:_ERROR_CHARACTERS] if output else "",
            int(failed and tell),
            call_id,
            RUNNING,
        )


def untold(tx: Tx) -> list[Row]:
    """Failed runs that nobody was told of, oldest first."""
    return [
        run(tx, row["run_id"]) for row in tx.all("SELECT run_id FROM schedule_runs WHERE untold = 1 ORDER BY made_at")
    ]


def told(tx: Tx, run_id: str) -> None:
    """Somebody was told."""
    tx.execute("UPDATE schedule_runs SET untold = 0 WHERE run_id = ?", run_id)


def expire(tx: Tx, before: float) -> None:
    """Forget the schedules and runs of apps that stopped before a time (unix seconds)."""
    gone = [(app_id,) for app_id in apps.ended(tx, before)]
    for table in ("schedules", "schedule_runs"):
        tx.many(f"DELETE FROM {table} WHERE app_id = ?", gone)
