"""``ionian down``: stop the server and everything it runs, also what a killed server has left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

from ionian.commands import options, running
from ionian.config import Config

_GRACE_BEYOND_DRAIN_S = 30.0
_KILL_WAIT_S = 5.0
_POLL_S = 0.02


def run(arguments: list[str], home: str | None) -> int:
    options.parser("down").parse_args(arguments)
    config = options.config(home)
    server = running.find(config)
    stop(config)
    if server is None:
        sys.stdout.write(f"no server was running on {config.home}\n")
    else:
        sys.stdout.write(f"stopped the server on {config.home} (pid {server.pid})\n")
    return 0


def stop(config: Config) -> None:
    """Stop whatever runs on this home: the server drains; if it cannot, or is dead already, the rest is cleaned up."""
    server = running.find(config)
    if server is not None:
        _signal(server, signal.SIGTERM)
        if not _gone(server, config.drain_s + _GRACE_BEYOND_DRAIN_S):
            _signal(server, signal.SIGKILL)
            _gone(server, _KILL_WAIT_S)
    if config.run.is_dir():
        from ionian.server import cleanup

        cleanup(config)


def _signal(server: running.Running, number: int) -> None:
    if running.is_alive(server):
        with contextlib.suppress(ProcessLookupError):  # it ended in between
            os.kill(server.pid, number)


def _gone(server: running.Running, timeout_s: float) -> bool:
    """Whether the process has ended within this time."""
    deadline = time.monotonic() + timeout_s
    while running.is_alive(server):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True
