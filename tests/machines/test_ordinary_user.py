"""The two commands of README as an ordinary user, in a fresh checkout, with the environment of a fresh login."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import leftovers
from tests.e2e.machine import COMMAND_TIMEOUT_S, Machine
from tests.machines import places
from tests.machines.places import NAMELESS, NOBODY, SCRIPT, Place

_ELSEWHERE = """
import modal
app = modal.App("elsewhere")
image = modal.Image.debian_slim().pip_install("fastapi").add_local_file("iris_model.pkl", remote_path="{place}")

@app.function(image=image)
@modal.fastapi_endpoint()
def read():
    return open("{place}").read()
"""


@pytest.fixture(scope="module")
def checkout() -> Iterator[Path]:
    """Nobody's fresh clone, in a directory that is nobody's too."""
    with places.users_directory(NOBODY) as directory:
        yield places.checkout(directory, NOBODY)


def _as(uid: int) -> tuple[str, ...]:
    return (*SCRIPT, "--namespaces", "--user", str(uid), "--")


def _run(command: list[str], checkout: Path) -> str:
    home = checkout.parent / "login"
    home.mkdir(exist_ok=True)
    os.chown(home, NOBODY, NOBODY)
    done = subprocess.run(
        [*_as(NOBODY), *command],
        cwd=checkout,
        env=places.bare_environ(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=COMMAND_TIMEOUT_S,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def set_up(checkout: Path) -> Path:
    """After ``scripts/setup``."""
    _run(["scripts/setup"], checkout)
    return checkout


def test_first_command(set_up: Path) -> None:
    said = _run(["scripts/demo", "--once"], set_up)
    assert "isolation: namespaces" in said
    assert "is setosa; 6 of 6 right" in said
    assert "setup:" not in said  # a second setup does nothing
    login = set_up.parent / "login"
    assert {path.name for path in login.iterdir()} <= {".ionian", ".cache"}
    machine = Machine(login / ".ionian", login)
    assert leftovers.find(machine.config) == []


def test_second_command(set_up: Path) -> None:
    """Its parts: all of it would be this, too."""
    _run(["scripts/setup", "--dev"], set_up)
    said = _run(
        [".venv/bin/python", "-m", "pytest", "tests/unit/test_plan.py", "tests/contract/test_runner.py"], set_up
    )
    assert " passed" in said


@pytest.fixture
def machine(set_up: Path, plain_container: Place) -> Iterator[Machine]:
    """A user without a name, in a plain container."""
    with places.users_directory(NAMELESS) as directory:
        wrapper = plain_container.wrapper("--user", str(NAMELESS))
        made = places.users_machine(directory, set_up / ".venv/bin/python", wrapper)
        yield made
        made.close()
        assert leftovers.find(made.config) == []


def test_in_a_plain_container(machine: Machine, set_up: Path) -> None:
    project = machine.user_home / "project"
    project.mkdir()
    for name in ("app_modal.py", "sample_data.json"):
        (project / name).write_bytes((set_up / "examples/iris" / name).read_bytes())
    (project / "iris_model.pkl").write_bytes(b"a model")
    (project / "app.py").write_text(_ELSEWHERE.format(place=machine.user_home / "shown.txt"))
    assert "isolation  process (reduced: " in machine.up()
    said = " ".join(machine.cli("deploy", "app_modal.py", cwd=project, code=1).split())
    assert "cannot provide /root/iris_model.pkl: no permission to write to /root" in said
    assert "Mount it where this user may write, such as /tmp/iris_model.pkl, or run Ionian as root, or where" in said
    assert "App deployed" in machine.cli("deploy", "app.py", cwd=project)
    assert machine.get("elsewhere", "read").json() == "a model"


def test_where_namespaces_open_without_rights_in_them(set_up: Path) -> None:
    """As on Ubuntu 24.04."""
    with places.users_directory(NAMELESS) as directory:
        wrapper = (*SCRIPT, "--no-mounts", "--user", str(NAMELESS), "--")
        machine = places.users_machine(directory, set_up / ".venv/bin/python", wrapper)
        said = machine.up()
        machine.close()
    assert "isolation  process (reduced: " in said
    assert "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0" in said
