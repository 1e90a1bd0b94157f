"""Homes and environments that are no reason to fail: long and odd paths, no UTF-8, a strict umask, a dead proxy."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import stopped_without_trace
from tests.e2e.machine import Client, Machine

_APP = """
import modal
app = modal.App("awkward")
image = modal.Image.debian_slim().pip_install("fastapi")

@app.function(image=image)
@modal.fastapi_endpoint()
def read():
    return "read"
"""
_NO_UTF8: dict[str, Any] = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
_DEAD_PROXY = dict.fromkeys(("HTTP_PROXY", "http_proxy"), "http://127.0.0.1:9")


@pytest.fixture(params=["auto", "process"])
def machine(
    make_machine: Callable[[Path], Machine], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Machine]:
    made = make_machine(tmp_path / "a 'home' é" / ("x" * 120))
    made.environ |= {"IONIAN_RUNTIME": request.param, "PYTHONDONTWRITEBYTECODE": "1", **_DEAD_PROXY}
    made.wrapper = ("env", "-u", "HOME", "sh", "-c", 'umask 077; exec "$@"', "sh")
    yield made
    stopped_without_trace(made)


def test_all_at_once(machine: Machine, new_client: Client, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(_APP)
    (machine.home / "uv-cache").rename(tmp_path / "uv-cache")
    machine.home.rmdir()  # to see how it is made
    machine.cli("up", "--detach", "--port", "0", **_NO_UTF8)
    assert stat.S_IMODE(machine.home.stat().st_mode) == 0o700
    (tmp_path / "uv-cache").rename(machine.home / "uv-cache")
    said = machine.cli("deploy", "app.py", cwd=tmp_path, VIRTUAL_ENV=str(new_client.prefix), **_NO_UTF8)
    assert "Created function read" in said or "Created Function read" in said
    assert "?" in said  # where a tick would be
    assert machine.get("awkward", "read").json() == "read"
    assert "App deployed" in machine.modal(new_client, "deploy", "app.py", "--name", "again", cwd=tmp_path)
    assert machine.get("again", "read").json() == "read"
    assert "again" in machine.cli("status", **_NO_UTF8)
