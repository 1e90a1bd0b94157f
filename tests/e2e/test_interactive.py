"""``modal run -i`` with a person at the terminal: debugger, questions, Ctrl-C, Ctrl-D."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.e2e.conftest import APPS, NEW, OLD, stopped_without_trace
from tests.e2e.machine import Client, Machine, until
from tests.e2e.typist import COLUMNS, CTRL_C, CTRL_D, ENTER, ROWS, Typist, modal_on_terminal

Run = Callable[[str], AbstractContextManager[Typist]]
WAYS = {"own": {}, "stock": {"IONIAN_RUNNER": "stock"}, "process": {"IONIAN_RUNTIME": "process"}}


@pytest.fixture(scope="module", params=WAYS)
def desk(
    request: pytest.FixtureRequest, make_machine: Callable[[Path], Machine], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """A server that runs functions in that way."""
    machine = make_machine(tmp_path_factory.mktemp(f"desk-{request.param}"))
    machine.environ.update(WAYS[request.param])
    machine.up()
    yield machine
    stopped_without_trace(machine)


@pytest.fixture(params=[NEW, OLD])
def run(request: pytest.FixtureRequest, desk: Machine, client: Callable[[str], Client]) -> Run:
    """``modal run -i interactive.py::NAME`` with that client."""
    real = client(request.param)
    return lambda name: modal_on_terminal(desk, real, "run", "-i", f"interactive.py::{name}", cwd=str(APPS))


def test_a_debugging_session(run: Run) -> None:
    with run("debug") as typist:
        typist.sees("a line before", "x += 1", "(Pdb) ")
        assert typist.is_raw()
        typist.types(f"p x{ENTER}")
        typist.sees("41", "(Pdb) ")
        typist.types(f"n{ENTER}")
        typist.sees("(Pdb) ")
        typist.types(f"p x, 'ä'{ENTER}")
        typist.sees("(42, 'ä')", "(Pdb) ")
        typist.types(f"c{ENTER}")
        typist.sees("the end: 42")
        assert typist.ends()[0] == 0
        assert not typist.is_raw()


def test_questions_the_size_and_two_keys(run: Run) -> None:
    with run("ask") as typist:
        typist.sees("a line before", "name? ")
        typist.types(f"Ada{ENTER}")
        typist.sees(f"hello Ada, {ROWS} lines of {COLUMNS}, xterm, True", "no newline here")
        typist.types(CTRL_D)
        typist.sees("-> end of file", "sleeping")
        typist.types(CTRL_C)
        typist.sees("interrupted")
        assert typist.ends()[0] == 0


def test_ctrl_c_leads_back_into_the_debugger(run: Run, desk: Machine) -> None:
    with run("run_on") as typist:
        typist.sees("(Pdb) ")
        typist.types(CTRL_C)
        typist.sees("--KeyboardInterrupt--", "(Pdb) ")
        typist.types(f"c{ENTER}")
        typist.sees("c\r\n")
        until(lambda: desk.containers("interactive", "run_on") == 1, "a container")
        typist.types(CTRL_C)
        typist.sees("Program interrupted", "(Pdb) ")
        typist.types(f"q{ENTER}")
        code, shown = typist.ends()
        assert code != 0
        assert "BdbQuit" in shown
    until(lambda: desk.containers("interactive", "run_on") == 0, "the container to be gone")


def test_one_container_and_no_retries(run: Run, desk: Machine) -> None:
    with run("fail") as typist:
        typist.sees("(Pdb) ")
        assert desk.containers("interactive", "fail") == 1
        typist.types(f"c{ENTER}")
        code, shown = typist.ends()
        assert code != 0
        assert "it went wrong" in shown
        assert "(Pdb)" not in shown
    with run("many") as typist:
        typist.sees("containers: 1\r\n")
        assert typist.ends()[0] == 0


def test_a_terminal_that_is_closed_ends_the_app(run: Run, desk: Machine) -> None:
    with run("debug") as typist:
        typist.sees("(Pdb) ")
        typist.types(f"!import os; os._exit(3){ENTER}")
        code, _ = typist.ends()
        assert code != 0
        assert not typist.is_raw()


@pytest.mark.parametrize("version", [NEW, OLD])
def test_without_a_terminal_the_debugger_says_so(desk: Machine, client: Callable[[str], Client], version: str) -> None:
    said = desk.modal(client(version), "run", "interactive.py::debug", cwd=APPS, code=1)
    assert "Cannot use breakpoint() without running Modal in interactive mode." in said
    said = desk.modal(client(version), "run", "interactive.py::ask", cwd=APPS, code=1)
    assert "Cannot use modal.interact() without running Modal in interactive mode." in said
