"""Every client deploys the iris program as its users would, and it answers; what cannot work says what would."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.machine import Client, Machine
from tests.matrix.conftest import Record
from tests.matrix.pairs import APPS, REFUSED, REFUSING, WORKING, WORKS, Pair

ClientOn = Callable[[str, str], Client]


def _deploy(server: Machine, client: Client, pair: Pair, project: Path, code: int) -> str:
    run = {"modal": server.modal, "ionian": server.ionian}[pair.command]
    return run(client, "deploy", pair.program, cwd=project, code=code)


def _function(server: Machine, app: str) -> dict[str, Any] | None:
    found = [entry for entry in server.status()["apps"] if entry["name"] == app]
    return found[0]["functions"][0] if found else None


def _fresh_containers_served(server: Machine, function_id: str, since: float) -> int:
    """How many requests were answered by containers of this function that started after a time (unix seconds)."""
    return sum(
        container["served"]
        for container in server.status()["containers"]
        if container["function_id"] == function_id and container["started_at"] >= since
    )


@pytest.mark.parametrize("pair", WORKING, ids=str)
def test_deploys_and_answers(pair: Pair, server: Machine, client_on: ClientOn, project: Path, record: Record) -> None:
    app = APPS[pair.program]
    client = client_on(pair.client, pair.python)
    before, since = _function(server, app), time.time()
    said = _deploy(server, client, pair, project, 0).replace("\n", "")
    after = _function(server, app)
    assert after is not None
    assert after["version"] == (before["version"] if before else 0) + 1
    assert any(url in said for url in after["urls"]), said
    for sample in json.loads((project / "sample_data.json").read_text()):
        answer = server.request("POST", "/", {"features": sample["features"]}, f"local--{app}-predict.localhost")
        expected = {key: sample[key] for key in ("prediction", "class_name")}
        assert (answer.status, answer.json()) == (200, expected)
    assert _fresh_containers_served(server, after["function_id"], since) > 0
    record(pair, WORKS)


@pytest.mark.parametrize("pair", REFUSING, ids=str)
def test_what_cannot_work_says_what_would(
    pair: Pair, server: Machine, client_on: ClientOn, project: Path, record: Record
) -> None:
    client = client_on(pair.client, pair.python)
    before = _function(server, APPS[pair.program])
    plain = _deploy(server, client, pair, project, 1)
    assert "3.13" in plain, plain  # the client itself: its words are not ours
    ours = server.ionian(client, "deploy", pair.program, cwd=project, code=1)
    assert f"modal {pair.client} supports Python up to 3.12, and this is Python {pair.python}" in ours
    assert "use modal 1.0 or newer" in ours
    assert _function(server, APPS[pair.program]) == before
    record(pair, REFUSED)
