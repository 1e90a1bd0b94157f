"""examples/iris/test_modal.sh: passes on a right server, and names what is wrong with each wrong one."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "iris" / "test_modal.sh"


def _classify(features: list[float]) -> dict[str, Any]:
    """Petal width alone tells the sample flowers apart."""
    number = (features[3] > 0.6) + (features[3] > 1.75)
    return {"prediction": number, "class_name": ["setosa", "versicolor", "virginica"][number]}


@contextmanager
def classifier(fault: str = "") -> Iterator[str]:
    """A server that behaves as the deployed example does, but for one fault."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.path not in ("/", "/predict") or (fault == "root" and self.path == "/"):
                return self._answer(404, b"not found")
            try:
                item = json.loads(body)
            except ValueError:
                return self._answer(500 if fault == "json" else 422, b"{}")
            if "features" not in item:
                return self._answer(200 if fault == "features" else 500, b"{}")
            found = _classify([0.0] * 4 if fault == "model" else item["features"])
            if fault == "format":
                found = {"prediction": str(found["prediction"]), **found, "extra": 1}
            return self._answer(200, json.dumps(found).encode())

        def do_GET(self) -> None:
            self._answer(200 if fault == "method" else 405, b"{}")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "text/plain" if fault == "type" else "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_address[1]}"
        finally:
            http.shutdown()
            thread.join()


def _run(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(SCRIPT), url], capture_output=True, text=True)


@pytest.mark.parametrize("suffix", ["", "/", "/predict"])
def test_passes_on_a_right_server(suffix: str) -> None:
    with classifier() as url:
        done = _run(url + suffix)
    assert done.returncode == 0, done.stdout
    assert "FAILED" not in done.stdout
    assert done.stdout.endswith(" passed, 0 failed\n")
    assert done.stdout.count(" is virginica") == 2


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ("root", "the endpoint answers at /"),
        ("json", "a body that is not JSON"),
        ("features", "missing features"),
        ("model", "the prediction for [6.3, 3.3, 6.0, 2.5]"),
        ("format", "the response format"),
        ("type", "the response is JSON"),
        ("method", "a wrong method is refused"),
    ],
)
def test_names_what_is_wrong(fault: str, named: str) -> None:
    with classifier(fault) as url:
        done = _run(url)
    assert done.returncode == 1, done.stdout
    assert any(line.startswith("FAILED") and named in line for line in done.stdout.splitlines()), done.stdout


def test_fails_when_nothing_answers() -> None:
    with classifier() as url:
        pass
    done = _run(url)
    assert done.returncode == 1
    assert done.stdout.endswith("\n0 passed, 16 failed\n"), done.stdout


def test_needs_one_address() -> None:
    assert subprocess.run([str(SCRIPT)], capture_output=True).returncode == 2
