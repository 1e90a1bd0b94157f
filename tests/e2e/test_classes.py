"""Classes: parameters, hooks, web methods beside calls, autoscaling; real clients, real containers, both runners."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import APPS, ROOT, served
from tests.e2e.machine import COMMAND_TIMEOUT_S, Client, Machine, until

EXAMPLES = ROOT / "examples" / "classes"
RUN = {
    "lifecycle.py": """\
written: 3 4
read: ['begin', 'load', 'hello', 'again']
inherited: ['begin', 'load', 'hello', 'again']
a failed start reaches the caller: no weights
""",
    "parameters.py": """\
Hello, Ada. (number 1)
Bonjour, Alan! (number 1)
Hello, Grace. (number 2)
refused: TypeError
""",
    "options.py": """\
with_options(timeout=1): over
the class itself: 1.5
with_concurrency(max_inputs=4): at once
with_batching(max_batch_size=3): ['1 of 3', '2 of 3', '3 of 3']
""",
}
DEPLOYED = {
    "by_name.py": """\
from here: 3 points - 7 points
with a parameter: 10 seconds
from a container: ['0 goals', '1 goals', '3 goals', '6 goals']
""",
    "website.py": """\
call: 1 2
endpoint: {'names': ['Ada', 'Alan']}
asgi: "Ada"
wsgi: 2 guests
""",
    "autoscaling.py": """\
how? small!
idle for two seconds: 0
now: 2 3 2
kept warm: 2
and no more: 0
""",
}
FIND = """
import json, modal

def find(name):
    return modal.Cls.from_name("e2e-classes", name)

def scaled(found):
    return [found.min_containers, found.max_containers, found.scaledown_window]

"""


@pytest.fixture(scope="module", params=["own", "stock"])
def place(
    request: pytest.FixtureRequest, make_machine: Callable[[Path], Machine], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """A server with that runner."""
    with served(make_machine, tmp_path_factory.mktemp(f"classes-{request.param}"), request.param) as machine:
        yield machine


@pytest.fixture(scope="module")
def classes(place: Machine, new_client: Client) -> Machine:
    """The same, with apps/classes.py deployed."""
    place.modal(new_client, "deploy", "classes.py", cwd=APPS)
    return place


def _start(machine: Machine, client: Client, *command: str, cwd: Path) -> subprocess.Popen[str]:
    program, *arguments = command
    return subprocess.Popen(
        [str(client.prefix / "bin" / program), *arguments],
        cwd=cwd,
        env={**machine.environ, **machine.variables()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def _said(process: subprocess.Popen[str]) -> str:
    said, complained = process.communicate(timeout=COMMAND_TIMEOUT_S)
    assert process.returncode == 0, said + complained
    return said


def _ask(machine: Machine, client: Client, expression: str) -> Any:
    """The value of an expression in which ``find`` looks up a class of the deployed app."""
    program = f"{FIND}print(json.dumps({expression}))"
    return json.loads(_said(_start(machine, client, "python", "-W", "ignore", "-c", program, cwd=machine.user_home)))


def _logs(machine: Machine, client: Client) -> list[str]:
    return machine.modal(client, "app", "logs", "e2e-classes").splitlines()


@pytest.mark.parametrize("program", RUN)
def test_examples_that_are_run(place: Machine, new_client: Client, program: str) -> None:
    said = _said(_start(place, new_client, "modal", "run", "-q", program, cwd=EXAMPLES))
    assert said.endswith(RUN[program])  # a first build is shown even so


@pytest.mark.parametrize("program", DEPLOYED)
def test_examples_that_are_deployed(place: Machine, new_client: Client, program: str) -> None:
    place.modal(new_client, "deploy", program, cwd=EXAMPLES)
    assert _said(_start(place, new_client, "python", "-W", "ignore", program, cwd=EXAMPLES)) == DEPLOYED[program]


def test_a_bound_class_is_the_same_after_a_killed_server_and_a_redeploy(
    classes: Machine, new_client: Client, tmp_path: Path
) -> None:
    ask = "find('Kept')(who='x', times=2).where.remote()"
    first = _ask(classes, new_client, ask)
    assert first[1:] == ["xx", "one"]
    assert _ask(classes, new_client, "find('Kept')(times=2, who='x').where.remote()") == first
    assert _ask(classes, new_client, "find('Kept')(who='x').where.remote()")[0] != first[0]
    find_id = "find('Kept')(who='x', times=2).where.hydrate().object_id"
    function_id = _ask(classes, new_client, find_id)
    listed = [function["name"] for app in classes.status()["apps"] for function in app["functions"]]
    assert "Kept.* (who='x', times=2)" in listed
    classes.kill_server()
    classes.up()
    assert _ask(classes, new_client, ask) == first  # its container lived on
    changed = tmp_path / "classes.py"
    shutil.copy(APPS / "classes.py", changed)
    changed.write_text(changed.read_text().replace('WORD = "one"', 'WORD = "two"'))
    classes.modal(new_client, "deploy", "classes.py", cwd=tmp_path)
    now = _ask(classes, new_client, ask)
    assert now[1:] == ["xx", "two"]
    assert now[0] != first[0]
    assert _ask(classes, new_client, find_id) == function_id
    classes.modal(new_client, "deploy", "classes.py", cwd=APPS)


def test_hooks_run_in_order_and_at_every_end(classes: Machine, new_client: Client) -> None:
    def told(who: str) -> list[str]:
        return [line.removesuffix(f" {who}") for line in _logs(classes, new_client) if line.endswith(f" {who}")]

    work = "find('Telling')(who={!r}).work.remote()"
    whole = ["enter one", "enter two", "work", "exit"]
    assert _ask(classes, new_client, work.format("idle")) == "idle"
    until(lambda: told("idle") == whole, "the exit hook of an idle container")
    assert _ask(classes, new_client, work.format("redeployed")) == "redeployed"
    classes.modal(new_client, "app", "rollover", "e2e-classes", code=None)
    until(lambda: told("redeployed") == whole, "the exit hook at a redeploy")


def test_one_container_has_requests_and_calls_within_its_limit(classes: Machine, new_client: Client) -> None:
    for name, wait_s, seen in (("Together", 60, 2), ("Alone", 1.5, 1)):
        _ask(classes, new_client, f"find({name!r})().call.remote(0)")
        code = f"{FIND}print(json.dumps(find({name!r})().call.remote({wait_s})))"
        calling = _start(classes, new_client, "python", "-c", code, cwd=classes.user_home)
        page = classes.get("e2e-classes", f"{name.lower()}-page", f"?wait_s={wait_s}").json()
        call = json.loads(_said(calling))
        assert call[0] == page[0]
        assert max(call[1], page[1]) == seen, name


def test_autoscaling_is_kept_over_a_restart_until_the_next_deploy(classes: Machine, new_client: Client) -> None:
    def settings(**changed: int) -> Any:
        given = ", ".join(f"{name}={value}" for name, value in changed.items())
        return _ask(classes, new_client, f"scaled(find('Kept')(who='scaled').update_autoscaler({given}))")

    assert settings(min_containers=1, max_containers=4) == [1, 4, 600]
    classes.kill_server()
    classes.up()
    assert settings(scaledown_window=300) == [1, 4, 300]
    classes.modal(new_client, "deploy", "classes.py", cwd=APPS)
    assert settings() == [0, None, 600]
