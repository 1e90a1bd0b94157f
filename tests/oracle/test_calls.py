"""The same programs under both runners: same results, exceptions, logs and exit codes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.conftest import NEW, OLD
from tests.e2e.machine import Client
from tests.oracle import outcome
from tests.oracle.conftest import Pair

PROGRAMS = (
    "values.py",
    "generators.py",
    "errors.py",
    "at_import.py",
    "exit_at_import.py",
    "missing.py",
    "printing.py",
    "classes.py",
    "calling.py",
    "concurrent.py",
    "cancelled.py",
    "ending.py",
    "batched.py",
    "raising.py",
    "arguments.py",
    "serialized.py",
    "processes.py",
)
OF_OLD = ("values.py", "errors.py", "printing.py", "classes.py", "calling.py")


@pytest.mark.parametrize(
    ("version", "program"), [(NEW, program) for program in PROGRAMS] + [(OLD, program) for program in OF_OLD]
)
def test_same_outcome(pair: Pair, client: Callable[[str], Client], version: str, program: str) -> None:
    real = client(version)
    own, stock = pair.both(lambda machine: outcome.run(machine, real, program))
    assert own.told
    assert own.containers
    assert own.told == stock.told
    assert own.containers == stock.containers
    assert own.code == stock.code
    assert own == stock
