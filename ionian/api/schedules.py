"""A function's schedule in words, for people and for ``ionian status``. Pure."""

from __future__ import annotations

from ionian.wire import api_pb2

_UNITS = ("years", "months", "weeks", "days", "hours", "minutes", "seconds")


def described(definition: bytes) -> str:
    """Such as ``every 24 hours`` or ``cron 0 9 * * * (UTC)``, of a stored Function message; empty without one."""
    schedule = api_pb2.Function.FromString(definition).schedule
    if schedule.HasField("cron"):
        return f"cron {schedule.cron.cron_string} ({schedule.cron.timezone or 'UTC'})"
    if not schedule.HasField("period"):
        return ""
    given = [(getattr(schedule.period, unit), unit) for unit in _UNITS if getattr(schedule.period, unit)]
    return "every " + " ".join(f"{count:g} {unit if count != 1 else unit[:-1]}" for count, unit in given)
