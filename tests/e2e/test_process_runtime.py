"""The process runtime: files are shown through links that go with the app, and nothing on the host is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.machine import Client, Machine

_APP = """
import modal
app = modal.App("reading")
image = modal.Image.debian_slim().pip_install("fastapi").add_local_file("model.txt", remote_path="{target}")

@app.function(image=image)
@modal.fastapi_endpoint()
def read():
    with open("{target}") as file:
        return file.read()
"""


@pytest.fixture
def processes(machine: Machine) -> Machine:
    machine.environ["IONIAN_RUNTIME"] = "process"
    machine.up()
    assert machine.server.isolation == "process"
    return machine


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "shown").mkdir()
    return tmp_path / "shown" / "model.txt"


def _project(directory: Path, target: Path) -> Path:
    project = directory / "project"
    project.mkdir()
    (project / "model.txt").write_text("the model")
    (project / "app.py").write_text(_APP.format(target=target))
    return project


def test_a_mounted_file_is_a_link_that_goes_with_the_app(
    processes: Machine, new_client: Client, tmp_path: Path, target: Path
) -> None:
    project = _project(tmp_path, target)
    processes.modal(new_client, "deploy", "app.py", cwd=project)
    assert processes.get("reading", "read").json() == "the model"
    assert target.is_symlink()
    processes.modal(new_client, "app", "stop", "--yes", "reading")
    assert not target.is_symlink()
    assert target.parent.is_dir()


def test_an_existing_path_is_refused_by_name_and_kept(
    processes: Machine, new_client: Client, tmp_path: Path, target: Path
) -> None:
    target.write_text("precious")
    said = processes.modal(new_client, "deploy", "app.py", cwd=_project(tmp_path, target), code=1)
    assert str(target) in said.replace("\n", "").replace("│", "").replace(" ", "")
    assert target.read_text() == "precious"
    assert not target.is_symlink()


def test_links_go_with_the_server_and_come_back(
    processes: Machine, new_client: Client, tmp_path: Path, target: Path
) -> None:
    project = _project(tmp_path, target)
    for _ in range(2):
        processes.modal(new_client, "deploy", "app.py", cwd=project)
        assert processes.get("reading", "read").json() == "the model"
    processes.down()
    assert not target.is_symlink()
    processes.up()
    assert processes.get("reading", "read").json() == "the model"
    processes.modal(new_client, "app", "stop", "--yes", "reading")
    assert not target.is_symlink()
