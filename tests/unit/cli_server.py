"""A stand-in for a running server, as the command line sees one: server.json, token.json, a status over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ionian.commands import running
from ionian.config import Config

TOKEN = ("ak-test", "as-test secret'quoted")


def app(name: str, app_id: str, state: str = "deployed", urls: tuple[str, ...] = ()) -> dict[str, Any]:
    """One app of a status answer, with one function ``predict``."""
    function = {
        "function_id": "fu-1",
        "name": "predict",
        "urls": list(urls),
        "containers": 2,
        "queued": 3,
        "in_flight": 4,
    }
    return {"app_id": app_id, "name": name, "state": state, "functions": [function]}


@dataclass
class FakeServer:
    config: Config
    port: int = 0
    apps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def status(self) -> dict[str, Any]:
        return {
            "version": "9.9.9",
            "pid": os.getpid(),
            "worker_pid": 77,
            "host": "127.0.0.1",
            "port": self.port,
            "home": str(self.config.home),
            "isolation": "process",
            "details": ["no user namespaces here"],
            "apps": self.apps,
            "containers": [],
        }


def write_server_file(config: Config, port: int, pid: int, start_time: int | None = None) -> None:
    """A server.json for this process."""
    config.run.mkdir(parents=True, exist_ok=True)
    found = {
        "pid": pid,
        "start_time": running.start_time(pid) if start_time is None else start_time,
        "host": "127.0.0.1",
        "port": port,
        "url": f"http://127.0.0.1:{port}",
        "isolation": "process",
        "details": ["no user namespaces here"],
        "worker_pid": 77,
    }
    running.server_file(config).write_text(json.dumps(found))


@contextmanager
def fake_server(home: Path) -> Iterator[FakeServer]:
    """A server on ``home``, whose process is this one."""
    config = Config(home=home)
    fake = FakeServer(config)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = f"Bearer {TOKEN[0]}:{TOKEN[1]}"
            known = self.path == "/_ionian/status" and self.headers["authorization"] == wanted
            body = json.dumps(fake.status()).encode() if known else b"who are you?"
            self.send_response(200 if known else 401)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        fake.port = http.server_address[1]
        home.mkdir(parents=True, exist_ok=True)
        write_server_file(config, fake.port, os.getpid())
        config.token_file.write_text(json.dumps({"token_id": TOKEN[0], "token_secret": TOKEN[1]}))
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield fake
        finally:
            http.shutdown()
            thread.join()
            shutil.rmtree(config.run)  # it stands in /tmp when the home's own path is long
