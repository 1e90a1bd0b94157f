"""``ionian status``: what is running on a home, for people and (``--json``) for programs. Exit code 1: nothing is."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from ionian.commands import options, running
from ionian.commands.schedule import local_time


def run(arguments: list[str], home: str | None) -> int:
    parser = options.parser("status")
    parser.add_argument("--json", action="store_true", help="the whole answer as JSON")
    parsed = parser.parse_args(arguments)
    config = options.config(home)
    server = running.find(config)
    if parsed.json:
        answer = {"running": False, "home": str(config.home)}
        if server is not None:
            answer = {"running": True, **running.status(config, server)}
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
        return 0 if server is not None else 1
    if server is None:
        running.require(config)
        return 1
    sys.stdout.write(render(running.status(config, server)))
    return 0


def render(answer: Mapping[str, Any]) -> str:
    """The status as text: where, how isolated, then one line per function."""
    lines = [
        f"Ionian {answer['version']} at http://{answer['host']}:{answer['port']}"
        f" (pid {answer['pid']}, worker {answer['worker_pid']})",
        f"  data       {answer['home']}",
        *running.isolation_lines(answer["isolation"], answer["details"]),
    ]
    rows = [("APP", "STATE", "FUNCTION", "CONTAINERS", "QUEUED", "IN FLIGHT")]
    for app in answer["apps"]:
        start = (str(app["name"] or app["app_id"]), str(app["state"]))
        if not app["functions"]:
            rows.append((*start, "-", "-", "-", "-"))
        for function in app["functions"]:
            counts = (str(function[key]) for key in ("containers", "queued", "in_flight"))
            rows.append((*start, str(function["name"]), *counts))  # type: ignore[arg-type]
    if len(rows) == 1:
        return "\n".join([*lines, "", "no apps yet", ""])
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", *table, *_schedules(answer), ""])


def _schedules(answer: Mapping[str, Any]) -> list[str]:
    """A line per function that runs by itself, with when it does next."""
    found = [(app, function) for app in answer["apps"] for function in app["functions"] if function.get("schedule")]
    lines = [
        f"  {app['name'] or app['app_id']} {function['name']}: {function['schedule']}, {_upcoming(function)}"
        for app, function in found
    ]
    return ["", "schedules", *lines] if lines else []


def _upcoming(function: Mapping[str, Any]) -> str:
    if function["schedule_paused"]:
        return "paused"
    if not function["schedule_fires"]:
        return "not fired: only a deployed app has schedules"
    return f"next {local_time(function['next_run'])}"
