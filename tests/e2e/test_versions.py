"""Functions of a certain version of their app, by name: they stay what they were while deploys go on."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.e2e.machine import Client, Machine

APP = """
import modal
app = modal.App("versioned")
@app.function(scaledown_window=2)
def which():
    return {number}
{more}
"""
ASK = """
import json, sys, modal
name, version = sys.argv[1], int(sys.argv[2]) or None
print("told " + json.dumps(modal.Function.from_name("versioned", name, version=version).remote()))
"""


def _deploy(machine: Machine, client: Client, folder: Path, number: int, more: str = "") -> None:
    (folder / "versioned.py").write_text(APP.format(number=number, more=more))
    machine.modal(client, "deploy", "versioned.py", cwd=folder)


def _ask(machine: Machine, client: Client, name: str, version: int) -> str:
    command = [str(client.prefix / "bin" / "python"), "-c", ASK, name, str(version)]
    environ = {**machine.environ, **machine.variables()}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    told = [line.removeprefix("told ") for line in done.stdout.splitlines() if line.startswith("told ")]
    return str(json.loads(told[0])) if told else done.stdout + done.stderr


def test_a_version_answers_as_it_did_whatever_is_deployed_since(
    machine: Machine, new_client: Client, tmp_path: Path
) -> None:
    machine.up()
    gone = "@app.function()\ndef only_first():\n    return 'first'"
    _deploy(machine, new_client, tmp_path, 1, gone)
    _deploy(machine, new_client, tmp_path, 2)
    assert [_ask(machine, new_client, "which", version) for version in (0, 1, 2)] == ["2", "1", "2"]
    assert _ask(machine, new_client, "only_first", 1) == "first"  # though the live version has no such function
    assert "no function 'only_first'" in _ask(machine, new_client, "only_first", 0)
    assert "no version 9" in _ask(machine, new_client, "which", 9)
    _deploy(machine, new_client, tmp_path, 3)
    machine.kill_server()
    machine.up()
    assert [_ask(machine, new_client, "which", version) for version in (0, 1)] == ["3", "1"]
    machine.modal(new_client, "app", "stop", "versioned", "--yes")
    assert "not deployed" in _ask(machine, new_client, "which", 1)
