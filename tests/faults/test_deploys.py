"""Deploys that meet each other or are interrupted: what is served is always one version that somebody deployed."""

from __future__ import annotations

import signal
import subprocess
from itertools import count
from pathlib import Path

import pytest

from tests.e2e import leftovers
from tests.e2e.machine import Client, Machine
from tests.faults.conftest import FAULTY, python_of
from tests.faults.rpcs import counting

_LABELLED = """
import modal
app = modal.App("{name}")
@app.function(label="{label}")
@modal.asgi_app(label="{label}")
def web():
    async def serve(scope, receive, send):
        await send({{"type": "http.response.start", "status": 200, "headers": []}})
        await send({{"type": "http.response.body", "body": b"{name}"}})
    return serve
""".replace('@app.function(label="{label}")', "@app.function()")


def _versioned(directory: Path, version: int, extra: str = "") -> None:
    source = (FAULTY / "counted.py").read_text().replace("VERSION = 0", f"VERSION = {version}")
    image = f'modal.Image.debian_slim().env({{"VERSION": "{version}"}}){extra}'
    (directory / "app.py").write_text(source.replace("modal.Image.debian_slim()", image))


def test_second_app_with_the_same_label(server: Machine, new_client: Client, tmp_path: Path) -> None:
    for name in ("label-first", "label-second"):
        (tmp_path / f"{name}.py").write_text(_LABELLED.format(name=name, label="one-label"))
    server.modal(new_client, "deploy", "label-first.py", cwd=tmp_path)
    said = server.modal(new_client, "deploy", "label-second.py", cwd=tmp_path, code=1)
    assert "one-label" in said
    assert "label-first" in said
    assert "Traceback" not in said
    assert server.request("GET", "/", host="local--one-label.localhost").body == b"label-first"
    server.modal(new_client, "app", "stop", "--yes", "label-first")
    server.modal(new_client, "deploy", "label-second.py", cwd=tmp_path)
    assert server.request("GET", "/", host="local--one-label.localhost").body == b"label-second"


def test_two_deploys_at_once(machine: Machine, new_client: Client, tmp_path: Path) -> None:
    """Each is published whole, or refused because the other was published meanwhile."""
    machine.up()
    published = 0
    for number in range(3):
        deploys = {}
        for version in (2 * number + 1, 2 * number + 2):
            directory = tmp_path / str(version)
            directory.mkdir()
            _versioned(directory, version)
            deploys[version] = machine.spawn_modal(new_client, "deploy", "app.py", cwd=directory)
        said = {version: deploy.communicate(timeout=120)[0] for version, deploy in deploys.items()}
        won = {version for version, deploy in deploys.items() if deploy.returncode == 0}
        assert won, said
        for version in deploys.keys() - won:
            assert "another deploy of 'counted' was published while this one ran" in said[version]
            assert "Traceback" not in said[version]
        published += len(won)
        served = {int(machine.get("counted", "answer").body) for _ in range(5)}
        assert len(served) == 1
        assert served <= won
    assert f"v{published}" in machine.modal(new_client, "app", "history", "counted")
    machine.modal(new_client, "deploy", "app.py", cwd=tmp_path / "1")  # as the one that is refused is told
    assert machine.get("counted", "answer").body == b"1"


def _interrupted(machine: Machine, client: Client, directory: Path, step: int) -> bool:
    """Deploy, and kill the client when RPC number ``step`` is answered. False: it had fewer."""
    arguments = ["-m", "modal", "deploy", "app.py"]
    with counting(machine.server.port, step, lambda: process.send_signal(signal.SIGKILL)) as way:
        command = python_of(machine, client, *arguments)
        command[2] = command[2].replace("exec ", f"export MODAL_SERVER_URL=http://127.0.0.1:{way.port}; exec ")
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=machine.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        said, _ = process.communicate(timeout=120)
        assert process.returncode in (0, -signal.SIGKILL), said
        return process.returncode != 0


@pytest.mark.timeout(600)
def test_deploy_interrupted_at_every_step(machine: Machine, new_client: Client, tmp_path: Path) -> None:
    machine.up()
    machine.modal(new_client, "deploy", "counted.py", cwd=FAULTY)
    assert machine.get("counted", "answer").body == b"0"
    deployed, version, taken_effect = 0, 0, []
    for step in count(1):
        version += 1
        _versioned(tmp_path, version)
        if not _interrupted(machine, new_client, tmp_path, step):
            break
        served = int(machine.get("counted", "answer").body)
        assert served in (deployed, version)
        if served == version:
            taken_effect.append(step)
        version += 1
        _versioned(tmp_path, version)
        machine.modal(new_client, "deploy", "app.py", cwd=tmp_path)
        deployed = version
        assert machine.get("counted", "answer").body == str(deployed).encode()
    print(f"{step - 1} steps; those from {taken_effect} on took effect")
    assert step > 8
    assert taken_effect == list(range(step - len(taken_effect), step))  # only what came after the publishing step
    assert len(taken_effect) <= 3
    machine.down()
    assert leftovers.find(machine.config) == []


def test_deploy_interrupted_while_its_image_is_built(machine: Machine, new_client: Client, tmp_path: Path) -> None:
    """Ctrl-C in the middle of a long build: what is deployed goes on, the same deploy again works."""
    machine.up()
    machine.needs_namespaces()
    machine.modal(new_client, "deploy", "counted.py", cwd=FAULTY)
    _versioned(tmp_path, 1, '.run_commands("sleep 3", "echo the build has ended")')
    for number in (signal.SIGINT, signal.SIGKILL):
        deploy = machine.spawn_modal(new_client, "deploy", "app.py", cwd=tmp_path)
        assert deploy.stdout is not None
        for line in deploy.stdout:
            if "sleep 3" in line:
                break
        deploy.send_signal(number)
        deploy.communicate(timeout=60)
        assert deploy.returncode != 0
        assert machine.get("counted", "answer").body == b"0"
    machine.modal(new_client, "deploy", "app.py", cwd=tmp_path)
    assert machine.get("counted", "answer").body == b"1"
