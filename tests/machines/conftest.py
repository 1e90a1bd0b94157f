"""Fixtures of the tests on other kinds of machines; without the right to make them, all are skipped, saying why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import client, make_machine, new_client, project, uv_cache
from tests.e2e.machine import Machine
from tests.machines import places
from tests.machines.places import Place

__all__ = ["client", "make_machine", "new_client", "project", "uv_cache"]


@pytest.fixture(scope="session", autouse=True)
def _machines_can_be_made() -> None:
    if reason := places.refusal():
        pytest.skip(reason)


@pytest.fixture
def plain_container(tmp_path: Path) -> Iterator[Place]:
    """Docker's default rights."""
    with places.place(_made(tmp_path / "root-home")) as made:
        yield made


@pytest.fixture
def offline(tmp_path: Path) -> Iterator[Place]:
    """All rights, no network."""
    with places.place(_made(tmp_path / "root-home"), "--namespaces", "--offline") as made:
        yield made


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


@pytest.fixture
def contained(plain_container: Place, make_machine: Callable[[Path], Machine], tmp_path: Path) -> Iterator[Machine]:
    """A home in the plain container, used by its root; not started."""
    machine = make_machine(tmp_path / "contained")
    machine.wrapper = plain_container.wrapper()
    machine.environ["IONIAN_PORT"] = "0"
    yield machine
    machine.close()
