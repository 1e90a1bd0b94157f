"""Secrets, from the client's command to the container's environment; and that their values are nowhere else."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ionian import vault
from ionian.state import rotate, secrets
from ionian.state.database import SqliteDatabase
from ionian.state.migrate import migrate
from tests.e2e.conftest import APPS, NEW, OLD
from tests.e2e.machine import Client, Machine, until

MARKS = {
    "MARK_NAMED": "m@rk-named-k5Wq",
    "MARK_SECOND": "m@rk-second-k5Wq",
    "MARK_DICT": "m@rk-of-the-dict-9QzX",
    "MARK_LOCAL": "m@rk-local-k5Wq",
    "MARK_LATER": "m@rk-that-wins-k5Wq",
}
LOSER = "m@rk-that-loses-9QzX"
OTHERS = (LOSER, "m@rk-updated-k5Wq", "m@rk-sandbox-k5Wq", "m@rk-refused-k5Wq", "m@rk-exec-k5Wq")
CALL = """
import json, modal, sys
name, *rest = sys.argv[1:]
if name == "Looker":
    called = modal.Cls.from_name("secretive", name)().look
else:
    called = modal.Function.from_name("secretive", name)
try:
    print("told " + json.dumps(called.remote()))
except Exception as error:
    print("told " + json.dumps(f"{type(error).__name__}: {error}"))
"""


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def _forms(value: str) -> Iterator[bytes]:
    """A value as it might be stored by mistake."""
    raw = value.encode()
    yield from (raw, raw.hex().encode(), urllib.parse.quote(value, safe="").encode(), raw[::-1])
    yield from (json.dumps(value).encode()[1:-1], value.encode("utf-16-le"))
    for before in range(3):  # base64 depends on where in three bytes a text begins; its edges hold neighbours
        text = base64.b64encode(b"\0" * before + raw)
        yield text[4 if before else 0 : -4]


FORMS = [(value, form) for value in (*MARKS.values(), *OTHERS) for form in set(_forms(value))]


def _found(data: bytes) -> list[str]:
    return [value for value, form in FORMS if form in data]


def leaks(machine: Machine) -> list[str]:
    """Every file of the home and of its sockets' directory, and every command line, that has a value in it."""
    places = {machine.home, machine.config.run}
    found = []
    for path in (path for place in places for path in sorted(place.rglob("*"))):
        if path.is_file() and not path.is_symlink() and "uv-cache" not in path.parts:
            found += [f"{path}: {value}" for value in _found(path.read_bytes())]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                data = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            found += [f"command line {data[:60]!r}: {value}" for value in _found(data)]
    return found


class User:
    """Somebody with a client. What they type has no value in it: values come from files and the environment."""

    def __init__(self, machine: Machine, client: Client) -> None:
        self.machine, self.client = machine, client
        given = {"MARK_LOCAL": MARKS["MARK_LOCAL"], "GIVEN_DICT": MARKS["MARK_DICT"], "GIVEN_LATER": LOSER}
        machine.environ |= given

    def modal(self, *arguments: str, code: int | None = 0) -> str:
        said = self.machine.modal(self.client, *arguments, cwd=APPS, code=code)
        assert not _found(said.encode()), said
        return said

    def python(self, program: str, *arguments: str) -> str:
        command = [str(self.client.prefix / "bin" / "python"), "-c", program, *arguments]
        said = self.machine.command(command, APPS, 0, self.machine.variables())
        assert not _found(said.encode()), said
        return said

    def call(self, name: str) -> Any:
        lines = self.python(CALL, name).splitlines()
        return json.loads(next(line for line in lines if line.startswith("told ")).removeprefix("told "))

    def create(self, name: str, **variables: str) -> None:
        """Through the client's library: on a command line everybody would see them."""
        file = self.machine.user_home / "secret.json"
        file.write_text(json.dumps(variables))
        create = "getattr(modal.Secret, '_create_deployed', None) or modal.Secret.create_deployed"
        self.python(
            f"import json, modal, sys; ({create})(sys.argv[1], json.load(open(sys.argv[2])), overwrite=True)",
            name,
            str(file),
        )
        file.unlink()


def _words(text: str) -> str:
    """Without the lines and frames that a client draws around what the server says."""
    return " ".join(text.replace("│", " ").split())


def _expected(*names: str) -> dict[str, str]:
    return {name: _digest(MARKS[name]) for name in names}


def _make(user: User) -> None:
    user.create("marked", MARK_NAMED=MARKS["MARK_NAMED"])
    user.create("marked-second", MARK_SECOND=MARKS["MARK_SECOND"], MARK_LATER=MARKS["MARK_LATER"])


@pytest.mark.parametrize(("runner", "version"), [("own", NEW), ("stock", NEW), ("own", OLD), ("stock", OLD)])
def test_secrets_reach_what_asks_for_them_and_nothing_else(
    machine: Machine, client: Any, runner: str, version: str
) -> None:
    machine.environ["IONIAN_RUNNER"] = runner
    machine.up()
    user = User(machine, client(version))
    user.create("marked-second", MARK_SECOND="-", MARK_LATER="-")  # one is missing: clients ask for all at once
    said = _words(user.modal("deploy", "secretive.py", code=1))
    assert "secret 'marked' not found in environment 'main'; create it with: modal secret create marked" in said
    user.create("marked", OTHER="something")
    said = _words(user.modal("deploy", "secretive.py", code=1))
    assert "has no MARK_NAMED (it has OTHER)" in said
    _make(user)
    user.modal("deploy", "secretive.py")
    everything = _expected(*MARKS)
    assert user.call("look") == everything
    assert user.call("Looker") == _expected("MARK_NAMED")
    built = _digest(MARKS["MARK_NAMED"] + MARKS["MARK_DICT"])
    assert user.call("read") == {"file": built, "seen": {}}
    assert "about a secret of" in user.call("fail")
    assert "signal 6" in user.call("crash")
    assert machine.get("secretive", "page").json() == _expected("MARK_NAMED", "MARK_DICT") | {
        "MARK_LATER": _digest(LOSER)
    }
    assert leaks(machine) == []
    _provoke(user)
    assert leaks(machine) == []
    machine.down()
    assert leaks(machine) == []


SANDBOX = """
import json, modal, os, sys
app = modal.App.lookup("secretive-sandbox", create_if_missing=True)
value = open(sys.argv[1]).read()
sandbox = modal.Sandbox.create(
    "sh", "-c", "printf %s $MARK_BOX$MARK_NAMED | sha256sum", app=app, image=modal.Image.debian_slim(),
    secrets=[modal.Secret.from_name("marked"), modal.Secret.from_dict({"MARK_BOX": value})],
)
sandbox.wait()
print("told " + sandbox.stdout.read().split()[0])
"""
REFUSED = """
import modal, sys
value = open(sys.argv[1]).read()
for variables in ({"A": value + chr(0)}, {"A": value * 4000}, {"A=B": value}, {"": value}):
    try:
        (getattr(modal.Secret, "_create_deployed", None) or modal.Secret.create_deployed)("refused", variables)
    except Exception as error:
        print("refused", error)
"""


def _provoke(user: User) -> None:
    """Errors of every kind, with values at hand."""
    machine = user.machine
    value = machine.user_home / "value"
    value.write_text("m@rk-refused-k5Wq")
    assert user.python(REFUSED, str(value)).count("refused") == 4
    value.write_text("m@rk-sandbox-k5Wq")
    if user.client.version == NEW:
        told = user.python(SANDBOX, str(value)).split("told ")[1].strip()
        assert told == _digest("m@rk-sandbox-k5Wq" + MARKS["MARK_NAMED"])
    value.unlink()
    assert not _found(machine.cli("logs", "secretive").encode())
    machine.cli("status", "--json")
    machine.cli("doctor", code=None)
    user.modal("secret", "list")
    user.modal("secret", "list", "--json")
    old = machine.server
    os.kill(machine.status()["worker_pid"], signal.SIGABRT)
    until(lambda: user.call("look") == _expected(*MARKS), "a function that works with the next worker")
    machine.kill_server()
    machine.up()
    assert machine.server.pid != old.pid
    assert user.call("look") == _expected(*MARKS)


def _stop_containers(machine: Machine, user: User) -> None:
    for found in machine.status()["containers"]:
        user.modal("container", "stop", found["container_id"], "--yes")
    until(lambda: not machine.status()["containers"], "the containers to end")


def test_changes_reach_new_containers_only_and_a_deletion_is_told(machine: Machine, client: Any) -> None:
    machine.up()
    user = User(machine, client(NEW))
    _make(user)
    user.modal("deploy", "secretive.py")
    before = _expected("MARK_NAMED")
    assert user.call("Looker") == before
    user.create("marked", MARK_NAMED="m@rk-updated-k5Wq")
    assert user.call("Looker") == before
    _stop_containers(machine, user)
    after = {"MARK_NAMED": _digest("m@rk-updated-k5Wq")}
    assert user.call("Looker") == after
    user.modal("secret", "delete", "marked", "--yes")
    assert user.call("Looker") == after
    _stop_containers(machine, user)
    said = user.call("Looker")
    assert "secret 'marked' in environment 'main' was deleted; create it again with: modal secret create marked" in said
    user.create("marked", MARK_NAMED=MARKS["MARK_NAMED"])
    until(lambda: user.call("Looker") == before, "the class with the secret that was made again")
    key = machine.config.secret_key_file.read_bytes()
    assert "secrets have a new key" in machine.cli("secret", "rotate-key")
    assert machine.config.secret_key_file.read_bytes() != key
    assert "is there and whole" in machine.cli("secret", "rotate-key", "--lost", code=1)
    _stop_containers(machine, user)
    assert user.call("Looker") == before
    machine.down()
    assert "secrets have a new key" in machine.cli("secret", "rotate-key")
    machine.config.secret_key_file.unlink()
    machine.up()
    said = user.call("Looker")
    assert "secrets.key is gone" in said
    assert "Traceback" not in said
    assert "secret 'marked'" in machine.cli("secret", "rotate-key", "--lost")
    user.create("marked", MARK_NAMED=MARKS["MARK_NAMED"])
    until(lambda: user.call("Looker") == before, "the class with a new key")
    assert leaks(machine) == []


ROTATE = """
import asyncio, sys
from pathlib import Path
from ionian.state import rotate
from ionian.state.database import SqliteDatabase
home = Path(sys.argv[1])
async def main():
    database = SqliteDatabase(home / "ionian.db")
    while True:
        await rotate.rotate(database, home / "secrets.key", 1.0)
        print("rotated", flush=True)
asyncio.run(main())
"""


async def test_rotations_that_are_killed_leave_every_secret_readable(tmp_path: Path) -> None:
    file, chance = tmp_path / "secrets.key", random.Random(7)
    database = SqliteDatabase(tmp_path / "ionian.db")
    await migrate(database)
    ids = [
        (await database.write(secrets.put, file, "", f"s{n}", {"A": str(n)}, "", "fail", 1.0))["secret_id"]
        for n in range(30)
    ]
    database.close()
    for _ in range(6):
        child = subprocess.Popen([sys.executable, "-c", ROTATE, str(tmp_path)], stdout=subprocess.PIPE)  # noqa: ASYNC220
        assert child.stdout is not None
        child.stdout.readline()
        await asyncio.sleep(chance.random() / 50)
        child.kill()
        child.wait()
        child.stdout.close()
        database = SqliteDatabase(tmp_path / "ionian.db")
        found = [await database.read(secrets.opened, file, [secret_id]) for secret_id in ids]
        assert found == [{"A": str(n)} for n in range(30)]
        await rotate.finish(database, file, 1.0)
        assert len(vault.load(file)) == 1
        found = [await database.read(secrets.opened, file, [secret_id]) for secret_id in ids]
        assert found == [{"A": str(n)} for n in range(30)]
        database.close()
