"""One server per runner, with the same app deployed on each by the Python client, and one directory with Node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import client, make_machine, new_client, served, uv_cache
from tests.e2e.machine import Client, Machine
from tests.js.node import Node

__all__ = ["client", "make_machine", "new_client", "uv_cache"]
APP = Path(__file__).parents[1] / "e2e" / "apps" / "javascript.py"


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    return Node.install(tmp_path_factory.mktemp("node"))


@pytest.fixture(scope="session", params=["own", "stock"])
def bare(
    request: pytest.FixtureRequest, make_machine: Callable[[Path], Machine], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """A server with that runner."""
    with served(make_machine, tmp_path_factory.mktemp(f"js-{request.param}"), request.param) as machine:
        yield machine


@pytest.fixture(scope="session")
def machine(bare: Machine, new_client: Client) -> Machine:
    """The same, with the app deployed."""
    bare.modal(new_client, "deploy", str(APP))
    return bare
