"""Containers outlive a killed server and are adopted; a stop drains; after `down` nothing is left."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

import pytest

from ionian.commands import running
from ionian.worker.container import State
from tests.e2e import leftovers
from tests.e2e.conftest import APPS
from tests.e2e.gate import Gate
from tests.e2e.machine import Client, Machine, until
from tests.faults.conftest import FAULTY


@pytest.fixture
def alive(machine: Machine, new_client: Client) -> Machine:
    """A server of its own with one warm container."""
    machine.up()
    machine.modal(new_client, "deploy", "holding.py", cwd=APPS)
    assert machine.get("holding", "alone").status == 200
    return machine


def _boot(machine: Machine) -> str:
    return str(machine.get("holding", "alone").json()["boot"])


def test_a_killed_server_comes_back_to_the_same_container(alive: Machine) -> None:
    before = _boot(alive)
    alive.kill_server()
    alive.up()
    assert _boot(alive) == before
    alive.down()
    assert leftovers.find(alive.config) == []


def test_down_after_a_kill_leaves_nothing(alive: Machine) -> None:
    alive.kill_server()
    assert leftovers.find(alive.config), "the containers should have outlived the server"
    alive.down()
    assert leftovers.find(alive.config) == []


def test_a_killed_worker_and_server_leave_nothing_after_the_next_start_and_stop(alive: Machine) -> None:
    worker = int(alive.status()["worker_pid"])
    alive.kill_server()
    os.kill(worker, signal.SIGKILL)
    until(lambda: running.start_time(worker) is None, "the killed worker to be gone")
    alive.up()
    assert alive.get("holding", "alone").status == 200
    alive.down()
    assert leftovers.find(alive.config) == []


def test_what_is_printed_after_a_killed_worker_is_in_the_logs(alive: Machine) -> None:
    before = alive.get("holding", "says", "?word=before").json()
    worker = int(alive.status()["worker_pid"])
    os.kill(worker, signal.SIGKILL)
    until(lambda: alive.status()["worker_pid"] != worker, "another worker")
    assert alive.get("holding", "says", "?word=after").json() == before
    until(lambda: "it says after" in alive.cli("logs", "holding", "-n", "0"), "the new line in the logs")


def test_a_container_that_was_about_to_start_does_not_stop_the_next_worker(machine: Machine) -> None:
    directory = machine.config.run / "c" / "ta-begun"
    for part in ("place", "scratch"):
        (directory / part).mkdir(parents=True)
    state = State("ta-begun", "fu-1", "ap-1", "key", 1.0)
    (directory / "state.json").write_text(json.dumps(asdict(state)))
    machine.up()
    assert not directory.exists()


def test_a_build_that_lost_its_worker_is_ended_by_the_next(machine: Machine, new_client: Client) -> None:
    machine.up()
    deploy = machine.spawn_modal(new_client, "deploy", str(FAULTY / "building.py"))
    until(lambda: _running("sleep", "86399"), "the build to be at its long command")
    worker = int(machine.status()["worker_pid"])
    machine.kill_server()
    os.kill(worker, signal.SIGKILL)
    deploy.communicate(timeout=60)
    machine.up()
    until(lambda: not _running("sleep", "86399"), "the end of the command")
    machine.down()
    assert leftovers.find(machine.config) == []


def _running(*command: str) -> bool:
    wanted = "\0".join([*command, ""]).encode()
    return any(leftovers._read(entry / "cmdline") == wanted for entry in Path("/proc").iterdir())


def test_the_app_is_there_after_a_clean_restart(alive: Machine) -> None:
    before = _boot(alive)
    alive.down()
    assert leftovers.find(alive.config) == []
    alive.up()
    assert _boot(alive) != before


def test_down_lets_a_request_finish(alive: Machine, held: Gate) -> None:
    request = alive.get_later("holding", "alone", f"?gate={quote(held.url, safe='')}")
    held.wait_for(lambda inside: len(inside) == 1, "the request to be in the container")
    server = alive.server
    stopping = alive.spawn("down")
    until(lambda: not running.server_file(alive.config).exists(), "the server to have begun to stop")
    held.release()
    assert request.result().status == 200
    output, _ = stopping.communicate(timeout=60)
    assert stopping.returncode == 0, output
    assert not running.is_alive(server)
    assert leftovers.find(alive.config) == []


def test_a_redeploy_without_change_builds_nothing(alive: Machine, new_client: Client) -> None:
    said = alive.modal(new_client, "deploy", "holding.py", cwd=APPS)
    assert "Building image" not in said
    assert alive.get("holding", "alone").status == 200


def test_a_redeploy_with_change_is_served(machine: Machine, new_client: Client, tmp_path: Path) -> None:
    machine.up()
    source = (APPS / "holding.py").read_text()
    for word in ("first", "second"):
        (tmp_path / "app.py").write_text(source.replace('return {"boot": BOOT}', f'return {{"boot": "{word}"}}'))
        machine.modal(new_client, "deploy", "app.py", cwd=tmp_path)
        assert machine.get("holding", "brief").json()["boot"] == word


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_in_the_foreground_ends_on_a_signal(machine: Machine, number: signal.Signals) -> None:
    process = machine.spawn("up", "--port", "0")
    until(lambda: running.find(machine.config) is not None or process.poll() is not None, "the server to be ready")
    assert process.poll() is None
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    assert leftovers.find(machine.config) == []


def test_what_up_says(machine: Machine) -> None:
    said = machine.up()
    server = machine.server
    assert f"http://127.0.0.1:{server.port}" in said
    assert str(machine.home) in said
    assert f"isolation  {server.isolation}" in said
    assert 'eval "$(' in said
    assert "modal deploy app.py" in said
    assert server.isolation in machine.cli("status")
    assert (machine.home / "token.json").stat().st_mode & 0o777 == 0o600


def test_the_users_own_configuration_is_only_touched_when_asked(machine: Machine, new_client: Client) -> None:
    machine.environ["HOME"] = str(machine.user_home)
    del machine.environ["MODAL_CONFIG_PATH"]
    machine.up()
    own = machine.user_home / ".modal.toml"
    machine.ionian(new_client, "app", "list", cwd=machine.user_home)
    machine.modal(new_client, "app", "list")
    assert not own.exists()
    token_id, token_secret = running.token(machine.config)
    given = ["--token-id", token_id, "--token-secret", token_secret]
    machine.ionian(new_client, "token", "set", *given, cwd=machine.user_home)
    assert machine.server.url in own.read_text()
    machine.command([new_client.modal, "app", "list"], environ={"NO_PROXY": "127.0.0.1"})  # nothing but the file


def test_starting_again_is_possible_at_once(machine: Machine) -> None:
    for _ in range(3):
        machine.up()
        machine.down()
    assert leftovers.find(machine.config) == []
