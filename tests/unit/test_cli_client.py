"""Handing verbs to the modal client: which interpreter, which environment, and that the user's files stay theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ionian.commands import client, interpreter
from ionian.config import Config
from tests.unit.cli_server import TOKEN, fake_server


def _project(directory: Path, with_client: bool) -> str:
    """A venv with or without a ``modal`` in it; returns its python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
    if with_client:
        site = next(directory.glob("lib/python3*/site-packages"))
        (site / "modal").mkdir()
        (site / "modal" / "__init__.py").write_text("")
    return str(directory / "bin" / "python")


NOWHERE = {"PATH": "/nonexistent"}


def test_active_environment_comes_first(tmp_path: Path) -> None:
    active = _project(tmp_path / "active", with_client=True)
    _project(tmp_path / ".venv", with_client=True)
    assert interpreter.find({**NOWHERE, "VIRTUAL_ENV": str(tmp_path / "active")}, tmp_path) == active


def test_active_environment_without_the_client_is_passed_over(tmp_path: Path) -> None:
    _project(tmp_path / "active", with_client=False)
    beside = _project(tmp_path / ".venv", with_client=True)
    assert interpreter.find({**NOWHERE, "VIRTUAL_ENV": str(tmp_path / "active")}, tmp_path) == beside


def test_project_environment_is_found_from_below_up_to_the_git_root(tmp_path: Path) -> None:
    above = _project(tmp_path / ".venv", with_client=True)
    (tmp_path / "repository" / "deep").mkdir(parents=True)
    assert interpreter.find(NOWHERE, tmp_path / "repository" / "deep") == above
    (tmp_path / "repository" / ".git").mkdir()
    assert interpreter.find(NOWHERE, tmp_path / "repository" / "deep") == sys.executable


def test_python_on_path_is_asked(tmp_path: Path) -> None:
    directory = tmp_path / "bin"
    directory.mkdir()
    site = tmp_path / "site"
    (site / "modal").mkdir(parents=True)
    (site / "modal" / "__init__.py").write_text("")
    script = directory / "python3"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={site} exec "{sys.executable}" -S "$@"\n')
    script.chmod(0o755)
    assert interpreter.find({"PATH": str(directory)}, tmp_path) == str(script)
    (site / "modal" / "__init__.py").unlink()
    (site / "modal").rmdir()
    assert interpreter.find({"PATH": str(directory)}, tmp_path) == sys.executable


def test_a_modal_file_in_the_working_directory_does_not_fool_the_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "modal.py").write_text("")
    _project(tmp_path / ".venv", with_client=False)
    monkeypatch.chdir(tmp_path)
    assert interpreter.find(NOWHERE, tmp_path) == sys.executable


def test_a_broken_interpreter_is_passed_over(tmp_path: Path) -> None:
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "python3").write_text("not a program")
    (directory / "python3").chmod(0o755)
    assert interpreter.find({"PATH": str(directory)}, tmp_path) == sys.executable


def test_the_client_is_pointed_here_and_keeps_off_the_users_file(tmp_path: Path) -> None:
    with fake_server(tmp_path) as server:
        given = {"PATH": "/bin", "MODAL_CONFIG_PATH": "/users/own", "MODAL_PROFILE": "theirs", "NO_PROXY": "corp"}
        made = client.environment(server.config, ["deploy", "app.py"], given)
        assert made["MODAL_SERVER_URL"] == server.url
    assert (made["MODAL_TOKEN_ID"], made["MODAL_TOKEN_SECRET"]) == TOKEN
    assert made["MODAL_CONFIG_PATH"] == str(tmp_path / "modal.toml")
    assert "MODAL_PROFILE" not in made
    assert made["NO_PROXY"].startswith("corp,")
    assert given["MODAL_PROFILE"] == "theirs"


@pytest.mark.parametrize("verb", ["token", "profile", "config", "setup"])
def test_verbs_about_the_users_configuration_keep_it(verb: str, tmp_path: Path) -> None:
    with fake_server(tmp_path) as server:
        made = client.environment(server.config, [verb, "x"], {"MODAL_CONFIG_PATH": "/users/own", "MODAL_PROFILE": "p"})
    assert (made["MODAL_CONFIG_PATH"], made["MODAL_PROFILE"]) == ("/users/own", "p")


def test_help_needs_no_server(tmp_path: Path) -> None:
    made = client.environment(Config(home=tmp_path), ["deploy", "--help"], {})
    assert "MODAL_SERVER_URL" not in made


def test_signals_and_exit_code_are_the_clients_own(tmp_path: Path) -> None:
    """The process that was `ionian` becomes the client: same pid, its exit code."""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    fake = tmp_path / "venv" / "bin" / "python"
    fake.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 0\necho "pid $$ $2 $3"\nexit 7\n')
    fake.chmod(0o755)
    with fake_server(tmp_path / "home"):
        child = subprocess.Popen(
            [sys.executable, "-m", "ionian", "nonsense", "--home", str(tmp_path / "home"), "argument"],
            env={**os.environ, "VIRTUAL_ENV": str(tmp_path / "venv")},
            stdout=subprocess.PIPE,
            text=True,
        )
        out, _ = child.communicate(timeout=30)
    assert (child.returncode, out) == (7, f"pid {child.pid} nonsense argument\n")
