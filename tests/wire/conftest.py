"""The stage, and the clients that act on it: the newest from our own environment, an old one from a kept venv."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clients import OLD, python_for
from tests.wire.stage import Stage, stage

NEW_CLIENT = Path(sys.executable).parent

# The client of that time needs an aiohttp of that time: a later one breaks its checksums of large uploads.
OLD_REQUIREMENTS = (f"modal=={OLD}", "aiohttp<3.12")


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Stage]:
    home = tmp_path / "home"
    home.mkdir()
    async with stage(home) as made:
        yield made


@pytest.fixture(scope="session")
def old_client(request: pytest.FixtureRequest) -> Path:
    """The bin directory of a venv with the old client; made once, kept in pytest's cache."""
    assert request.config.cache is not None
    venv = Path(request.config.cache.mkdir(f"client-{OLD}")) / "venv"
    if not (venv / "complete").exists():
        uv = str(NEW_CLIENT / "uv")
        subprocess.run([uv, "venv", "-q", "--clear", "-p", python_for(OLD), str(venv)], check=True)
        subprocess.run([uv, "pip", "install", "-q", "-p", str(venv / "bin/python"), *OLD_REQUIREMENTS], check=True)
        (venv / "complete").touch()
    return venv / "bin"


@pytest.fixture(params=["new", "old"])
def client(request: pytest.FixtureRequest) -> Path:
    """Each of the clients in turn."""
    found: Path = NEW_CLIENT if request.param == "new" else request.getfixturevalue("old_client")
    return found


@pytest.fixture
def new_client() -> Path:
    return NEW_CLIENT


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Where the user's files are."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder
