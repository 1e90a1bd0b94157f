"""Deployed functions that run by themselves, under both runners and with old clients; over kill -9 and restarts."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import APPS, NEW, OLD
from tests.e2e.machine import Client, Machine, until

EXAMPLE = Path(__file__).parents[2] / "examples" / "schedules"
FIRST = "0.64.3"
needs_python_312 = pytest.mark.skipif(sys.version_info >= (3, 13), reason="this client runs on Python up to 3.12")
PLACES = [
    ("own", NEW),
    ("stock", NEW),
    pytest.param("own", OLD, marks=needs_python_312),
    pytest.param("own", FIRST, marks=needs_python_312),
]


def _history(machine: Machine, app: str, function: str) -> list[dict[str, Any]]:
    """Oldest first."""
    found = json.loads(machine.cli("schedule", "history", app, function, "--limit", "1000", "--json"))
    return list(reversed(found))


def _ended(machine: Machine, app: str, function: str, status: str) -> list[dict[str, Any]]:
    return [run for run in _history(machine, app, function) if run["status"] == status]


def _next(machine: Machine, app: str) -> dict[str, float]:
    found = json.loads(machine.cli("schedule", "list", app, "--json"))
    return {entry["function"]: entry["next"] for entry in found}


def _app_id(machine: Machine, name: str) -> str:
    return str(next(app["app_id"] for app in machine.status()["apps"] if app["name"] == name))


@pytest.mark.parametrize(("runner", "version"), PLACES)
def test_the_example_beats_until_its_app_is_stopped(
    machine: Machine, client: Callable[[str], Client], runner: str, version: str
) -> None:
    machine.environ["IONIAN_RUNNER"] = runner
    machine.up()
    machine.modal(client(version), "deploy", "beat.py", cwd=EXAMPLE)
    app_id = _app_id(machine, "example-schedules")
    until(lambda: len(_ended(machine, "example-schedules", "beat", "success")) >= 2, "two beats")
    first, second = _ended(machine, "example-schedules", "beat", "success")[:2]
    assert (second["due"] - first["due"]) % 2 == 0
    assert machine.cli("logs", "example-schedules").count("beat\n") >= 2
    assert "no runs yet" in machine.cli("schedule", "history", "example-schedules", "report")
    machine.modal(client(version), "app", "stop", *(["--yes"] if version == NEW else []), app_id)
    assert "no schedules" in machine.cli("schedule", "list")
    until(lambda: not machine.status()["containers"], "the end of its containers")
    printed = machine.cli("logs", app_id)
    time.sleep(5)  # two periods: nothing may come, so there is nothing to wait for
    assert machine.cli("logs", app_id) == printed


def test_a_run_of_the_example_fires_nothing(server: Machine, new_client: Client) -> None:
    said = server.modal(new_client, "run", "beat.py", cwd=EXAMPLE)
    assert said.count("beat\n") == 1
    assert "example-schedules" not in server.cli("schedule", "list")


def test_once_per_due_time_over_kills_and_restarts(machine: Machine, new_client: Client, tmp_path: Path) -> None:
    told = tmp_path / "told"
    machine.environ["IONIAN_SCHEDULE_FAILURE_COMMAND"] = f"cat >>{told}; echo >>{told}"
    machine.up()
    machine.modal(new_client, "deploy", "scheduled.py", cwd=APPS)
    for number in range(1, 4):
        wanted = 3 * number
        until(lambda: len(_ended(machine, "scheduled", "works", "success")) >= wanted, f"{wanted} runs")  # noqa: B023
        if number == 2:
            machine.down()
        else:
            machine.kill_server()
        machine.up()
    until(lambda: len(_ended(machine, "scheduled", "works", "success")) >= 12, "runs after the last start")
    until(lambda: len(_ended(machine, "scheduled", "takes_long", "skipped")) >= 2, "runs skipped")
    machine.cli("schedule", "pause", "scheduled", "works")
    until(lambda: not _ended(machine, "scheduled", "works", "running"), "the end of the last run")
    runs = _history(machine, "scheduled", "works")
    dues = [run["due"] for run in runs]
    assert len(set(dues)) == len(dues)
    assert all(abs(due - dues[0] - round(due - dues[0])) < 0.001 for due in dues)  # all on the grid of the deploy
    printed = re.findall(r"^works (fc-\w+)", machine.cli("logs", "scheduled", "-n", "0"), re.MULTILINE)
    assert len(set(printed)) == len(printed)  # no call ran twice
    assert {run["call_id"] for run in runs if run["status"] == "success"} <= set(printed)
    assert set(printed) <= {run["call_id"] for run in runs}
    missing = set(range(round(dues[-1] - dues[0]))) - {round(due - dues[0]) for due in dues}
    covered = {number for run in runs for number in range(round(run["since"] - dues[0]), round(run["due"] - dues[0]))}
    assert missing <= covered  # a due time without a run of its own is one that a late run stands for
    failed = _ended(machine, "scheduled", "fails", "failure")
    until(lambda: {run["call_id"] for run in failed} <= {one["call_id"] for one in _told(told)}, "the failures told")
    assert {one["function"] for one in _told(told)} <= {"fails", "works", "takes_long"}
    assert all("as it must" in one["error"] for one in _told(told) if one["function"] == "fails" and one["started"])


def _told(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines() if line] if file.exists() else []


def test_deploys_pauses_and_asking(machine: Machine, new_client: Client) -> None:
    machine.up()
    machine.modal(new_client, "deploy", "beat.py", cwd=EXAMPLE)
    machine.cli("schedule", "pause", "example-schedules", "beat")
    until(lambda: not _ended(machine, "example-schedules", "beat", "running"), "the end of the last run")
    before = len(_history(machine, "example-schedules", "beat"))
    report = _next(machine, "example-schedules")["report"]
    machine.modal(new_client, "deploy", "beat.py", cwd=EXAMPLE)
    assert _next(machine, "example-schedules") == {"beat": None, "report": report}
    assert "paused" in machine.cli("status")
    machine.cli("schedule", "run", "example-schedules", "beat")
    until(lambda: len(_ended(machine, "example-schedules", "beat", "success")) >= 1, "the run that was asked for")
    assert [run["cause"] for run in _history(machine, "example-schedules", "beat")[before:]] == ["asked"]
    assert "next run" in machine.cli("schedule", "resume", "example-schedules", "beat")
    until(lambda: len(_history(machine, "example-schedules", "beat")) > before + 1, "a beat after the pause")
    said = machine.cli("schedule", "pause", "example-schedules", "none", code=1)
    assert "functions with a schedule are beat, report" in said


def test_a_run_has_the_retries_and_the_timeout_of_its_function(server: Machine, new_client: Client) -> None:
    server.modal(new_client, "deploy", "asked.py", cwd=APPS)
    for function, status in (("flaky", "success"), ("slow", "timeout")):
        server.cli("schedule", "run", "asked", function)
        until(lambda: not _ended(server, "asked", function, "running"), f"the end of {function}")  # noqa: B023
        [run] = _history(server, "asked", function)
        assert (run["status"], run["cause"]) == (status, "asked")
    assert server.cli("logs", "asked").count("the second time\n") == 1
    said = server.cli("schedule", "list", "asked")
    assert len(re.findall(r"cron 0 0 29 2 \* \(UTC\) +\d{4}-02-29", said)) == 2
