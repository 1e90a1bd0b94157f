"""The small programs of examples/tutorial, each with an old and with the newest client."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ionian.runtimes import gpus
from tests.e2e.machine import Client, Machine, until
from tests.matrix.pairs import SERIES

DAY = 86400.0
TUTORIAL = Path(__file__).parents[2] / "examples" / "tutorial"


@pytest.fixture(scope="module", params=["0.73.173", "1.6.4"])
def client(request: pytest.FixtureRequest, client_on: Callable[[str, str], Client]) -> Client:
    return client_on(request.param, SERIES[0])


def _words(text: str) -> str:
    """Without the lines and frames that a client draws around what the server says."""
    return " ".join(text.replace("│", " ").split())


def test_a_gpu_function_is_refused_naming_the_gpus_of_this_machine(server: Machine, client: Client) -> None:
    for verb in ("deploy", "run"):
        said = _words(server.modal(client, verb, "gpu_function.py", cwd=TUTORIAL, code=1))
        assert "gpu_info: gpu=T4 cannot run here" in said
        for name in gpus.names() or ["this machine has no GPU"]:
            assert name in said
    assert "tutorial-gpu" not in {app["name"] for app in server.status()["apps"]}


def test_batches_are_predicted_in_one_call_and_over_map(server: Machine, client: Client, project: Path) -> None:
    run = server.modal if client.version < "1" else server.ionian
    said = run(client, "run", str(TUTORIAL / "batch_predict.py"), cwd=project)
    printed = [line for line in said.splitlines() if line.startswith(("one call:", "a batch:"))]
    assert printed == [
        "one call: ['setosa', 'versicolor', 'virginica']",
        "a batch: ['setosa', 'versicolor']",
        "a batch: ['virginica']",
    ]


def test_a_schedule_is_registered_and_listed_with_its_next_run(server: Machine, client: Client) -> None:
    begun = time.time()
    server.modal(client, "deploy", "scheduled_function.py", cwd=TUTORIAL)
    [app] = [app for app in server.status()["apps"] if app["name"] == "tutorial-schedule"]
    [function] = app["functions"]
    assert (function["name"], function["schedule"], function["schedule_fires"]) == ("retrain", "every 24 hours", True)
    assert begun + DAY <= function["next_run"] <= time.time() + DAY
    [listed] = [line for line in server.cli("status").splitlines() if "every 24 hours" in line]
    assert "tutorial-schedule retrain: every 24 hours, next " in listed
    assert "running as call fc-" in server.cli("schedule", "run", "tutorial-schedule", "retrain")
    until(lambda: "a day is over" in server.cli("logs", "tutorial-schedule"), "what the function prints")
    server.modal(client, "app", "stop", *(["--yes"] if client.version > "1" else []), app["app_id"])
    assert "tutorial-schedule" not in server.cli("schedule", "list")


def test_a_missing_secret_is_named_with_how_to_make_it_and_then_works(server: Machine, client: Client) -> None:
    environment = f"tutorial-{client.version}".replace(".", "-")
    where = ("--env", environment)
    server.modal(client, "environment", "create", environment)
    said = _words(server.modal(client, "deploy", "secret_function.py", *where, cwd=TUTORIAL, code=1))
    assert f"secret 'api-keys' not found in environment '{environment}'" in said
    assert f"create it with: modal secret create api-keys NAME=value --env {environment}" in said
    assert "tutorial-secret" not in {app["name"] for app in server.status()["apps"]}
    server.modal(client, "secret", "create", "api-keys", "API_KEY=something", *where)
    server.modal(client, "deploy", "secret_function.py", *where, cwd=TUTORIAL)
    call = f"modal.Function.from_name('tutorial-secret', 'has_key', environment_name='{environment}').remote()"
    python = str(client.prefix / "bin" / "python")
    said = server.command([python, "-c", f"import modal; print({call})"], environ=server.variables())
    assert said.splitlines()[-1] == "True"
    server.modal(client, "environment", "delete", environment, "--yes" if client.version > "1" else "--confirm")
    assert "tutorial-secret" not in {app["name"] for app in server.status()["apps"]}
