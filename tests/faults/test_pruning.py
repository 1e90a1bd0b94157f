"""What a home no longer needs can go; what it needs stays."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.machine import Client, Machine, until
from tests.faults.conftest import FAULTY

_APP = 'modal.Image.debian_slim().env({{"A": "{0}"}}).workdir("/made/{0}")'


def _deploy(machine: Machine, client: Client, directory: Path, name: str) -> None:
    source = (FAULTY / "counted.py").read_text().replace('modal.App("counted")', f'modal.App("{name}")')
    (directory / "app.py").write_text(source.replace("modal.Image.debian_slim()", _APP.format(name)))
    machine.modal(client, "deploy", "app.py", cwd=directory)


def _layers(machine: Machine) -> set[str]:
    return {path.parent.name for path in machine.config.layers.glob("*/meta.json")}


def test_layers_that_nothing_needs_go_and_others_stay(machine: Machine, new_client: Client, tmp_path: Path) -> None:
    machine.up()
    _deploy(machine, new_client, tmp_path, "goes")
    going = _layers(machine)
    _deploy(machine, new_client, tmp_path, "stays")
    assert machine.get("stays", "answer").status == 200
    machine.modal(new_client, "app", "stop", "--yes", "goes")
    assert "ionian down" in machine.cli("prune", code=1)
    machine.down()
    before = _layers(machine)
    machine.cli("prune")
    assert _layers(machine) == before  # its build is recent
    assert "removed" in machine.cli("prune", "--days", "0")
    assert going
    assert _layers(machine) == before - going
    machine.up()
    assert machine.get("stays", "answer").body == b"0"
    _deploy(machine, new_client, tmp_path, "goes")
    assert machine.get("goes", "answer").body == b"0"


def test_logs_of_a_stopped_app_go_when_their_time_is_over(machine: Machine, new_client: Client, tmp_path: Path) -> None:
    machine.environ["IONIAN_LOG_RETENTION_S"] = "1"
    machine.up()
    for name in ("goes", "stays"):
        _deploy(machine, new_client, tmp_path, name)
        machine.modal(new_client, "run", "app.py::square", "--number", "1", cwd=tmp_path)
    ids = {app["name"]: app["app_id"] for app in machine.status()["apps"]}
    for app_id in ids.values():
        (machine.config.logs / app_id).mkdir(exist_ok=True)
    machine.modal(new_client, "app", "stop", "--yes", "goes")
    until(lambda: not (machine.config.logs / ids["goes"]).exists(), "the logs of the stopped app to be gone", 60)
    assert (machine.config.logs / ids["stays"]).exists()
    assert machine.get("stays", "answer").status == 200
