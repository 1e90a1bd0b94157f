"""``modal run -i`` with a person at the terminal: debugger, questions, Ctrl-C, Ctrl-D."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.e2e.conftest import APPS, NEW, OLD, stopped_without_trace
from tests.e2e.machine import Client, Machine, until
from tests.e2e.typist import COLUMNS, CTRL_C, CTRL_D, ENTER, ROWS, Typist, modal_on_terminal

Run = Callable[[str], AbstractContextManager[Typist]]
Desks = Callable[[str], Machine]
WAYS = {"own": {}, "stock": {"IONIAN_RUNNER": "stock"}, "process": {"IONIAN_RUNTIME": "process"}}
PLACES = [("own", NEW), ("own", OLD), ("stock", NEW), ("stock", OLD), ("process", NEW)]


@pytest.fixture(scope="module")
def desks(make_machine: Callable[[Path], Machine], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desks]:
    """One server for each way to run functions."""
    made: dict[str, Machine] = {}

    def get(way: str) -> Machine:
        if way not in made:
            made[way] = make_machine(tmp_path_factory.mktemp(f"desk-{way}"))
            made[way].environ.update(WAYS[way])
            made[way].up()
        return made[way]

    yield get
    for machine in made.values():
        stopped_without_trace(machine)


@pytest.fixture(params=PLACES, ids="-".join)
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """How functions run, and the version of the client."""
    found: tuple[str, str] = request.param
    return found


@pytest.fixture
def desk(desks: Desks, place: tuple[str, str]) -> Machine:
    return desks(place[0])


@pytest.fixture
def real(client: Callable[[str], Client], place: tuple[str, str]) -> Client:
    return client(place[1])


@pytest.fixture
def run(desk: Machine, real: Client) -> Run:
    """``modal run -i interactive.py::NAME``."""
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


def test_a_program_that_ends_at_the_prompt_gives_the_terminal_back(run: Run) -> None:
    with run("debug") as typist:
        typist.sees("(Pdb) ")
        typist.types(f"!import os; os._exit(3){ENTER}")
        code, _ = typist.ends()
        assert code != 0
        assert not typist.is_raw()


def test_without_a_terminal_both_say_so(desk: Machine, real: Client) -> None:
    said = desk.modal(real, "run", "interactive.py::refused", cwd=APPS)
    assert "Cannot use breakpoint() without running Modal in interactive mode." in said
    assert "Cannot use modal.interact() without running Modal in interactive mode." in said


def test_a_killed_worker_takes_the_session_along(run: Run, desk: Machine) -> None:
    with run("run_on") as typist:
        typist.sees("(Pdb) ")
        worker = int((desk.config.run / "worker.lock").read_text())
        os.kill(worker, signal.SIGKILL)
        assert typist.ends()[0] != 0
        assert not typist.is_raw()
    until(lambda: desk.containers("interactive", "run_on") == 0, "the container to be gone")
