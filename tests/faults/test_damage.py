"""What happens to a home between two starts: files lost or damaged. Each is said, and can be made good."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import APPS
from tests.e2e.machine import Client, Machine


def test_lost_layers_are_built_anew_by_the_next_deploy(machine: Machine, new_client: Client) -> None:
    machine.up()
    machine.modal(new_client, "deploy", "holding.py", cwd=APPS)
    machine.down()
    shutil.rmtree(machine.home / "layers")
    machine.up()
    answer = machine.get("holding", "brief")
    assert answer.status == 502
    assert b"deploy again" in answer.body
    machine.modal(new_client, "deploy", "holding.py", cwd=APPS)
    assert machine.get("holding", "brief").status == 200
    shutil.rmtree(machine.home / "layers")  # now while the server runs
    machine.modal(new_client, "deploy", "holding.py", "--name", "other", cwd=APPS, code=1)
    machine.modal(new_client, "deploy", "holding.py", "--name", "other", cwd=APPS)
    assert machine.get("other", "brief").status == 200


def _damage(path: Path) -> None:
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)


@pytest.mark.parametrize(("name", "advice"), [("ionian.db", "begin anew"), ("token.json", "a new token")])
def test_a_damaged_file_is_named_and_a_new_one_can_be_begun(machine: Machine, name: str, advice: str) -> None:
    machine.up()
    machine.down()
    _damage(machine.home / name)
    for detach in ([], ["--detach"]):
        said = machine.cli("up", "--port", "0", *detach, code=1)
        assert str(machine.home / name) in said
        assert advice in said
        assert "Traceback" not in said
    (machine.home / name).unlink()
    machine.up()
    assert machine.status()["apps"] == []
