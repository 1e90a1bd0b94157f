"""A client that is newer than all we know: deploys with a warning, and runs by its own entrypoint."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ionian.images.uvtool import uv_tool
from tests.e2e.conftest import NEW, install
from tests.e2e.machine import Client, Machine
from tests.oracle import outcome

FUTURE = "1.99.0"
WARNING = f"client {FUTURE} is newer than this"


def _wheel(real: Client, folder: Path) -> None:
    """The installed client as a wheel that says it is newer."""
    (packages,) = real.prefix.glob("lib/python*/site-packages")
    old, new = f"modal-{NEW}.dist-info", f"modal-{FUTURE}.dist-info"
    names = [line.split(",")[0] for line in (packages / old / "RECORD").read_text().splitlines()]
    kept = [name for name in names if not name.startswith("..") and "__pycache__" not in name]
    folder.mkdir()
    with zipfile.ZipFile(folder / f"modal-{FUTURE}-py3-none-any.whl", "w") as wheel:
        for name in kept:
            data = (packages / name).read_bytes()
            if name == "modal_version/__init__.py":
                data = data.replace(f'"{NEW}"'.encode(), f'"{FUTURE}"'.encode())
            elif name == f"{old}/METADATA":
                data = data.replace(f"\nVersion: {NEW}\n".encode(), f"\nVersion: {FUTURE}\n".encode())
            elif name == f"{old}/RECORD":
                data = "".join(f"{kept_name.replace(old, new)},,\n" for kept_name in kept).encode()
            wheel.writestr(name.replace(old, new), data)


@pytest.fixture
def links(client: Callable[[str], Client], tmp_path: Path) -> Path:
    _wheel(client(NEW), tmp_path / "links")
    return tmp_path / "links"


def test_future_client_runs_itself_with_a_warning(
    links: Path, machine: Machine, uv_cache: Path, tmp_path: Path
) -> None:
    future = install(FUTURE, uv_cache, tmp_path / "venv", "--find-links", str(links))
    present = uv_tool(machine.config, machine.environ).environ.get("UV_FIND_LINKS")
    machine.environ["UV_FIND_LINKS"] = ",".join(filter(None, (present, str(links))))
    machine.up()
    came = outcome.run(machine, future, "classes.py")
    assert came.code == 0
    assert "again: 13" in came.told
    for container in came.containers:
        assert WARNING in container[0][1]
    said = machine.modal(future, "deploy", "concurrent.py", cwd=outcome.PROGRAMS)
    assert WARNING in " ".join(said.replace("│", " ").split())
