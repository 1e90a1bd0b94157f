"""The main job, three ways: each deploys the iris app with a real client, and it answers at every address."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import NEW, OLD
from tests.e2e.machine import Client, Machine

SETOSA = {"features": [5.1, 3.5, 1.4, 0.2]}
WAYS = {
    "old client, modal deploy app_modal.py": (OLD, "modal", "app_modal.py", "iris-classifier"),
    "new client, ionian deploy app_modal.py": (NEW, "ionian", "app_modal.py", "iris-classifier"),
    "new client, modal deploy app.py": (NEW, "modal", "app.py", "iris-classifier-today"),
}


@dataclass(frozen=True)
class Deployed:
    machine: Machine
    app: str
    output: str
    project: Path

    def post(self, host: str, path: str, body: Any = SETOSA) -> tuple[int, Any]:
        answer = self.machine.request("POST", path, body, host or None)
        return answer.status, answer.json() if answer.headers["content-type"] == "application/json" else answer.body


@pytest.fixture(scope="module", params=list(WAYS.values()), ids=list(WAYS))
def deployed(
    request: pytest.FixtureRequest, server: Machine, client: Callable[[str], Client], project: Path
) -> Iterator[Deployed]:
    version, program, file, app = request.param
    deploy = {"modal": server.modal, "ionian": server.ionian}[program]
    yield Deployed(server, app, deploy(client(version), "deploy", file, cwd=project), project)
    server.cli("app", "stop", "--yes", app)  # without namespaces its model is a link that others cannot have meanwhile


RIGHT = (200, {"prediction": 0, "class_name": "setosa"})


def test_deploy_prints_an_address_of_the_function(deployed: Deployed) -> None:
    printed = re.findall(r"http://\S+", deployed.output.replace("\n", ""))
    urls = deployed.machine.cli("url", deployed.app, "predict").split()
    assert any(url in deployed.output.replace("\n", "") for url in urls), (printed, urls)


@pytest.mark.parametrize("path", ["/", "/predict"])
def test_answers_at_its_own_address(deployed: Deployed, path: str) -> None:
    assert deployed.post(f"local--{deployed.app}-predict.localhost", path) == RIGHT


def test_answers_at_the_address_of_the_app(deployed: Deployed) -> None:
    assert deployed.post(f"local--{deployed.app}.localhost", "/predict") == RIGHT


@pytest.mark.parametrize("path", ["", "/", "/predict"])
def test_answers_where_no_name_is_resolved(deployed: Deployed, path: str) -> None:
    assert deployed.post("", f"/_web/local--{deployed.app}-predict{path}") == RIGHT


def test_all_samples_are_right(deployed: Deployed) -> None:
    for sample in json.loads((deployed.project / "sample_data.json").read_text()):
        expected = {key: sample[key] for key in ("prediction", "class_name")}
        found = deployed.post(f"local--{deployed.app}-predict.localhost", "/predict", {"features": sample["features"]})
        assert found == (200, expected)


def test_url_prints_the_three_forms(deployed: Deployed) -> None:
    port, app = deployed.machine.server.port, deployed.app
    assert deployed.machine.cli("url", app, "predict").split() == [
        f"http://local--{app}-predict.localhost:{port}",
        f"http://local--{app}.localhost:{port}/predict",
        f"http://127.0.0.1:{port}/_web/local--{app}-predict",
    ]


@pytest.mark.parametrize("form", [0, 1, 2], ids=["own address", "address of the app", "without name resolution"])
def test_the_examples_own_check_passes(deployed: Deployed, form: int) -> None:
    url = deployed.machine.cli("url", deployed.app, "predict").split()[form]
    done = subprocess.run([str(deployed.project / "test_modal.sh"), url], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("method", "path", "body", "statuses"),
    [
        ("POST", "/predict", b"this is not JSON", (400, 422)),
        ("POST", "/predict", b"", (400, 422)),
        ("POST", "/predict", {"petals": 3}, (500,)),
        ("POST", "/predict", [1, 2], (400, 422)),
        ("GET", "/predict", None, (405,)),
        ("POST", "/no-such-path", SETOSA, (404,)),
    ],
)
def test_bad_requests_are_answered(
    deployed: Deployed, method: str, path: str, body: Any, statuses: tuple[int, ...]
) -> None:
    host = f"local--{deployed.app}-predict.localhost"
    assert deployed.machine.request(method, path, body, host).status in statuses
    assert deployed.post(host, "/predict") == RIGHT


def test_a_user_error_is_in_the_logs(deployed: Deployed) -> None:
    deployed.machine.request("POST", "/", {"petals": 3}, f"local--{deployed.app}-predict.localhost")
    assert "KeyError: 'features'" in deployed.machine.cli("logs", deployed.app, "-n", "0")
