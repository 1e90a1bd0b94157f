"""One home with a real server on it, used as a person would: the command line, real clients, HTTP."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ionian.commands import running
from ionian.config import Config

COMMAND_TIMEOUT_S = 240
REQUEST_TIMEOUT_S = 90
WAIT_S = 60


def clean_environ() -> dict[str, str]:
    """This process's environment without anything that would point a client or a server somewhere."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MODAL_", "IONIAN_"))}
    for name in ("VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE"):
        kept.pop(name, None)
    return kept


def until(condition: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    """Return as soon as the condition holds; fail, saying what was waited for, when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for: {what}"
        time.sleep(0.05)


class Output:
    """What a running process has printed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.text = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line

    def wait_for(self, *wanted: str, timeout_s: float = WAIT_S) -> str:
        """All of it, once it has these texts. Fails when the process ends, or the time is over, without."""

        def there() -> bool:
            return all(text in self.text for text in wanted)

        ended = self.process.poll
        until(lambda: there() or ended() is not None, f"{wanted} in the output of a command", timeout_s)
        self._reader.join(0 if ended() is None else 10)
        assert there(), self.text
        return self.text

    def close(self) -> None:
        """Interrupt it as Ctrl-C does, or kill it."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def output_of(process: subprocess.Popen[str]) -> Iterator[Output]:
    """Read what a process prints; it is interrupted at the end."""
    output = Output(process)
    try:
        yield output
    finally:
        output.close()


@dataclass(frozen=True)
class Answer:
    """One HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    """A venv with one version of the real client."""

    version: str
    prefix: Path

    @property
    def modal(self) -> str:
        return str(self.prefix / "bin" / "modal")


@dataclass
class Machine:
    """A home and the server on it. ``user_home``: the HOME of the commands, so that no test touches the real one."""

    home: Path
    user_home: Path
    environ: dict[str, str] = field(default_factory=clean_environ)
    python: str = sys.executable  # that Ionian is installed for
    wrapper: tuple[str, ...] = ()  # what every command is run by: it may take rights away
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(16))

    def __post_init__(self) -> None:
        self.user_home.mkdir(parents=True, exist_ok=True)
        self.environ["MODAL_CONFIG_PATH"] = str(self.user_home / "plain-modal.toml")

    @property
    def config(self) -> Config:
        return Config(home=self.home)

    @property
    def server(self) -> running.Running:
        return running.require(self.config)

    def needs_namespaces(self) -> None:
        """Skip the test where the server has none: nothing could keep its build commands off the host."""
        if self.server.isolation != "namespaces":
            pytest.skip(self.server.details[-1])

    # -- commands

    def cli(self, *arguments: str, cwd: Path | None = None, code: int | None = 0, **environ: str) -> str:
        """Run ``ionian ...`` on this home; returns stdout and stderr together, after checking the exit code."""
        command = [self.python, "-m", "ionian", *arguments, "--home", str(self.home)]
        return self.command(command, cwd, code, environ)

    def command(
        self, command: list[str], cwd: Path | None = None, code: int | None = 0, environ: dict[str, str] | None = None
    ) -> str:
        done = subprocess.run(
            [*self.wrapper, *command],
            cwd=cwd or self.user_home,
            env={**self.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_TIMEOUT_S,
            encoding="utf-8",
        )
        assert code is None or done.returncode == code, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def spawn(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``ionian ...`` on this home and leave it running."""
        return subprocess.Popen(
            [*self.wrapper, self.python, "-u", "-m", "ionian", *arguments, "--home", str(self.home)],
            cwd=self.user_home,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )

    def spawn_modal(self, client: Client, *arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        """Start plain ``modal ...`` and leave it running."""
        return subprocess.Popen(
            [*self.wrapper, "sh", "-c", self._pointed_here(client, arguments)],
            cwd=cwd or self.user_home,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )

    def up(self, *arguments: str) -> str:
        return self.cli("up", "--detach", "--port", "0", *arguments)

    def down(self) -> str:
        return self.cli("down")

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.cli("status", "--json"))
        return answer

    def kill_server(self) -> None:
        """Kill -9 the server, and only it."""
        server = self.server
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: not running.is_alive(server), "the killed server to be gone")

    # -- clients

    def ionian(self, client: Client, *arguments: str, cwd: Path, code: int | None = 0) -> str:
        """``ionian VERB ...`` in a project whose environment has this client."""
        return self.cli(*arguments, cwd=cwd, code=code, VIRTUAL_ENV=str(client.prefix))

    def modal(self, client: Client, *arguments: str, cwd: Path | None = None, code: int | None = 0) -> str:
        """Plain ``modal ...``, after what `ionian up` tells the user to eval."""
        return self.command(["sh", "-c", self._pointed_here(client, arguments)], cwd, code)

    def variables(self) -> dict[str, str]:
        """What `ionian env` exports."""
        words = shlex.split(self.cli("env"))
        return dict(word.split("=", 1) for word in words if word != "export")

    def _pointed_here(self, client: Client, arguments: tuple[str, ...]) -> str:
        env = shlex.join([self.python, "-m", "ionian", "env", "--home", str(self.home)])
        return f'eval "$({env})"; exec {shlex.join([client.modal, *arguments])}'

    # -- HTTP

    def request(self, method: str, path: str, body: Any = None, host: str | None = None) -> Answer:
        """One HTTP request, to the server's address with this Host header. ``body``: bytes as they are, else JSON."""
        server = self.server
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=REQUEST_TIMEOUT_S)
        headers = {"host": f"{host}:{server.port}" if host else f"127.0.0.1:{server.port}"}
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers["content-type"] = "application/json"
        try:
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, fields, response.read())
        finally:
            connection.close()

    def get(self, app: str, function: str, query: str = "") -> Answer:
        """GET a web function at its own address."""
        return self.request("GET", f"/{query}", host=f"local--{app}-{function}.localhost")

    def get_later(self, app: str, function: str, query: str = "") -> Future[Answer]:
        """The same, meanwhile."""
        return self._pool.submit(self.get, app, function, query)

    def containers(self, app: str, function: str) -> int:
        """How many containers the function has now."""
        counts = [
            found["containers"]
            for known in self.status()["apps"]
            if known["name"] == app
            for found in known["functions"]
            if found["name"] == function
        ]
        return max(counts, default=0)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self.cli("down", code=None)
