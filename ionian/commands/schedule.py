"""``ionian schedule``: what is due when, what has run and how it ended; run one now, pause and resume it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ionian.commands import options, running
from ionian.config import Config
from ionian.errors import FailedPrecondition, InvalidRequest, NotFound

_PATH = "/_ionian/schedule"


def run(arguments: list[str], home: str | None) -> int:
    parsed = _parser().parse_args(arguments)
    config = options.config(home)
    known = _ask(config, "GET", _PATH)["schedules"]
    if parsed.verb == "list":
        found = [entry for entry in known if parsed.app in (None, entry["app"], entry["app_id"])]
        _print(found if parsed.json else _listing(found))
        return 0
    entry = find(known, parsed.app, parsed.function, parsed.env)
    path = f"{_PATH}/{entry['function_id']}"
    if parsed.verb == "history":
        runs = _ask(config, "GET", f"{path}?limit={parsed.limit}")["runs"]
        _print(runs if parsed.json else _history(runs))
        return 0
    answer = _ask(config, "POST", f"{path}/{parsed.verb}")
    name = f"{entry['app']} {entry['function']}"
    if parsed.verb == "run":
        _print([f"{name}: running as call {answer['run']['call_id']}"])
    elif parsed.verb == "pause":
        _print([f"{name}: paused; `ionian schedule resume` lets it go on"])
    else:
        _print([f"{name}: next run {local_time(answer['next'])}"])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options.parser("schedule")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|history|run|pause|resume")
    listing = verbs.add_parser("list", help="the schedules of deployed apps: next due time, last run")
    listing.add_argument("app", metavar="APP", nargs="?", help="only those of this app (name or id)")
    texts = {
        "history": "the runs of a function, newest first",
        "run": "run it now, beside its schedule",
        "pause": "fire no more until it is resumed; a deploy does not change that",
        "resume": "go on with the next due time; what came due meanwhile is not made up for",
    }
    for verb, text in texts.items():
        one = verbs.add_parser(verb, help=text)
        one.add_argument("app", metavar="APP", help="app name or id")
        one.add_argument("function", metavar="FUNCTION", help="its function")
        one.add_argument("-e", "--env", help="the environment, where apps in several have that name")
        if verb == "history":
            one.add_argument("-n", "--limit", type=int, default=20, metavar="N", help="how many (default 20)")
    for name in ("list", "history"):
        verbs.choices[name].add_argument("--json", action="store_true", help="as JSON; times are unix seconds")
    return parser


def find(known: Sequence[Mapping[str, Any]], app: str, function: str, environment: str | None) -> Mapping[str, Any]:
    """The one schedule that is meant. Raises NotFound naming what there is, InvalidRequest when several are."""
    of_app = [
        entry
        for entry in known
        if app in (entry["app"], entry["app_id"]) and environment in (None, entry["environment"])
    ]
    found = [entry for entry in of_app if entry["function"] == function]
    if not found:
        names = sorted({entry["function"] for entry in of_app}) or sorted({entry["app"] for entry in known})
        what = "functions with a schedule" if of_app else "apps with a schedule"
        raise NotFound(f"no schedule of {app!r} {function!r}; {what} are {', '.join(names) or 'none'}")
    if len(found) > 1:
        environments = ", ".join(entry["environment"] for entry in found)
        raise InvalidRequest(f"{app!r} is deployed in several environments ({environments}): choose with --env")
    return found[0]


def _ask(config: Config, method: str, path: str) -> dict[str, Any]:
    status, body = running.ask(config, running.require(config), method, path)
    if status != 200:
        raise FailedPrecondition(body.decode(errors="replace").strip())
    answer: dict[str, Any] = json.loads(body)
    return answer


def _print(content: Sequence[Any]) -> None:
    """Lines of text, or objects as JSON."""
    if content and isinstance(content[0], str):
        sys.stdout.write("\n".join(content) + "\n")
    else:
        sys.stdout.write(json.dumps(content, indent=2) + "\n")


def _listing(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    if not entries:
        return ["no schedules: deploy a function with schedule=modal.Period(...) or modal.Cron(...)"]
    rows = [("ENVIRONMENT", "APP", "FUNCTION", "SCHEDULE", "NEXT RUN", "LAST RUN")]
    for entry in entries:
        names = (entry["environment"], entry["app"], entry["function"], entry["schedule"])
        upcoming = "paused" if entry["paused"] else local_time(entry["next"])
        last = entry["last"]
        rows.append((*names, upcoming, f"{local_time(last['due'])} {last['status']}" if last else "-"))
    return _table(rows)


def _history(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    if not runs:
        return ["no runs yet"]
    rows = [("DUE", "CAUSE", "STATUS", "STARTED", "TOOK", "CALL", "ERROR")]
    for entry in runs:
        took = f"{entry['ended'] - entry['started']:.1f} s" if entry["started"] and entry["ended"] else "-"
        due = local_time(entry["due"])
        if entry["since"] != entry["due"]:
            due += f" (and since {local_time(entry['since'])})"
        error = " ".join(entry["error"].split())[:80]
        called = entry["call_id"] or "-"
        rows.append((due, entry["cause"], entry["status"], local_time(entry["started"]), took, called, error))
    return _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def local_time(moment: float | None) -> str:
    """Unix seconds in the zone of whoever reads it; a dash for never."""
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z") if moment else "-"
