"""One server for the whole matrix, clients on several Pythons, and the record of what worked.

``pytest tests/matrix --record-clients docs/clients.json`` writes that record; ``scripts/matrix`` does that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import make_machine, project, server, uv_cache
from tests.e2e.machine import Client
from tests.matrix.clients import Clients, python_of
from tests.matrix.pairs import REFUSED, REFUSING, WORKING, WORKS, Pair

__all__ = ["make_machine", "project", "server", "uv_cache"]

Record = Callable[[Pair, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-clients", metavar="FILE", help="write what worked as JSON; every pair must have been run"
    )


@pytest.fixture(scope="session")
def made_clients(uv_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Clients:
    return Clients(tmp_path_factory.mktemp("clients"), uv_cache)


@pytest.fixture(scope="session")
def client_on(made_clients: Clients) -> Callable[[str, str], Client]:
    """A client of that version on a Python of that series; skips where this machine has no such Python."""

    def get(version: str, series: str) -> Client:
        python = python_of(series)
        if python is None:
            pytest.skip(f"this machine has no Python {series}")
        return made_clients.get(version, series, python)

    return get


@pytest.fixture(scope="session")
def record(request: pytest.FixtureRequest) -> Iterator[Record]:
    """Notes how a pair went; the notes are written at the end when the command line asks for it."""
    results: dict[Pair, str] = {}
    yield results.__setitem__
    file = request.config.getoption("--record-clients", default=None)
    if file is None:
        return
    missing = [str(pair) for pair in (*WORKING, *REFUSING) if pair not in results]
    assert not missing, f"not recorded, because these did not run or failed: {missing}"
    entries = [{**vars(pair), "result": results[pair]} for pair in (*WORKING, *REFUSING)]
    assert {entry["result"] for entry in entries} <= {WORKS, REFUSED}
    Path(file).write_text(json.dumps(entries, indent=1) + "\n")
