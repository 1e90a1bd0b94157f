"""The client's own verbs beside deploy, run and logs: what they print here is what its documentation says."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import APPS, NEW, OLD
from tests.e2e.gate import Gate
from tests.e2e.machine import Client, Machine, output_of, until


def _json(server: Machine, client: Client, *arguments: str) -> list[dict[str, str]]:
    """What a verb lists with ``--json``, keys as the newest client writes them."""
    listed = json.loads(server.modal(client, *arguments, "--json"))
    return [{key.lower().replace(" ", "_"): value for key, value in found.items()} for found in listed]


def _yes(client: Client) -> list[str]:
    """The old client stops things without asking."""
    return [] if client.version == OLD else ["--yes"]


def _state(server: Machine, client: Client, app: str) -> list[str]:
    return [found["state"] for found in _json(server, client, "app", "list") if found["description"] == app]


def _versions(server: Machine, client: Client, app: str) -> list[str]:
    return [found["version"] for found in _json(server, client, "app", "history", app)]


@pytest.fixture(params=[OLD, NEW])
def each(client: Callable[[str], Client], request: pytest.FixtureRequest) -> Client:
    """An old and a new client in turn."""
    return client(request.param)


def test_history_rollback_and_stop(server: Machine, each: Client) -> None:
    name = f"historic-{each.version.replace('.', '-')}"
    for tag in ("first", "second"):
        server.modal(each, "deploy", "arguments.py", "--name", name, "--tag", tag, cwd=APPS)
    assert _versions(server, each, name) == ["v2", "v1"]
    newest, oldest = _json(server, each, "app", "history", name)
    assert (newest["tag"], oldest["tag"]) == ("second", "first")
    assert {newest["client"], oldest["client"]} == {each.version}
    text = server.modal(each, "app", "history", name)
    assert {"Version", "Time", "deployed", "v2", "v1", "first", "second"} <= set(text.split())

    said = server.modal(each, "app", "rollback", name, "v9", code=1)
    assert "has no version 9" in said
    assert "rollback successful" in server.modal(each, "app", "rollback", name)
    assert _versions(server, each, name) == ["v3", "v2", "v1"]
    assert "rollback successful" in server.modal(each, "app", "rollback", name, "v2")
    assert _versions(server, each, name) == ["v4", "v3", "v2", "v1"]
    assert [found["tag"] for found in _json(server, each, "app", "history", name)] == [
        "second",
        "first",
        "second",
        "first",
    ]

    assert _state(server, each, name) == ["deployed"]
    assert {"App", "ID", "deployed"} <= set(server.modal(each, "app", "list").split())
    server.modal(each, "app", "stop", name, *_yes(each))
    assert _state(server, each, name) == ["stopped"]
    missing = "No App with name" if each.version == NEW else "Could not find a deployed app named"
    again = server.modal(each, "app", "stop", name, *_yes(each), code=1)
    assert ("already stopped" if each.version == NEW else missing) in again
    again = server.modal(each, "app", "rollback", name, code=1)
    assert ("not deployed" if each.version == NEW else missing) in again
    assert missing in server.modal(each, "app", "history", "nobody", code=1)


def test_run_with_arguments(server: Machine, each: Client) -> None:
    def run(*given: str, code: int | None = 0) -> str:
        return server.modal(each, "run", *given, cwd=APPS, code=code)

    assert "the sum is 7.5!" in run("arguments.py::add", "--a", "3", "--b", "4.5", "--loud")
    assert "the sum is 3.0" in run("arguments.py::add", "--a", "1")
    assert run("-q", "arguments.py::add", "--a", "1") == ""  # quiet shows no logs either
    if each.version == NEW:
        assert "Missing option '--a'" in run("arguments.py::add", code=2)
    else:
        assert "Missing parameter: a" in run("arguments.py::add", code=1)
    assert "not a valid integer" in run("arguments.py::add", "--a", "x", code=None)
    assert "add" in run("arguments.py::nope", code=1)


def test_run_with_a_local_entrypoint(server: Machine, each: Client, tmp_path: Path) -> None:
    def run(*given: str, code: int | None = 0) -> str:
        return server.modal(each, "run", *given, cwd=APPS, code=code)

    said = run("arguments.py::tell", "--times", "2", "--word", "hey")
    assert re.findall(r"^told .*", said, re.M) == ["told hey", "told hey"]
    assert "App completed." in said
    assert re.findall(r"^told .*", run("arguments.py::tell", "--times", "1"), re.M) == ["told hello"]
    assert "--times" in run("arguments.py::tell", "--help", code=None)  # the old client ends with 1
    assert "no such thing to tell" in run("arguments.py::tell", "--times", "0", code=1)
    result = tmp_path / "result"
    run("-w", str(result), "arguments.py::tell", "--times", "1")
    assert result.read_text() == "told 1 times"


@pytest.fixture
def waiting(server: Machine, each: Client, held: Gate) -> tuple[str, str]:
    """A container that works on an input which ends when the gate opens: its id, and the call's."""
    server.modal(each, "deploy", "arguments.py", cwd=APPS)
    program = f"import modal; f = modal.Function.from_name('arguments', 'wait'); print(f.spawn({held.url!r}).object_id)"
    call = _python(server, each, program)
    held.wait_for(lambda inside: len(inside) == 1, "the input to be in a container")
    (container,) = _containers(server, each)
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
    server: Machine, each: Client, held: Gate, waiting: tuple[str, str]
) -> None:
    container, call = waiting
    assert container[:9] in server.modal(each, "container", "list")  # of a narrow table
    follow = ["-f"] if each.version == NEW else []
    with output_of(server.spawn_modal(each, "container", "logs", container, *follow)) as following:
        following.wait_for("arrived")
        server.modal(each, "container", "stop", container, *_yes(each))
        held.wait_for(lambda inside: len(set(inside)) == 2, "the input to be in another container")
        until(lambda: container not in _containers(server, each), "the container to be gone")
        assert following.process.wait(60) == 0  # the stream ends with its container; the other one's is not its
    assert following.text.count("arrived") == 1
    second = held.inside[-1]
    held.release()
    assert _result(server, each, call) == second
    said = server.modal(each, "container", "stop", container, *_yes(each), code=1)
    assert f"container {container}" in said
    assert f"container {container} is" in server.modal(each, "container", "logs", container, code=1)


def test_a_graceful_stop_lets_inputs_end(server: Machine, each: Client, held: Gate, waiting: tuple[str, str]) -> None:
    if each.version == OLD:
        pytest.skip("the old client has no --graceful")
    container, call = waiting
    (first,) = held.inside
    assert server.modal(each, "container", "logs", container) == "arrived\n"
    server.modal(each, "container", "stop", container, "--graceful", "--yes")
    held.release()
    assert _result(server, each, call) == first
    until(lambda: container not in _containers(server, each), "the container to be gone")


def test_environments(server: Machine, new_client: Client) -> None:
    server.modal(new_client, "environment", "create", "lab")
    listed = {found["name"]: found["web_suffix"] for found in _json(server, new_client, "environment", "list")}
    assert (listed["main"], listed["lab"]) == ("", "lab")
    assert "exists already" in server.modal(new_client, "environment", "create", "lab", code=1)
    server.modal(new_client, "deploy", "arguments.py", "--name", "apart", "--env", "lab", cwd=APPS)
    assert _state(server, new_client, "apart") == []
    apart = _json(server, new_client, "app", "list", "--env", "lab")
    assert [found["description"] for found in apart] == ["apart"]
    assert "cannot be deleted" in server.modal(new_client, "environment", "delete", "main", "--yes", code=1)
    server.modal(new_client, "environment", "update", "lab", "--set-web-suffix", "bench", "--set-name", "workshop")
    listed = {found["name"]: found["web_suffix"] for found in _json(server, new_client, "environment", "list")}
    assert (listed.get("lab"), listed["workshop"]) == (None, "bench")
    [kept] = _json(server, new_client, "app", "list", "--env", "workshop")
    assert (kept["description"], kept["state"]) == ("apart", "deployed")
    server.modal(new_client, "environment", "delete", "workshop", "--yes")
    assert "not found" in server.modal(new_client, "app", "list", "--env", "workshop", code=1)
    assert "apart" not in {found["name"] for found in server.status()["apps"]}


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


def test_profiles_and_settings(server: Machine, each: Client, tmp_path: Path) -> None:
    config = tmp_path / "modal.toml"
    variables = dict(line.removeprefix("export ").split("=", 1) for line in server.cli("env").splitlines())
    keys = f"server_url = '{server.server.url}'\n"  # the newest client asks each profile's own server
    keys += f"token_id = '{variables['MODAL_TOKEN_ID']}'\ntoken_secret = '{variables['MODAL_TOKEN_SECRET']}'\n"
    config.write_text(f"[mine]\n{keys}active = true\n\n[other]\n{keys}")

    def said(*arguments: str, code: int = 0) -> str:
        process = _modal(server, each, config, *arguments)
        text, _ = process.communicate(timeout=60)
        assert process.returncode == code, text
        return text

    listed = {
        found["name"]: (found["workspace"], found["active"]) for found in json.loads(said("profile", "list", "--json"))
    }
    assert listed == {"mine": ("local", True), "other": ("local", False)}
    assert {"Profile", "Workspace", "mine", "other", "local"} <= set(said("profile", "list").split())
    said("profile", "activate", "other")
    assert said("profile", "current").strip() == "other"
    assert tomllib.loads(config.read_text())["other"]["active"] is True

    shown = said("config", "show")
    assert server.server.url in shown
    assert variables["MODAL_TOKEN_ID"] in shown
    assert variables["MODAL_TOKEN_SECRET"] not in shown
    assert "profile other: main" in said("config", "set-environment", "main")
    assert tomllib.loads(config.read_text())["other"]["environment"] == "main"
    assert "modal environment create nowhere" in said("config", "set-environment", "nowhere", code=1)

    said("token", "set", *("--token-id", variables["MODAL_TOKEN_ID"]), *("--token-secret", "as-wrong"), code=1)
    assert tomllib.loads(config.read_text())["other"]["token_secret"] == variables["MODAL_TOKEN_SECRET"]


def test_doctor_beside_a_running_server(server: Machine) -> None:
    answer = json.loads(server.cli("doctor", "--json"))
    found = {check["name"]: check for check in answer["checks"]}
    assert answer["healthy"] is True
    assert {found[name]["verdict"] for name in ("build", "call", "token", "database", "server", "port")} == {"ok"}
    assert f":{server.server.port}: this home's server" in found["port"]["found"]
    assert not [path for path in server.home.iterdir() if path.name.startswith(".ionian-doctor")]
