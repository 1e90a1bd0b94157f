"""What ``ionian schedule`` asks of a server: schedules and their runs, to see, to run, to pause and to resume."""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import parse_qs

from ionian import timetable
from ionian.api.context import Context
from ionian.errors import InvalidRequest, NotFound
from ionian.state import schedules
from ionian.state.database import Row

HISTORY = 20  # runs shown unless asked for more


async def answer(ctx: Context, method: str, path: str, query: str) -> dict[str, Any]:
    """One request: ``GET`` of all or of ``FUNCTION_ID``, ``POST`` of ``FUNCTION_ID/VERB``. Raises NotFound.

    Times are unix seconds; None stands for never.
    """
    function_id, _, verb = path.strip("/").partition("/")
    if method == "GET" and not function_id:
        return {"schedules": [_schedule(row) for row in await ctx.database.read(schedules.listing)]}
    if method == "GET" and not verb:
        rows = await ctx.database.read(schedules.history, function_id, _limit(query))
        return {"runs": [_run(row) for row in rows]}
    if method != "POST" or verb not in ("run", "pause", "resume"):
        raise NotFound(f"no {method} of {path!r}: `ionian schedule --help` says what there is")
    if verb == "run":
        return await _ask(ctx, function_id)
    if verb == "pause":
        await ctx.database.write(schedules.pause, function_id)
    else:
        await ctx.database.write(schedules.resume, function_id, ctx.now)
    ctx.watch.notify(schedules.TOPIC)
    due = (await ctx.database.read(schedules.get, function_id))["due_at"]
    return {"next": None if verb == "pause" else _moment(due)}


async def _ask(ctx: Context, function_id: str) -> dict[str, Any]:
    run, inputs = await ctx.database.write(schedules.ask, function_id, ctx.now)
    ctx.services.submit(inputs)
    ctx.watch.notify(schedules.TOPIC)
    return {"run": _run(run)}


def _limit(query: str) -> int:
    text = parse_qs(query).get("limit", [str(HISTORY)])[-1]
    if not text.isdecimal() or not 0 < int(text) <= 100_000:
        raise InvalidRequest(f"limit={text} is not a number of runs from 1 up")
    return int(text)


def _schedule(row: Row) -> dict[str, Any]:
    return {
        "app": row["app"],
        "app_id": row["app_id"],
        "environment": row["environment"],
        "function": row["function"],
        "function_id": row["function_id"],
        "schedule": timetable.described(timetable.decode(row["schedule"])),
        "paused": bool(row["paused"]),
        "next": None if row["paused"] else _moment(row["due_at"]),
        "last": {"due": row["last_due"], "status": row["last_status"]} if row["last_status"] else None,
    }


def _moment(due: float) -> float | None:
    return due if math.isfinite(due) else None


def _run(row: Row) -> dict[str, Any]:
    names = ("run_id", "cause", "status", "call_id", "error")
    times = {"due": "due_at", "since": "since_at", "made": "made_at", "started": "started_at", "ended": "ended_at"}
    return {**{name: row[name] for name in names}, **{name: row[column] or None for name, column in times.items()}}
