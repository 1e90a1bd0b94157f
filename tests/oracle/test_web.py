"""The same requests to web functions under both runners: same answers, same output of the containers."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.client import IncompleteRead
from typing import NamedTuple

import pytest

from tests.e2e.conftest import NEW, OLD
from tests.e2e.machine import Client, Machine, until
from tests.oracle import outcome
from tests.oracle.conftest import Pair

APP = "web"
OWN_HEADERS = {"date", "x-ionian-request-id", "connection"}  # that differ between any two answers
# Accepted: our WSGI adapter knows the length of a list of pieces; the entrypoint's streams it.
FRAMING = {"content-length", "transfer-encoding"}


class Request(NamedTuple):
    function: str
    method: str = "GET"
    path: str = "/"
    body: bytes | None = None


def _json(**fields: object) -> bytes:
    return json.dumps(fields).encode()


REQUESTS = (
    Request("square"),
    Request("square", path="/?x=7"),
    Request("square", path="/?x=seven"),
    Request("square", "POST", body=_json()),
    Request("square", path="/nothing"),
    Request("square", path="/square?x=2"),
    Request("judge", "POST", body=_json(kind="fine", other=1)),
    Request("judge", "POST", body=_json(kind="teapot")),
    Request("judge", "POST", body=_json(kind="stream")),
    Request("judge", "POST", body=_json(kind="broken")),
    Request("judge", "POST", body=b"no json"),
    Request("judge"),
    Request("plain", path="/a%20b/%C3%A9?q=%20x&q=2"),
    Request("plain", "PUT", "/upload", b"0123456789" * 100_000),
    Request("plain", path="/large"),
    Request("plain", path="/silent"),
    Request("plain", path="/half"),
    Request("plain", "HEAD"),
    Request("old", path="/some/where?x=%20y"),
    Request("old", "POST", "/", b"posted" * 50_000),
    Request("old", path="/fail"),
)
# Accepted: the old entrypoint drops what a failing application has sent, or does not, as its tasks fall.
ONLY_NEW = (Request("plain", path="/half"),)
Answered = tuple[Request, int, dict[str, str], bytes]


def _answer(machine: Machine, request: Request) -> Answered:
    host = f"local--{APP}-{request.function}.localhost"
    try:
        answer = machine.request(request.method, request.path, request.body, host)
    except IncompleteRead as broken:
        return request, 0, {}, broken.partial
    ignored = OWN_HEADERS | FRAMING if request.function == "old" else OWN_HEADERS
    headers = {name: value for name, value in answer.headers.items() if name not in ignored}
    return request, answer.status, headers, answer.body


def _served(machine: Machine, client: Client) -> tuple[list[Answered], tuple[outcome.Printed, ...]]:
    machine.modal(client, "deploy", f"{APP}.py", cwd=outcome.PROGRAMS)
    app_id = next(str(app["app_id"]) for app in machine.status()["apps"] if app["name"] == APP)
    answers = [_answer(machine, request) for request in REQUESTS if client.version == NEW or request not in ONLY_NEW]
    machine.modal(client, "app", "stop", *(["--yes"] if client.version == NEW else []), APP)
    until(lambda: outcome.running_containers(machine, app_id) == 0, "the containers to be gone")
    return answers, outcome.printed(machine, app_id)


@pytest.mark.parametrize("version", [NEW, OLD])
def test_same_answers(pair: Pair, client: Callable[[str], Client], version: str) -> None:
    real = client(version)
    own, stock = pair.both(lambda machine: _served(machine, real))
    for ours, theirs in zip(own[0], stock[0], strict=True):
        assert ours == theirs
    assert own[1]
    assert own[1] == stock[1]
