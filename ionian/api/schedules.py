"""A function's schedule: read from the client's message, checked at deploy, told to the rows by each publish."""

from __future__ import annotations

import logging

from ionian import timetable
from ionian.errors import InvalidRequest
from ionian.state import apps, functions, schedules
from ionian.state.database import Tx
from ionian.timetable import Cron, Period, Schedule
from ionian.wire import api_pb2

_UNITS = ("years", "months", "weeks", "days", "hours", "minutes")
log = logging.getLogger("ionian.api")


def of(function: api_pb2.Function) -> Schedule | None:
    """The schedule of a definition. Seconds travel as a short float: they are meant to the microsecond."""
    schedule = function.schedule
    if schedule.HasField("cron"):
        return Cron(schedule.cron.cron_string, schedule.cron.timezone or "UTC")
    if not schedule.HasField("period"):
        return None
    units = {unit: getattr(schedule.period, unit) for unit in _UNITS}
    return Period(**units, seconds=round(schedule.period.seconds, 6))


def described(definition: bytes) -> str:
    """In words, of a stored Function message; empty without a schedule."""
    schedule = of(api_pb2.Function.FromString(definition))
    return timetable.described(schedule) if schedule else ""


def check(function: api_pb2.Function, now: float) -> None:
    """Raises InvalidRequest naming the function and what is wrong with its schedule."""
    name = function.function_name
    try:
        schedule = of(function)
        if schedule is None:
            return
        timetable.check(schedule, now)
    except (InvalidRequest, ValueError) as error:
        raise InvalidRequest(f"{name}: schedule={error}") from None
    if function.webhook_config.type:
        raise InvalidRequest(f"{name}: a web function cannot have a schedule: put it on a function that does the work")
    if function.function_type == api_pb2.Function.FUNCTION_TYPE_GENERATOR:
        raise InvalidRequest(f"{name}: a generator cannot have a schedule: nobody would take its items")


def publish(tx: Tx, app_id: str, now: float, restart: bool = True) -> None:
    """The live version of an app has changed (or was deployed once more): its schedules are those of the rows now.

    Only a deployed app has any. ``restart``: periods begin anew.
    """
    wanted: dict[str, Schedule] = {}
    if apps.get(tx, app_id)["state"] == apps.DEPLOYED:
        for function_id, definition_id in apps.layout(tx, app_id).definition_ids.items():
            definition = functions.definition(tx, definition_id)["definition"]
            schedule = of(api_pb2.Function.FromString(definition))
            if schedule is not None:
                wanted[function_id] = schedule
    schedules.replace(tx, app_id, wanted, now, restart)


def restore(tx: Tx, now: float) -> None:
    """At a start: apps deployed before this server knew schedules get theirs. The others keep what they have."""
    for row in tx.all("SELECT app_id FROM apps WHERE state = ?", apps.DEPLOYED):
        try:
            publish(tx, row["app_id"], now, restart=False)
        except InvalidRequest as error:
            log.warning("a schedule of app %s cannot be kept: %s; deploy it again", row["app_id"], error)
