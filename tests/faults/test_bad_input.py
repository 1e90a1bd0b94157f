"""What people get wrong, and what they are told."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from tests.e2e.machine import Client, Machine

_WEB = """
import modal
app = modal.App("{name}")
image = modal.Image.debian_slim().pip_install("fastapi"{packages})
{top}
@app.function(image=image{options})
@modal.fastapi_endpoint()
def answer():
    return "fine"
"""


def _deploy(
    server: Machine, client: Client, directory: Path, name: str, *, code: int | None, top: str = "", **parts: str
) -> str:
    text = _WEB.format(name=name, top=top, packages=parts.get("packages", ""), options=parts.get("options", ""))
    (directory / "app.py").write_text(text)
    return server.modal(client, "deploy", "app.py", cwd=directory, code=code)


def test_wrong_token(server: Machine, new_client: Client, tmp_path: Path) -> None:
    environ = {
        "MODAL_SERVER_URL": server.server.url,
        "MODAL_TOKEN_ID": "ak-wrong",
        "MODAL_TOKEN_SECRET": "as-wrong",
        "NO_PROXY": "127.0.0.1",
    }
    said = server.command([new_client.modal, "app", "list"], tmp_path, 1, environ)
    assert "token" in said.lower()


@pytest.mark.parametrize("authorization", [None, "Bearer ak-wrong:as-wrong", "Bearer", "Basic eDp5"])
def test_status_needs_the_token(server: Machine, authorization: str | None) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.server.port, timeout=10)
    connection.request("GET", "/_ionian/status", headers={"authorization": authorization} if authorization else {})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.status == 401
    assert b"apps" not in body


@pytest.mark.parametrize("host", ["local--nothing-here.localhost", "other--iris-predict.localhost", "example.invalid"])
@pytest.mark.parametrize("path", ["/", "/predict"])
def test_unknown_host_name(server: Machine, host: str, path: str) -> None:
    answer = server.request("GET", path, host=host)
    assert answer.status == 404
    assert host.split(".")[0].encode() in answer.body


@pytest.mark.parametrize("path", ["/predict", "/_web/local--nothing-here", "/_ionian/nothing"])
def test_unknown_path_at_the_servers_own_address(server: Machine, path: str) -> None:
    assert server.request("GET", path).status == 404


def test_missing_model_file_at_deploy(server: Machine, new_client: Client, project: Path, tmp_path: Path) -> None:
    for file in ("app.py", "app_modal.py"):
        shutil.copy(project / file, tmp_path)
        said = server.ionian(new_client, "deploy", file, cwd=tmp_path, code=1)
        assert "iris_model.pkl" in said.replace("\n", "")


@pytest.mark.parametrize(
    ("top", "named"),
    [("def broken(:", "SyntaxError"), ("import no_such_module_anywhere", "no_such_module_anywhere")],
)
def test_a_module_that_does_not_load_here(
    server: Machine, new_client: Client, tmp_path: Path, top: str, named: str
) -> None:
    assert named in _deploy(server, new_client, tmp_path, "broken-here", top=top, code=1)


def test_a_module_that_does_not_load_in_the_container(server: Machine, new_client: Client, tmp_path: Path) -> None:
    top = "if not modal.is_local():\n    import no_such_module_in_there\n"
    _deploy(server, new_client, tmp_path, "broken-there", top=top, code=0)
    answer = server.get("broken-there", "answer")
    assert answer.status in (500, 502, 503)
    assert "no_such_module_in_there" in server.cli("logs", "broken-there", "-n", "0")
    assert server.get("broken-there", "answer").status == answer.status  # and it does not hang from then on


def test_unknown_package(server: Machine, new_client: Client, tmp_path: Path) -> None:
    package = "ionian-no-such-package-at-all"
    said = _deploy(server, new_client, tmp_path, "unknown-package", packages=f', "{package}"', code=1)
    assert package in said
    assert "pip install" in said  # the step that failed


def test_port_taken(machine: Machine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for detach in ([], ["--detach"]):
            said = machine.cli("up", "--port", port, *detach, code=1)
            assert port in said
            assert "Traceback" not in said


def test_second_server_on_a_home(server: Machine) -> None:
    pid = server.server.pid
    for detach in ([], ["--detach"]):
        said = server.cli("up", "--port", "0", *detach, code=1)
        assert f"pid {pid}" in said
        assert "Traceback" not in said
    assert server.server.pid == pid
    os.kill(pid, 0)


def test_unknown_setting_is_named(machine: Machine) -> None:
    (machine.home / "config.toml").write_text("prot = 1\n")
    assert "prot" in machine.cli("up", code=1)


def test_isolation_that_cannot_be_had_is_refused(machine: Machine) -> None:
    said = machine.cli("up", "--port", "0", code=1, IONIAN_RUNTIME="process", IONIAN_REQUIRE_ISOLATION="namespaces")
    assert "namespaces" in said
    assert "process" in said
