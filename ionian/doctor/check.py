"""The outcome of one check, and how a list of them is shown."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Verdict(enum.StrEnum):
    OK = "ok"
    WARNING = "warning"  # the main job works, something beside it does not
    FAILED = "failed"  # deploying or calling an app will fail


@dataclass(frozen=True, slots=True)
class Check:
    """``found`` is one line; ``fix``, also one line, is there unless the verdict is ok."""

    name: str
    verdict: Verdict
    found: str
    fix: str = ""


def ok(name: str, found: str) -> Check:
    return Check(name, Verdict.OK, found)


def warning(name: str, found: str, fix: str) -> Check:
    return Check(name, Verdict.WARNING, found, fix)


def failed(name: str, found: str, fix: str) -> Check:
    return Check(name, Verdict.FAILED, found, fix)


def healthy(checks: Iterable[Check]) -> bool:
    """Whether nothing that the main job needs has failed."""
    return all(check.verdict is not Verdict.FAILED for check in checks)


def table(checks: Iterable[Check]) -> str:
    """Plain text: a line per check, the fix below it."""
    found = list(checks)
    width = max(len(check.name) for check in found)
    lines = []
    for check in found:
        lines.append(f"{check.verdict:<7}  {check.name:<{width}}  {check.found}")
        if check.fix:
            lines.append(f"{'':<7}  {'':<{width}}  fix: {check.fix}")
    return "\n".join(lines) + "\n"
