"""Functions that call others from inside their containers: real clients, real containers, our own runner."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from modal_proto import api_pb2
from modal_proto.api_grpc import ModalClientStub

from tests.e2e.conftest import APPS, NEW, OLD
from tests.e2e.gate import Gate
from tests.e2e.machine import Client, Machine, until

FIRST = "0.64.3"
needs_python_312 = pytest.mark.skipif(sys.version_info >= (3, 13), reason="this client runs on Python up to 3.12")
VERSIONS = [pytest.param(FIRST, marks=needs_python_312), OLD, "1.2.6", NEW]
FORMS = {
    "remote": 9,
    "local": 9,
    "map": [0, 1, 4, 9],
    "starmap": [16, 25],
    "generator": [0, 1, 2],
    "class": 3,
    "class from class": 8,
    "large": 5 * 1024 * 1024,
    "async": 26,
    "async map": [0, 1, 4],
    "is_local": False,
    "spawn": 36,
    "from_id": 36,
    "error": "from below",
    "factorial": 24,
    "handle": 49,
    "spawned": 81,
}
SQUARES = ["square_and_one", "SUCCESS", ["square", "SUCCESS"]]
CALL = """
import json, sys, modal
app, name, *given = sys.argv[1:]
call = modal.Function.from_name(app, name).spawn(*given)
print("id " + call.object_id, flush=True)
print("told " + json.dumps(call.get()))
"""


def _told(said: str) -> Any:
    line = next(line for line in said.splitlines() if line.startswith("told "))
    return json.loads(line.removeprefix("told "))


def _call(machine: Machine, client: Client, app: str, name: str, *given: str) -> list[str]:
    """A command that calls a deployed function with the home's own token."""
    return [str(client.prefix / "bin" / "python"), "-c", CALL, app, name, *given]


@pytest.fixture(scope="module")
def asking(server: Machine, new_client: Client) -> Machine:
    for name in ("inside.py", "asking.py"):
        server.modal(new_client, "deploy", name, cwd=APPS)
    return server


def _pointed(machine: Machine) -> dict[str, str]:
    token = json.loads(machine.config.token_file.read_text())
    return {
        "MODAL_SERVER_URL": machine.server.url,
        "MODAL_TOKEN_ID": token["token_id"],
        "MODAL_TOKEN_SECRET": token["token_secret"],
        "NO_PROXY": "127.0.0.1",
    }


def _ask(machine: Machine, client: Client, app: str, name: str) -> Any:
    command = _call(machine, client, app, name)
    done = subprocess.run(command, env={**machine.environ, **_pointed(machine)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return _told(done.stdout)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_form_of_call(server: Machine, client: Callable[[str], Client], version: str) -> None:
    assert _told(server.modal(client(version), "run", "inside.py", cwd=APPS)) == FORMS


@pytest.mark.parametrize("version", [OLD, NEW])
def test_the_call_graph_is_the_tree_from_its_root(
    server: Machine, client: Callable[[str], Client], version: str
) -> None:
    told = _told(server.modal(client(version), "run", "inside.py", "--what", "graph", cwd=APPS))
    assert told == [["graph", "PENDING", ["leave_tree", "SUCCESS", SQUARES, SQUARES]]]


@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_serialized_function_calls_what_it_closes_over(
    server: Machine, client: Callable[[str], Client], version: str
) -> None:
    assert _told(server.modal(client(version), "run", "asking.py", cwd=APPS)) == 3


def test_another_app_by_name_but_not_in_another_environment(asking: Machine, new_client: Client) -> None:
    told = _ask(asking, new_client, "asking", "names")
    assert told["square"] == 64
    assert told["add"] == 5
    assert "elsewhere" in told["elsewhere"]
    assert "own environment" in told["elsewhere"]


async def _hello(machine: Machine, token: list[str]) -> Status:
    host, port = machine.server.url.removeprefix("http://").split(":")
    channel = Channel(host, int(port))
    metadata = {"x-modal-token-id": token[0], "x-modal-token-secret": token[1], "x-modal-client-version": NEW}
    try:
        await ModalClientStub(channel).FunctionCallGetInfo(
            api_pb2.FunctionCallGetInfoRequest(function_call_id="fc-none"), metadata=metadata
        )
    except GRPCError as error:
        return error.status
    finally:
        channel.close()
    return Status.OK


async def test_a_token_is_its_containers_own_and_ends_with_it(asking: Machine, new_client: Client) -> None:
    first, second = (_ask(asking, new_client, "asking", name) for name in ("token", "token_again"))
    assert first[0] != second[0]
    assert first[1] != second[1]
    for token in (first, second):
        assert await _hello(asking, token) is Status.NOT_FOUND  # let in: there is no such call
    assert await _hello(asking, [first[0], second[1]]) is Status.UNAUTHENTICATED
    _keep_no_secret(asking, first[1])
    asking.modal(new_client, "container", "stop", "-y", first[0].removeprefix("ct-"))
    until(lambda: asking.containers("asking", "token") == 0, "the container to be gone")
    assert await _hello(asking, first) is Status.UNAUTHENTICATED
    assert await _hello(asking, second) is Status.NOT_FOUND


def _keep_no_secret(machine: Machine, secret: str) -> None:
    """Not in the database, the logs, the containers' files or the status. Results are the user's own: not looked at."""
    assert secret not in json.dumps(machine.status())
    for folder in (machine.config.logs, machine.config.run):
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                assert secret.encode() not in path.read_bytes(), path
    assert machine.config.container_key_file.stat().st_mode & 0o777 == 0o600


def test_a_call_that_waits_inside_outlives_a_killed_server(machine: Machine, new_client: Client, held: Gate) -> None:
    machine.up()
    machine.modal(new_client, "deploy", "asking.py", cwd=APPS)
    command = _call(machine, new_client, "asking", "wait_for_child", held.url)
    process = subprocess.Popen(
        command,
        env={**machine.environ, **_pointed(machine)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        held.wait_for(lambda inside: len(inside) == 1, "the child to be at the gate")
        port = str(machine.server.port)
        machine.kill_server()
        machine.up("--port", port)
        held.release()
        said, _ = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert _told(said) == "child says 200"
