"""Two servers of the same kind: one whose containers have our runner, one with the client's own entrypoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

from tests.e2e.conftest import client, machine, make_machine, uv_cache
from tests.e2e.machine import Machine

__all__ = ["client", "machine", "make_machine", "uv_cache"]

T = TypeVar("T")


class Pair(NamedTuple):
    own: Machine
    stock: Machine

    def both(self, work: Callable[[Machine], T]) -> tuple[T, T]:
        """The same work on both at the same time."""
        with ThreadPoolExecutor(2) as pool:
            own, stock = pool.map(work, self)
        return own, stock


@pytest.fixture(scope="session")
def pair(make_machine: Callable[[Path], Machine], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    machines = Pair(*(make_machine(tmp_path_factory.mktemp(name)) for name in Pair._fields))
    try:
        for name, machine in zip(Pair._fields, machines, strict=True):
            machine.environ["IONIAN_RUNNER"] = name
            machine.up()
        yield machines
    finally:
        for machine in machines:
            machine.close()
