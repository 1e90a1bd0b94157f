"""Fixtures for contract tests of the runner: real client environments, and containers that never outlive a test."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.containers import Container, Start


@pytest.fixture(scope="session")
def old_client(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment with the client of early 2025."""
    where = tmp_path_factory.mktemp("client") / "venv"
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"

    def quiet(*args: str) -> None:
        subprocess.run(args, check=True, capture_output=True, text=True, timeout=300)

    quiet(uv, "venv", "-q", "--python", sys.executable, str(where))
    python = str(where / "bin" / "python")
    try:
        quiet(uv, "pip", "install", "-q", "--python", python, "modal==0.73.173")
    except subprocess.CalledProcessError as error:
        if "request" in error.stderr.lower() or "dns" in error.stderr.lower() or "connect" in error.stderr.lower():
            pytest.skip("the package index cannot be reached: " + error.stderr[-300:])
        raise
    return python


@pytest.fixture(params=["newest", "0.73.173"])
def python(request: pytest.FixtureRequest) -> str:
    if request.param == "newest":
        return sys.executable
    found: str = request.getfixturevalue("old_client")
    return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made: list[Container] = []

    def begin(python: str, module: str, **launch: Any) -> Container:
        made.append(Container(tmp_path / str(len(made)), python, module, launch))
        return made[-1]

    yield begin
    for container in made:
        for peer in container.peers:
            peer.close()
        if container.process.poll() is None:
            container.process.kill()
            container.process.wait()
