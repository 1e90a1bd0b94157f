"""Fixtures of the end-to-end tests: real clients in venvs of their own, one shared server, homes for single tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ionian.config import Config
from ionian.images.uvtool import uv_tool
from tests.clients import OLD, python_for
from tests.e2e import leftovers
from tests.e2e.gate import Gate, gate
from tests.e2e.machine import Client, Machine, clean_environ, until

ROOT = Path(__file__).parents[2]
__all__ = ["OLD"]
IRIS = ROOT / "examples" / "iris"
APPS = Path(__file__).parent / "apps"
NEW = "1.6.4"


@pytest.fixture(scope="session")
def uv_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all homes and venvs of a test run, so that a package is fetched once."""
    cache = tmp_path_factory.mktemp("uv") / "uv-cache"
    cache.mkdir()
    return cache


def _uv(cache: Path, *arguments: str, cwd: Path | None = None) -> str:
    tool = uv_tool(Config(home=cache.parent), clean_environ())
    command = [str(tool.binary), *arguments]
    done = subprocess.run(command, cwd=cwd, env=tool.environ, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


def install(version: str, cache: Path, prefix: Path, *options: str) -> Client:
    """A real client of that version in a new venv. ``options``: for ``uv pip install``."""
    _uv(cache, "venv", "--quiet", "--python", python_for(version), str(prefix))
    _uv(cache, "pip", "install", "--quiet", "--python", str(prefix), *options, f"modal=={version}")
    return Client(version, prefix)


@pytest.fixture(scope="session")
def client(uv_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Client]:
    """A real client of that version, installed once a session."""
    made: dict[str, Client] = {}

    def get(version: str) -> Client:
        if version not in made:
            made[version] = install(version, uv_cache, tmp_path_factory.mktemp(f"client-{version}") / "venv")
        return made[version]

    return get


@pytest.fixture(scope="session")
def new_client(client: Callable[[str], Client]) -> Client:
    return client(NEW)


@pytest.fixture(scope="session")
def project(uv_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the iris example with its model trained by its own train.py."""
    directory = tmp_path_factory.mktemp("project") / "iris"
    shutil.copytree(IRIS, directory, ignore=shutil.ignore_patterns("*.pkl", "__pycache__"))
    said = _uv(uv_cache, "run", "--no-project", "--python", sys.executable, "--script", "train.py", cwd=directory)
    assert "accuracy" in said
    return directory


@pytest.fixture(scope="session")
def make_machine(uv_cache: Path) -> Callable[[Path], Machine]:
    """A machine in that directory, not started."""

    def make(directory: Path) -> Machine:
        home = directory / "home"
        home.mkdir(parents=True)
        (home / "uv-cache").symlink_to(uv_cache)
        return Machine(home, directory / "user")

    return make


def stopped_without_trace(machine: Machine) -> None:
    machine.close()
    until(lambda: not leftovers.find(machine.config), f"nothing left; left: {leftovers.find(machine.config)}", 10)
    if machine.config.run.parent != machine.home:
        shutil.rmtree(machine.config.run, ignore_errors=True)


@contextmanager
def served(make_machine: Callable[[Path], Machine], place: Path, runner: str) -> Iterator[Machine]:
    """A server of its own with that runner, which leaves nothing behind."""
    machine = make_machine(place)
    machine.environ["IONIAN_RUNNER"] = runner
    machine.up()
    yield machine
    stopped_without_trace(machine)


@pytest.fixture(scope="session")
def server(make_machine: Callable[[Path], Machine], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The server that most tests share."""
    machine = make_machine(tmp_path_factory.mktemp("shared"))
    machine.up()
    yield machine
    stopped_without_trace(machine)


@pytest.fixture
def machine(make_machine: Callable[[Path], Machine], tmp_path: Path) -> Iterator[Machine]:
    """A home of its own for one test, not started; whatever runs on it at the end is stopped without a trace."""
    made = make_machine(tmp_path)
    yield made
    stopped_without_trace(made)


@pytest.fixture
def held() -> Iterator[Gate]:
    with gate() as made:
        yield made


@pytest.fixture(scope="session")
def holding(server: Machine, new_client: Client) -> Machine:
    """The shared server with apps/holding.py deployed."""
    server.modal(new_client, "deploy", "holding.py", cwd=APPS)
    return server
