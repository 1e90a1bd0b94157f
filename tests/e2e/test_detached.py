"""`modal run --detach`: the app goes on without its client for as long as it has work, and then ends by itself."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable

import pytest

from tests.e2e.conftest import APPS, NEW, OLD
from tests.e2e.gate import Gate
from tests.e2e.machine import Client, Machine, output_of, until

APP = r"/_ionian/app/(ap-\w{22})"


@pytest.fixture(params=[OLD, NEW])
def each(client: Callable[[str], Client], request: pytest.FixtureRequest) -> Client:
    return client(request.param)


def _state(server: Machine, client: Client, app_id: str) -> str:
    """What the client's own list says of it."""
    listed = json.loads(server.modal(client, "app", "list", "--json"))
    rows = [{key.lower().replace(" ", "_"): value for key, value in app.items()} for app in listed]
    (found,) = [app["state"] for app in rows if app["app_id"] == app_id]
    return str(found)


def _app_id(text: str) -> str:
    found = re.search(APP, text.replace("\n", ""))
    assert found, text
    return found[1]


def test_a_detached_run_that_is_done_has_ended(server: Machine, each: Client) -> None:
    said = server.modal(each, "run", "--detach", "arguments.py::tell", "--times", "1", cwd=APPS)
    assert "told hello" in said
    assert "App completed." in said
    assert _state(server, each, _app_id(said)) == "stopped"


def test_a_detached_run_outlives_its_client_until_its_call_is_done(server: Machine, each: Client, held: Gate) -> None:
    command = ["run", "-d", "arguments.py::wait", "--gate", held.url]
    with output_of(server.spawn_modal(each, *command, cwd=APPS)) as running:
        held.wait_for(lambda inside: len(inside) == 1, "the input to be in a container")
        running.process.send_signal(signal.SIGINT)
        said = running.wait_for("Shutting down Modal client.", "detached")
        running.process.wait(60)
    app_id = _app_id(said)
    if each.version == NEW:
        assert f"modal app logs {app_id}" in running.text
        assert f"modal app stop {app_id}" in running.text
    assert _state(server, each, app_id) == "ephemeral (detached)"
    assert len(held.inside) == 1
    held.release()
    until(lambda: _state(server, each, app_id) == "stopped", "the app to end with its work")
    assert "arrived" in server.cli("logs", app_id, "-n", "0")
