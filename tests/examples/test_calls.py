"""Every program of examples/calls, as a newcomer runs it: what it prints is what it says it shows."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.e2e.conftest import NEW, OLD
from tests.e2e.machine import Client, Machine, until
from tests.examples.conftest import CALLS, RUNNERS, Case, Ran, run
from tests.examples.expected import NOT_OF_OLD, PRINTED

ALONE = [program for program in PRINTED if program != "inside.py"]  # that one is run with what by_name.py deploys
CASES = [(runner, NEW, program) for program in ALONE for runner in RUNNERS]
CASES += [("own", OLD, program) for program in ALONE if program not in NOT_OF_OLD]


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_program_prints_what_it_shows(case: Case, ran: Callable[[Case], Ran]) -> None:
    done = ran(case)
    assert _without_warnings(done.said) == PRINTED[case[2]], done.complained
    assert done.code == 0, done.complained


def _without_warnings(said: str) -> str:
    """Old clients print boxes of deprecations, which -q does not stop."""
    return "".join(line for line in said.splitlines(keepends=True) if line[0] not in "╭│╰")


@pytest.mark.parametrize("version", [NEW, OLD])
@pytest.mark.parametrize("runner", RUNNERS)
def test_a_deployed_function_is_called_by_its_name(
    machines: dict[str, Machine], client: Callable[[str], Client], runner: str, version: str
) -> None:
    machine, real = machines[runner], client(version)
    assert run(machine, real, "modal", "deploy", "by_name.py").code == 0
    *lines, call, missing = run(machine, real, "python", "by_name.py").said.splitlines()
    assert lines == ["remote: 42", "map: [0, 2, 4, 6]"]
    assert missing == "triple: not found"
    call_id = call.removeprefix("id: ")
    for _ in range(2):  # results stay
        assert run(machine, real, "python", "by_name.py", call_id).said == "result: 100\n"
    inside = run(machine, real, "modal", "run", "-q", "inside.py", "--other-app", "calls-by-name")
    assert inside.said == PRINTED["inside.py"] + "another app: 42\n", inside.complained


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_detached_program_leaves_its_inputs_to_the_server(
    machines: dict[str, Machine], client: Callable[[str], Client], runner: str
) -> None:
    machine = machines[runner]
    done = run(machine, client(NEW), "modal", "run", "--detach", "spawn_many.py")
    assert "spawn_map: accepted" in done.said
    app_id = re.findall(r"ap-\w+", done.said)[0]
    noted = ("noted one", "noted two", "noted three")
    until(lambda: all(line in machine.cli("logs", app_id, "-n", "0") for line in noted), f"{noted} in the log")


def test_every_program_is_here() -> None:
    programs = {path.name for path in CALLS.glob("*.py")}
    assert programs == {*PRINTED, "by_name.py", "javascript.py"}
    for program in programs - {"javascript.py"}:
        first = (CALLS / program).read_text().splitlines()[0]
        assert f"{program}`" in first, f"the first line of {program} says how to run it"
