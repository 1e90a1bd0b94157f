"""``ionian schedule`` and the schedules in ``ionian status``: what is meant, and what is printed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from ionian.cli import main
from ionian.commands import status
from ionian.commands.schedule import find, local_time
from ionian.config import Config
from ionian.errors import InvalidRequest, NotFound
from tests.unit.cli_server import TOKEN, app, write_server_file

DUE = 1_767_182_400.0
ENTRY: dict[str, Any] = {
    "app": "jobs",
    "app_id": "ap-1",
    "environment": "main",
    "function": "report",
    "function_id": "fu-1",
    "schedule": "every 2 hours",
    "paused": False,
    "next": DUE,
    "last": {"due": DUE - 7200, "status": "timeout"},
}
RUN: dict[str, Any] = {
    "run_id": "sr-1",
    "cause": "late",
    "status": "failure",
    "call_id": "fc-1",
    "error": "RuntimeError('no')\nmore",
    "due": DUE,
    "since": DUE - 7200,
    "made": DUE,
    "started": DUE + 1,
    "ended": DUE + 3.5,
}


class _Fake:
    """A server that knows schedules."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.entries = [ENTRY]
        self.runs = [RUN]
        self.asked: list[str] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                assert self.headers["authorization"] == "Bearer " + ":".join(TOKEN)
                fake.asked.append(f"{self.command} {self.path.removeprefix('/_ionian/schedule')}")
                answers = {"GET ": {"schedules": fake.entries}, "POST /fu-1/run": {"run": RUN}}
                posted = {"next": DUE} if self.command == "POST" else {"runs": fake.runs}
                body = json.dumps(answers.get(fake.asked[-1], posted)).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _answer

            def log_message(self, *_: object) -> None:
                return

        self.server = HTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[_Fake]:
    import os

    made = _Fake(Config(home=tmp_path))
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    write_server_file(made.config, made.server.server_port, os.getpid())
    made.config.token_file.write_text(json.dumps({"token_id": TOKEN[0], "token_secret": TOKEN[1]}))
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def _on(fake: _Fake, *arguments: str) -> int:
    return main(["schedule", *arguments, "--home", str(fake.config.home)])


def test_the_list_has_next_and_last_runs(fake: _Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.entries = [ENTRY, {**ENTRY, "function": "other", "paused": True, "next": None, "last": None}]
    assert _on(fake, "list") == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["ENVIRONMENT", "APP", "FUNCTION", "SCHEDULE", "NEXT", "RUN", "LAST", "RUN"]
    assert f"report    every 2 hours  {local_time(DUE)}  {local_time(DUE - 7200)} timeout" in first
    assert second.split() == ["main", "jobs", "other", "every", "2", "hours", "paused", "-"]
    assert _on(fake, "list", "none") == 0
    assert capsys.readouterr().out.startswith("no schedules")
    assert _on(fake, "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == fake.entries
    assert _on(fake, "list", "none", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_the_history_has_a_line_for_each_run(fake: _Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.runs = [RUN, {**RUN, "since": DUE, "status": "skipped", "call_id": "", "started": None, "error": ""}]
    assert _on(fake, "history", "jobs", "report", "-n", "7") == 0
    assert fake.asked == ["GET ", "GET /fu-1?limit=7"]
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{local_time(DUE)} (and since {local_time(DUE - 7200)})  late")
    assert first.endswith(f"failure  {local_time(DUE + 1)}  2.5 s  fc-1  RuntimeError('no') more")
    assert second.split()[-4:] == ["skipped", "-", "-", "-"]
    fake.runs = []
    assert _on(fake, "history", "ap-1", "report") == 0
    assert capsys.readouterr().out == "no runs yet\n"


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("run", "jobs report: running as call fc-1\n"),
        ("pause", "jobs report: paused; `ionian schedule resume` lets it go on\n"),
        ("resume", f"jobs report: next run {local_time(DUE)}\n"),
    ],
)
def test_one_schedule_is_told(fake: _Fake, verb: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _on(fake, verb, "jobs", "report") == 0
    assert capsys.readouterr().out == said
    assert fake.asked == ["GET ", f"POST /fu-1/{verb}"]


def test_what_is_meant_must_be_one() -> None:
    known = [ENTRY, {**ENTRY, "environment": "dev"}, {**ENTRY, "app": "more", "app_id": "ap-2", "function": "f"}]
    assert find(known, "jobs", "report", "dev") is known[1]
    assert find(known, "ap-2", "f", None) is known[2]
    with pytest.raises(InvalidRequest, match=r"several environments \(main, dev\): choose with --env"):
        find(known, "jobs", "report", None)
    with pytest.raises(NotFound, match="functions with a schedule are report"):
        find(known, "jobs", "none", None)
    with pytest.raises(NotFound, match="apps with a schedule are jobs, more"):
        find(known, "none", "f", None)
    with pytest.raises(NotFound, match="apps with a schedule are none"):
        find([], "none", "f", None)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"schedule_fires": True, "schedule_paused": False, "next_run": DUE}, f"next {local_time(DUE)}"),
        ({"schedule_fires": False, "schedule_paused": True, "next_run": None}, "paused"),
        ({"schedule_fires": False, "schedule_paused": False, "next_run": None}, "not fired: only a deployed app has"),
    ],
)
def test_status_has_the_next_run(fields: dict[str, Any], said: str) -> None:
    entry = app("jobs", "ap-1")
    entry["functions"][0] |= {"schedule": "every 2 hours", **fields}
    answer = {"version": "1", "host": "h", "port": 1, "pid": 1, "worker_pid": 2, "home": "/", "isolation": "process"}
    text = status.render({**answer, "details": [], "apps": [entry]})
    assert f"jobs predict: every 2 hours, {said}" in text
