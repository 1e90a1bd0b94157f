"""The client's own verbs beside deploy, run and logs: what they print here is what its documentation says."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import APPS, NEW, OLD
from tests.e2e.gate import Gate
from tests.e2e.machine import Client, Machine, output_of, until


def _json(server: Machine, client: Client, *arguments: str) -> Any:
    return json.loads(server.modal(client, *arguments, "--json"))


def _state(server: Machine, client: Client, app: str) -> list[str]:
    return [found["state"] for found in _json(server, client, "app", "list") if found["description"] == app]


def _versions(server: Machine, client: Client, app: str) -> list[str]:
    return re.findall(r"^\W+(v\d+)\W", server.modal(client, "app", "history", app), re.M)


def test_history_rollback_and_stop(server: Machine, new_client: Client) -> None:
    for tag in ("first", "second"):
        server.modal(new_client, "deploy", "arguments.py", "--name", "historic", "--tag", tag, cwd=APPS)
    assert _versions(server, new_client, "historic") == ["v2", "v1"]
    assert {"first", "second"} <= set(server.modal(new_client, "app", "history", "historic").split())

    said = server.modal(new_client, "app", "rollback", "historic", "v9", code=1)
    assert "has no version 9" in said
    assert "rollback successful" in server.modal(new_client, "app", "rollback", "historic")
    assert _versions(server, new_client, "historic") == ["v3", "v2", "v1"]

    assert _state(server, new_client, "historic") == ["deployed"]
    server.modal(new_client, "app", "stop", "historic", "--yes")
    assert _state(server, new_client, "historic") == ["stopped"]
    assert "already stopped" in server.modal(new_client, "app", "stop", "historic", "--yes", code=1)
    assert "not deployed" in server.modal(new_client, "app", "rollback", "historic", code=1)
    assert "No App with name 'nobody'" in server.modal(new_client, "app", "history", "nobody", code=1)


def test_run_with_arguments(server: Machine, new_client: Client) -> None:
    def run(*given: str, code: int = 0) -> str:
        return server.modal(new_client, "run", *given, cwd=APPS, code=code)

    assert "the sum is 7.5!" in run("arguments.py::add", "--a", "3", "--b", "4.5", "--loud")
    assert "the sum is 3.0" in run("arguments.py::add", "--a", "1")
    assert run("-q", "arguments.py::add", "--a", "1") == ""  # quiet shows no logs either
    assert "Missing option '--a'" in run("arguments.py::add", code=2)
    assert "not a valid integer" in run("arguments.py::add", "--a", "x", code=2)
    assert "- add / app.add" in run("arguments.py::nope", code=1)


@pytest.fixture
def waiting(server: Machine, new_client: Client, held: Gate) -> tuple[str, str]:
    """A container that works on an input which ends when the gate opens: its id, and the call's."""
    server.modal(new_client, "deploy", "arguments.py", cwd=APPS)
    program = f"import modal; print(modal.Function.from_name('arguments', 'wait').spawn({held.url!r}).object_id)"
    call = _python(server, new_client, program)
    held.wait_for(lambda inside: len(inside) == 1, "the input to be in a container")
    (container,) = _containers(server, new_client)
    return container, call


def _python(server: Machine, client: Client, program: str) -> str:
    variables = dict(line.removeprefix("export ").split("=", 1) for line in server.cli("env").splitlines())
    environ = {name: value.strip("'") for name, value in variables.items()}
    return server.command([str(client.prefix / "bin" / "python"), "-c", program], None, 0, environ).strip()


def _containers(server: Machine, client: Client) -> list[str]:
    listed = _json(server, client, "container", "list")
    return [found["container_id"] for found in listed if found["app_name"] == "arguments"]


def _result(server: Machine, client: Client, call: str) -> str:
    return _python(server, client, f"import modal; print(modal.FunctionCall.from_id({call!r}).get(timeout=60))")


def test_a_stopped_containers_inputs_begin_anew_in_another(
    server: Machine, new_client: Client, held: Gate, waiting: tuple[str, str]
) -> None:
    container, call = waiting
    assert server.modal(new_client, "container", "logs", container) == "arrived\n"
    server.modal(new_client, "container", "stop", container, "--yes")
    held.wait_for(lambda inside: len(set(inside)) == 2, "the input to be in another container")
    until(lambda: container not in _containers(server, new_client), "the container to be gone")
    second = held.inside[-1]
    held.release()
    assert _result(server, new_client, call) == second
    said = server.modal(new_client, "container", "stop", container, "--yes", code=1)
    assert "is not running" in said
    assert "modal app logs" in said


def test_a_graceful_stop_lets_inputs_end(
    server: Machine, new_client: Client, held: Gate, waiting: tuple[str, str]
) -> None:
    container, call = waiting
    (first,) = held.inside
    server.modal(new_client, "container", "stop", container, "--graceful", "--yes")
    held.release()
    assert _result(server, new_client, call) == first
    until(lambda: container not in _containers(server, new_client), "the container to be gone")


def test_commands_in_containers_are_refused_in_the_users_words(
    server: Machine, new_client: Client, waiting: tuple[str, str]
) -> None:
    said = server.modal(new_client, "container", "exec", waiting[0], "ls", code=1)
    assert "not built in this server yet: `modal container exec`" in said
    assert "`modal shell CONTAINER` need it" in server.modal(new_client, "shell", waiting[0], "--cmd", "ls", code=1)
    assert "`modal shell` need it" in server.modal(new_client, "shell", "--cmd", "ls", code=1)


def test_environments(server: Machine, new_client: Client) -> None:
    server.modal(new_client, "environment", "create", "lab")
    listed = {found["name"]: found["web_suffix"] for found in _json(server, new_client, "environment", "list")}
    assert (listed["main"], listed["lab"]) == ("", "lab")
    assert "exists already" in server.modal(new_client, "environment", "create", "lab", code=1)
    assert "cannot be deleted" in server.modal(new_client, "environment", "delete", "lab", "--yes", code=1)
    server.modal(new_client, "deploy", "arguments.py", "--name", "apart", "--env", "lab", cwd=APPS)
    assert _state(server, new_client, "apart") == []
    apart = _json(server, new_client, "app", "list", "--env", "lab")
    assert [found["description"] for found in apart] == ["apart"]
    server.modal(new_client, "app", "stop", "apart", "--env", "lab", "--yes")


def _modal(server: Machine, client: Client, config: Path, *arguments: str) -> subprocess.Popen[str]:
    """Plain ``modal`` of a person who knows nothing but the server's address."""
    environ = {"MODAL_SERVER_URL": server.server.url, "MODAL_CONFIG_PATH": str(config), "BROWSER": "true"}
    return subprocess.Popen(
        [client.modal, *arguments],
        env={**server.environ, **environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "250", "NO_PROXY": "127.0.0.1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


@pytest.mark.parametrize("version", [OLD, NEW])
def test_token_new_profile_and_config(server: Machine, client: Any, version: str, tmp_path: Path) -> None:
    config = tmp_path / "modal.toml"
    with output_of(_modal(server, client(version), config, "token", "new")) as waiting:
        said = waiting.wait_for("Enter this code: ")
        until(lambda: re.search(r"code: ([A-Z-]{9})\n", waiting.text) is not None, "the code")
        code = re.search(r"code: ([A-Z-]{9})\n", waiting.text)
        path = re.search(r"http://127.0.0.1:\d+(/_ionian/token/\S+)", said)
        assert code
        assert path
        page = server.request("GET", path[1])
        assert (page.status, page.headers["x-frame-options"]) == (200, "DENY")
        assert "no open token request" in server.cli("approve", "BBBB-BBBB", code=1)
        assert "approved" in server.cli("approve", code[1].lower())
        waiting.wait_for("Token verified successfully", "in profile local")
        waiting.process.wait(60)
    assert waiting.process.returncode == 0
    made = tomllib.loads(config.read_text())["local"]
    assert made["token_secret"] not in waiting.text

    for arguments, expected in [
        (("profile", "current"), "local"),
        (("profile", "list"), "local"),
        (("config", "show"), made["token_id"]),
        (("app", "list"), "App ID"),
    ]:
        with output_of(_modal(server, client(version), config, *arguments)) as said_by:
            said_by.wait_for(expected)
            said_by.process.wait(60)
        assert said_by.process.returncode == 0


def test_doctor_beside_a_running_server(server: Machine) -> None:
    answer = json.loads(server.cli("doctor", "--json"))
    found = {check["name"]: check for check in answer["checks"]}
    assert answer["healthy"] is True
    assert {found[name]["verdict"] for name in ("build", "call", "token", "database", "server", "port")} == {"ok"}
    assert f":{server.server.port}: this home's server" in found["port"]["found"]
    assert not [path for path in server.home.iterdir() if path.name.startswith(".ionian-doctor")]
