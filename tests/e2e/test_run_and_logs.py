"""`modal run` with one `.remote()`, and what it printed: in order, through both clients, on disk and live."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.e2e.conftest import APPS, NEW, OLD
from tests.e2e.machine import Client, Machine, output_of, until


def _lines(x: int) -> list[str]:
    """What one call prints, to stdout and to stderr by turns."""
    return [f"line {number} of {x} é" for number in range(20)]


def _printed(text: str, x: int) -> list[str]:
    return re.findall(rf"line \d+ of {x} é", text)


@pytest.mark.parametrize("version", [OLD, NEW])
def test_run_returns_the_result_and_shows_what_was_printed(
    server: Machine, client: Callable[[str], Client], version: str
) -> None:
    said = server.modal(client(version), "run", "talking.py::main", "--x", "12", cwd=APPS)
    assert "the square is 144" in said
    assert _printed(said, 12) == _lines(12)


@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_remote_exception_reaches_the_caller(server: Machine, client: Callable[[str], Client], version: str) -> None:
    said = server.modal(client(version), "run", "talking.py::failing", cwd=APPS, code=1)
    assert "no square of 3" in said


def test_ionian_run(server: Machine, new_client: Client) -> None:
    said = server.ionian(new_client, "run", "talking.py::main", "--x", "5", cwd=APPS)
    assert "the square is 25" in said


@pytest.fixture(scope="module")
def talked(server: Machine, new_client: Client) -> Machine:
    """The app deployed, and its function called once from another program."""
    server.modal(new_client, "deploy", "talking.py", cwd=APPS)
    _call(server, new_client, 31)
    return server


def _call(server: Machine, client: Client, x: int) -> None:
    program = f"import modal; assert modal.Function.from_name('talking', 'square').remote({x}) == {x * x}"
    variables = dict(line.removeprefix("export ").split("=", 1) for line in server.cli("env").splitlines())
    environ = {name: value.strip("'") for name, value in variables.items()}
    server.command([str(client.prefix / "bin" / "python"), "-c", program], None, 0, environ)


def test_ionian_logs_in_order(talked: Machine) -> None:
    assert _printed(talked.cli("logs", "talking", "-n", "0"), 31) == _lines(31)


@pytest.mark.parametrize("version", [OLD, NEW])
def test_modal_app_logs_in_order(talked: Machine, client: Callable[[str], Client], version: str) -> None:
    if version == NEW:
        said = talked.modal(client(version), "app", "logs", "talking")
    else:  # the old client follows until it is stopped
        with output_of(talked.spawn_modal(client(version), "app", "logs", "talking")) as following:
            said = following.wait_for("line 19 of 31 é")
    assert _printed(said, 31) == _lines(31)


def test_ionian_logs_follows(talked: Machine, new_client: Client) -> None:
    with output_of(talked.spawn("logs", "talking", "-f", "-n", "1")) as said:
        said.wait_for(" 19 of ")  # the newest record so far: it follows from here
        _call(talked, new_client, 47)
        text = said.wait_for("line 19 of 47 é")
    assert _printed(text, 47) == _lines(47)


def test_logs_need_no_server_when_the_id_is_known(talked: Machine) -> None:
    found = next(app for app in talked.status()["apps"] if app["name"] == "talking" and app["state"] == "deployed")
    assert _printed(talked.cli("logs", found["app_id"], "-n", "0"), 31) == _lines(31)


@pytest.mark.parametrize("version", [OLD, NEW])
def test_app_list_and_stop(server: Machine, client: Callable[[str], Client], version: str) -> None:
    server.modal(client(NEW), "deploy", "holding.py", "--name", "to-stop", cwd=APPS)
    assert "to-stop" in server.modal(client(version), "app", "list")
    assert server.get("to-stop", "alone").status == 200
    server.modal(client(version), "app", "stop", *(["--yes"] if version == NEW else []), "to-stop")
    assert server.get("to-stop", "alone").status == 404
    until(lambda: server.containers("to-stop", "alone") == 0, "the containers of the stopped app to be gone")
