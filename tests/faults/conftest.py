"""Fixtures of the fault tests: a server of one's own or the shared one, and calls from a real client's Python."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import client, held, holding, machine, make_machine, new_client, project, server, uv_cache
from tests.e2e.machine import Client, Machine

__all__ = ["client", "held", "holding", "machine", "make_machine", "new_client", "project", "server", "uv_cache"]

FAULTY = Path(__file__).parent / "apps"
_CALL = """
import json, sys, modal
app, name, arguments = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
try:
    print("RESULT " + json.dumps(modal.Function.from_name(app, name).remote(*arguments)))
except BaseException as error:
    print("RAISED " + json.dumps([type(error).__name__, str(error)]))
"""


def python_of(machine: Machine, client: Client, *arguments: str) -> list[str]:
    """The command that runs this client's Python, pointed at the machine's server."""
    env = shlex.join([machine.python, "-m", "ionian", "env", "--home", str(machine.home)])
    python = str(client.prefix / "bin" / "python")
    return ["sh", "-c", f'eval "$({env})"; exec {shlex.join([python, *arguments])}']


class Raised(Exception):
    """What ``.remote()`` raised in the client: the name of its type, and its text."""


Call = Callable[..., Any]


@pytest.fixture
def call(new_client: Client) -> Call:
    """``call(machine, app, function, *arguments)``: the result of ``.remote()``, or Raised."""

    def calling(machine: Machine, app: str, function: str, *arguments: Any) -> Any:
        said = machine.command(python_of(machine, new_client, "-c", _CALL, app, function, json.dumps(arguments)))
        found = [line for line in said.splitlines() if line.startswith(("RESULT ", "RAISED "))]
        assert found, said
        kind, _, value = found[-1].partition(" ")
        if kind == "RAISED":
            raise Raised(*json.loads(value))
        return json.loads(value)

    return calling
