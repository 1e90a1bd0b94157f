"""What programs do besides the web, with every client: calls, map, spawn, classes, generators, errors, look-ups."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.machine import Client, Machine
from tests.matrix.pairs import CLIENTS, SERIES

PROGRAM = """
import modal

app = modal.App("matrix-calls")

@app.function()
def square(x):
    if x < 0:
        raise ValueError(f"{x} is too small")
    return x * x

@app.function()
def count(n):
    yield from range(n)

@app.cls()
class Model:
    @modal.enter()
    def load(self):
        self.base = 40

    @modal.method()
    def add(self, x):
        return self.base + x

    @modal.method()
    def upwards(self, n):
        for i in range(n):
            yield self.base + i

@app.local_entrypoint()
def main(n: int):
    print("call:", square.remote(n))
    print("map:", sorted(square.map(range(n))))
    print("spawn:", square.spawn(9).get())
    print("generator:", list(count.remote_gen(n)))
    print("class:", Model().add.remote(n), list(Model().upwards.remote_gen(n)))
    try:
        square.remote(-n)
    except ValueError as error:
        print("error:", error)
"""
PRINTED = [
    "call: 9",
    "map: [0, 1, 4]",
    "spawn: 81",
    "generator: [0, 1, 2]",
    "class: 43 [40, 41, 42]",
    "error: -3 is too small",
]
LOOK_UP = """
import modal

def find(kind, name):
    return (getattr(kind, "lookup", None) or kind.from_name)("matrix-calls", name)

model = find(modal.Cls, "Model")()
print("found:", find(modal.Function, "square").remote(4), model.add.remote(2), list(model.upwards.remote_gen(1)))
"""


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, client_on: Callable[[str, str], Client]) -> Client:
    return client_on(request.param, SERIES[0])


def test_calls_of_every_kind(server: Machine, client: Client, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    said = server.modal(client, "run", "program.py", "--n", "3", cwd=tmp_path).splitlines()
    kinds = tuple(line.split(":")[0] + ":" for line in PRINTED)
    assert [line for line in said if line.startswith(kinds)] == PRINTED
    server.modal(client, "deploy", "program.py", cwd=tmp_path)
    (tmp_path / "look_up.py").write_text(LOOK_UP)
    assert "found: 16 42 [40]" in _python(server, client, "look_up.py", tmp_path).splitlines()


def _python(server: Machine, client: Client, program: str, directory: Path) -> str:
    """Run a program of the user's own with the client's Python, after what `ionian up` tells the user to eval."""
    env = shlex.join([server.python, "-m", "ionian", "env", "--home", str(server.home)])
    run = shlex.join([str(client.prefix / "bin" / "python"), program])
    return server.command(["sh", "-c", f'eval "$({env})"; exec {run}'], directory)
