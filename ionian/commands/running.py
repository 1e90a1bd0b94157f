"""The server that runs on a home, seen from outside: its ``server.json``, its token, its status over HTTP."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ionian.config import Config, read_token
from ionian.errors import FailedPrecondition, Unavailable

_STATUS_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Running:
    """What ``server.json`` says of a server."""

    pid: int
    host: str
    port: int
    url: str
    isolation: str
    details: tuple[str, ...]
    start_time: int  # clock ticks since boot, field 22 of /proc/PID/stat


def server_file(config: Config) -> Path:
    """Where a server writes that it is ready."""
    return config.run / "server.json"


def read(config: Config) -> Running | None:
    """What the last server on this home wrote, alive or not; None when the last one ended cleanly."""
    try:
        found = json.loads(server_file(config).read_text())
        return Running(
            pid=int(found["pid"]),
            host=str(found["host"]),
            port=int(found["port"]),
            url=str(found["url"]),
            isolation=str(found["isolation"]),
            details=tuple(map(str, found["details"])),
            start_time=int(found["start_time"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find(config: Config) -> Running | None:
    """The server alive on this home, or None."""
    running = read(config)
    return running if running is not None and is_alive(running) else None


def require(config: Config) -> Running:
    """The server alive on this home. Raises FailedPrecondition, saying how to start one."""
    running = find(config)
    if running is None:
        raise FailedPrecondition(f"no server on {config.home}: run `{program()} up{home_option(config)}`")
    return running


def is_alive(running: Running) -> bool:
    """Whether the process of that pid is still the one that wrote the file, and not a later one with its number."""
    return start_time(running.pid) == running.start_time


def start_time(pid: int) -> int | None:
    """When a live process started, in clock ticks since boot; None when there is none (a zombie counts as none)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def token(config: Config) -> tuple[str, str]:
    """Token id and secret of this home. Raises FailedPrecondition when there is none (it is made on first start)."""
    found = read_token(config)
    if found is None:
        raise FailedPrecondition(f"no token in {config.token_file}: it is made on the first `{program()} up`")
    return found


def status(config: Config, running: Running) -> dict[str, Any]:
    """The server's own account of itself. Raises Unavailable when it does not answer."""
    code, body = ask(config, running, "GET", "/_ionian/status")
    if code != 200:
        text = body.decode(errors="replace").strip()[:200]
        raise Unavailable(f"the server at {running.url} answered {code} to a status request: {text}")
    answer: dict[str, Any] = json.loads(body)
    return answer


def ask(config: Config, running: Running, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """One request to the server in this home's name: status and body. Raises Unavailable when it does not answer."""
    headers = {"authorization": "Bearer " + ":".join(token(config))}
    host = reachable_host(running)
    connection = http.client.HTTPConnection(host, running.port, timeout=_STATUS_TIMEOUT_S)
    try:
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"the server (pid {running.pid}) does not answer at {running.url}: {error}") from error
    finally:
        connection.close()


def reachable_host(running: Running) -> str:
    """An address to connect to: a server that listens everywhere is reached on loopback."""
    return "127.0.0.1" if running.host in ("", "0.0.0.0", "::") else running.host


def isolation_lines(isolation: str, details: Iterable[str]) -> list[str]:
    """The level in force and what it means here, as indented lines. The runtime's own first line repeats the level."""
    lines = [isolation, *details]
    if len(lines) > 1 and lines[1].startswith(f"isolation: {isolation}"):
        lines[:2] = [lines[1].removeprefix("isolation: ")]
    return [f"  {'isolation' if number == 0 else '':<9}  {line}" for number, line in enumerate(lines)]


def program() -> str:
    """How the user can type our name here: ``ionian`` when it is on PATH, else the path of the script beside us."""
    import shutil
    import sys

    if shutil.which("ionian"):
        return "ionian"
    script = Path(sys.executable).parent / "ionian"
    if not script.is_file():
        return f"{sys.executable} -m ionian"
    here = Path.cwd()
    return str(script.relative_to(here)) if script.is_relative_to(here) else str(script)


def home_option(config: Config) -> str:
    """`` --home DIR``, quoted for a shell, or nothing when that home is the default anyway."""
    import shlex

    from ionian.config import default_home

    return "" if config.home == default_home(os.environ) else f" --home {shlex.quote(str(config.home))}"
