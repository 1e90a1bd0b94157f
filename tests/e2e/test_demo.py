"""`ionian demo`: right answers, an honest exit code, and nothing left behind."""

from __future__ import annotations

import signal

from ionian.commands import running
from tests.e2e import leftovers
from tests.e2e.machine import COMMAND_TIMEOUT_S, Machine, output_of


def test_once_twice(machine: Machine) -> None:
    machine.environ["IONIAN_PORT"] = "0"
    for outcome in ("accuracy", "trained before"):
        said = machine.cli("demo", "--once")
        assert outcome in said
        assert "is setosa; 6 of 6 right" in said
        assert leftovers.find(machine.config) == []


def test_a_running_server_is_used_and_left(machine: Machine) -> None:
    machine.up()
    server = machine.server
    assert f"already at {server.url}" in machine.cli("demo", "--once")
    assert running.is_alive(server)
    assert not [app for app in machine.status()["apps"] if app["state"] == "deployed"]


def test_it_stays_until_interrupted(machine: Machine) -> None:
    machine.environ["IONIAN_PORT"] = "0"
    with output_of(machine.spawn("demo")) as said:
        said.wait_for("Ctrl-C stops", timeout_s=COMMAND_TIMEOUT_S)
        answer = machine.request(
            "POST", "/predict", {"features": [5.1, 3.5, 1.4, 0.2]}, "local--iris-classifier-predict.localhost"
        )
        assert answer.json() == {"prediction": 0, "class_name": "setosa"}
        said.process.send_signal(signal.SIGINT)
        assert said.process.wait(60) == 0
    assert leftovers.find(machine.config) == []


def test_a_step_that_fails_is_named(machine: Machine) -> None:
    machine.environ["IONIAN_PORT"] = "0"
    (machine.home / "demo" / "iris").mkdir(parents=True)
    (machine.home / "demo" / "iris" / "iris_model.pkl").write_bytes(b"not a model")
    said = machine.cli("demo", "--once", code=1)
    assert "should be" in said
    assert leftovers.find(machine.config) == []
