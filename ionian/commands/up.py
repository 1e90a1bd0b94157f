"""``ionian up``: run the server here, or detached; say where it is, how isolated, and what to type next."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from ionian.commands import options, running
from ionian.config import Config, make_home
from ionian.errors import FailedPrecondition, InvalidRequest, Unavailable

START_TIMEOUT_S = 60.0
_LOG_ROTATE_BYTES = 4 * 1024**2
_POLL_S = 0.02


def run(arguments: list[str], home: str | None) -> int:
    parser = options.parser("up")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, metavar="N", help="port for gRPC and HTTP (default 9900; 0: a free one)")
    parser.add_argument("--detach", action="store_true", help="return when it is ready, and leave it running")
    parsed = parser.parse_args(arguments)
    if parsed.port is not None and not 0 <= parsed.port <= 65535:
        raise InvalidRequest(f"--port {parsed.port} is not a port: 0 (a free one) to 65535")
    config = options.config(home, host=parsed.host, port=parsed.port)
    refuse_second(config)
    if parsed.detach:
        sys.stdout.write(greeting(config, start(config, parsed.host, parsed.port)))
        return 0
    from ionian import server  # everything heavy is behind this

    return server.serve(config, ready=lambda: _greet(config))


def _greet(config: Config) -> None:
    sys.stdout.write(greeting(config, running.require(config)))
    sys.stdout.flush()


def refuse_second(config: Config) -> None:
    """Raise FailedPrecondition, naming it, when a server runs on this home. The server's lock decides."""
    server = running.find(config)
    if server is not None:
        raise FailedPrecondition(
            f"a server already runs on {config.home}: pid {server.pid} at {server.url}; "
            f"`{running.program()} down{running.home_option(config)}` stops it"
        )


def start(config: Config, host: str | None = None, port: int | None = None) -> running.Running:
    """Start a detached server and return when it is ready. Raises Unavailable with its last words when it is not."""
    make_home(config)
    log = config.logs / "server.log"
    if log.exists() and log.stat().st_size > _LOG_ROTATE_BYTES:
        log.replace(log.with_suffix(".log.1"))
    command = [sys.executable, "-m", "ionian", "up", "--home", str(config.home)]
    command += ["--host", host] if host is not None else []
    command += ["--port", str(port)] if port is not None else []
    with open(log, "ab") as output:
        begin = output.tell()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    return _await_ready(config, child, log, begin)


def _await_ready(config: Config, child: subprocess.Popen[bytes], log: Path, begin: int) -> running.Running:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        server = running.find(config)
        if server is not None and server.pid == child.pid:
            return server
        code = child.poll()
        if code is not None:
            raise Unavailable(f"the server did not start (exit code {code}):\n{_last_words(log, begin)}")
        time.sleep(_POLL_S)
    child.kill()
    child.wait()
    raise Unavailable(f"the server was not ready within {START_TIMEOUT_S:.0f} s:\n{_last_words(log, begin)}")


def _last_words(log: Path, begin: int, lines: int = 15) -> str:
    """The end of what this start wrote."""
    with open(log, "rb") as file:
        file.seek(begin)
        text = file.read().decode(errors="replace").strip().splitlines()
    return "\n".join([*(f"  {line}" for line in text[-lines:]), f"  (all of it: {log})"])


def greeting(config: Config, server: running.Running) -> str:
    """What a user needs to know of a fresh server, ending with what to type next."""
    from ionian import __version__

    name, option = running.program(), running.home_option(config)
    deploy = f"{name} deploy app.py{option}"
    return "\n".join(
        [
            f"Ionian {__version__} at {server.url}",
            f"  data       {config.home}",
            *running.isolation_lines(server.isolation, server.details),
            "next:",
            f'  eval "$({name} env{option})"',
            f"  modal deploy app.py    # or, without the line above: {deploy}",
            "",
        ]
    )
