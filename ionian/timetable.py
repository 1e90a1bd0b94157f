"""When schedules are due: arithmetic on unix seconds, zones and calendars. Pure: the caller says what time it is.

A due time is given out once: ``decide`` moves a plan past the present, whatever was missed, however clocks are set.
"""

from __future__ import annotations

import calendar
import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from math import floor, inf, isfinite
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from ionian.errors import InvalidRequest

GRACE_S = 60.0  # a run so late is on time: a busy machine, not a missed run
BACK_S = 1.0  # a clock that is so far behind its last reading was set back
SHORTEST_S = 1.0
LONGEST_EXPRESSION = 200
_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression of five fields (or a nickname such as ``@daily``) in a zone of the IANA database."""

    expression: str
    zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Period:
    """Again and again after so long. Years and months are the calendar's, in UTC; a day has 24 hours."""

    years: int = 0
    months: int = 0
    weeks: int = 0
    days: int = 0
    hours: int = 0
    minutes: int = 0
    seconds: float = 0.0


Schedule = Cron | Period


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a schedule stands. All times are unix seconds; ``due`` is infinite when it never comes again."""

    schedule: Schedule
    anchor: float  # what periods are counted from
    due: float  # the next due time, not given out yet
    made: float  # what time it was when ``due`` was chosen


@dataclass(frozen=True, slots=True)
class Occasion:
    """A due time that has come. It stands for all from ``since`` on that nobody could run in time."""

    due: float
    since: float
    outcome: str  # RUN, SKIPPED (the run before goes on still) or MISSED (too late)


RUN, SKIPPED, MISSED = "run", "skipped", "missed"


def check(schedule: Schedule, now: float) -> None:
    """Raises InvalidRequest saying what is wrong with a schedule that could never work."""
    if isinstance(schedule, Cron):
        _zone(schedule.zone)
        _simulation(schedule, now)
    else:
        _check_period(schedule, now)
    if after(schedule, now, now) == inf:
        raise InvalidRequest(f"{described(schedule)} never comes: no such date in the next 50 years")


def _check_period(period: Period, now: float) -> None:
    for unit, count in asdict(period).items():
        if not isfinite(count) or count < 0:
            raise InvalidRequest(f"Period({unit}={count:g}): a period is made of numbers from 0 up")
    if not any(asdict(period).values()):
        raise InvalidRequest("Period() has no length: give it at least one of years to seconds")
    if after(period, now, now) - now < SHORTEST_S:
        raise InvalidRequest(f"Period(seconds={period.seconds:g}): the shortest period is {SHORTEST_S:g} second")


def planned(schedule: Schedule, now: float) -> Plan:
    """A schedule that begins now: its first due time is the first one after now."""
    return Plan(schedule, now, after(schedule, now, now), now)


def resumed(plan: Plan, now: float) -> Plan:
    """A schedule that was paused goes on: what came due meanwhile is not made up for."""
    return replace(plan, due=after(plan.schedule, plan.anchor, now), made=now)


def decide(plan: Plan, now: float, catch_up_s: float, busy: bool) -> tuple[Plan, Occasion | None]:
    """What to do now, and where the schedule stands after that.

    Of all due times that have passed only the last one counts: it is run when it is at most ``catch_up_s`` old.
    ``busy``: the run before has not ended, and two at a time are not wanted.
    """
    if now < plan.made - BACK_S:
        return _set_back(plan, now), None
    if now < plan.due:
        return plan, None
    last = _latest(plan, now)
    outcome = MISSED if now - last > max(catch_up_s, GRACE_S) else SKIPPED if busy else RUN
    moved = replace(plan, due=after(plan.schedule, plan.anchor, max(now, last)), made=now)
    return moved, Occasion(last, plan.due, outcome)


def _set_back(plan: Plan, now: float) -> Plan:
    """The clock was wrong before, or is now: in any case the next run is the next one from here."""
    anew = planned(plan.schedule, now)
    if isinstance(plan.schedule, Cron) or anew.due < plan.due:
        return anew
    return replace(plan, made=now)


def _latest(plan: Plan, now: float) -> float:
    """The last due time up to now; ``plan.due`` is one. Looks back in steps that double, not at each since then."""
    found, back = plan.due, 60.0
    while now - back > plan.due:
        candidate = after(plan.schedule, plan.anchor, now - back)
        if candidate <= now:
            found = candidate
            break
        back *= 2
    while (following := after(plan.schedule, plan.anchor, found)) <= now:
        found = following
    return found


def after(schedule: Schedule, anchor: float, moment: float) -> float:
    """The first due time later than a moment; infinite when there is none. ``anchor``: see ``Plan``."""
    if isinstance(schedule, Period):
        return _after_period(schedule, anchor, moment)
    for time in _simulation(schedule, moment):
        due = time.timestamp()
        if due > moment:  # not so when both are in an hour that a clock shows twice
            return due
    return inf


def _simulation(cron: Cron, moment: float) -> CronSim:
    """Due times around and after a moment. Raises InvalidRequest."""
    text = " ".join(cron.expression.split())
    expression = _NICKNAMES.get(text.lower(), text)
    where = f"Cron({cron.expression[:LONGEST_EXPRESSION]!r})"
    if len(expression) > LONGEST_EXPRESSION:
        raise InvalidRequest(f"{where}: longer than {LONGEST_EXPRESSION} characters")
    if len(expression.split()) != 5:
        raise InvalidRequest(f"{where}: it needs five fields: minute, hour, day of month, month, day of week")
    try:
        return CronSim(expression, datetime.fromtimestamp(floor(moment), _zone(cron.zone)))
    except CronSimError as error:
        raise InvalidRequest(f"{where}: {str(error).lower()}") from None


def _zone(name: str) -> tzinfo:
    """Raises InvalidRequest for a name that is not one of a zone."""
    if name in ("", "UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # the last for names such as "Europe", which is a directory
        raise InvalidRequest(
            f"timezone={name[:100]!r} is no zone of the IANA database; such as 'Europe/Berlin' or 'UTC'"
        ) from None


def _after_period(period: Period, anchor: float, moment: float) -> float:
    """The smallest multiple of the period, counted from the anchor, that is later than the moment."""
    low, high = 0, 1
    try:
        while _multiple(period, anchor, high) <= moment:
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            if _multiple(period, anchor, middle) <= moment:
                low = middle
            else:
                high = middle
        return _multiple(period, anchor, high)
    except (OverflowError, ValueError):  # beyond the year 9999
        return inf


def _multiple(period: Period, anchor: float, count: int) -> float:
    """From the anchor each time, so that the 31st becomes the 28th in February and the 31st again in March."""
    days = 7 * period.weeks + period.days
    length = timedelta(days=days, hours=period.hours, minutes=period.minutes, seconds=period.seconds)
    months = count * (12 * period.years + period.months)
    if not months:
        return anchor + count * length.total_seconds()
    begin = datetime.fromtimestamp(anchor, UTC)
    year, month = divmod(begin.month - 1 + months, 12)
    year, month = begin.year + year, month + 1
    if year > 9999:
        raise OverflowError
    day = min(begin.day, calendar.monthrange(year, month)[1])
    return (begin.replace(year=year, month=month, day=day) + count * length).timestamp()


def described(schedule: Schedule) -> str:
    """In words, such as ``every 24 hours`` or ``cron 0 9 * * * (UTC)``."""
    if isinstance(schedule, Cron):
        return f"cron {schedule.expression} ({schedule.zone or 'UTC'})"
    given = [(count, unit) for unit, count in asdict(schedule).items() if count]
    return "every " + " ".join(f"{count:g} {unit if count != 1 else unit[:-1]}" for count, unit in given)


def encode(schedule: Schedule) -> str:
    """As JSON, the same for the same schedule."""
    return json.dumps({type(schedule).__name__.lower(): asdict(schedule)}, sort_keys=True)


def decode(text: str) -> Schedule:
    """What ``encode`` wrote."""
    [(kind, fields)] = json.loads(text).items()
    return Cron(**fields) if kind == "cron" else Period(**fields)
