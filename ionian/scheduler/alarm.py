"""Telling somebody of a failed run: a command of the user's choice, a request to an address, or both.

Neither may hold up the server: both have a time limit, and what goes wrong with them is a line in the server's log.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ionian.state.database import Row

LIMIT_S = 30.0
log = logging.getLogger("ionian.schedules")


def event(run: Row, schedule: str) -> dict[str, Any]:
    """What is told of a run: text and, for times, ISO 8601 in UTC. ``schedule``: in words."""
    return {
        "event": "schedule.failed",
        "app": run["app"],
        "app_id": run["app_id"],
        "environment": run["environment"],
        "function": run["function"],
        "function_id": run["function_id"],
        "schedule": schedule,
        "run_id": run["run_id"],
        "call_id": run["call_id"],
        "due": _iso(run["due_at"]),
        "started": _iso(run["started_at"]),
        "ended": _iso(run["ended_at"]),
        "status": run["status"],
        "error": run["error"],
    }


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds") if moment else ""


async def tell(told: Mapping[str, Any], command: str, webhook: str) -> None:
    """Run the command and call the address, as far as there are any. Never raises for what goes wrong with them."""
    body = json.dumps(told).encode()
    if command:
        try:
            await _command(command, told, body)
        except (OSError, TimeoutError) as error:
            _complain("schedule_failure_command", told, str(error) or f"it took longer than {LIMIT_S:.0f} s")
    if webhook:
        try:
            await asyncio.to_thread(_post, webhook, body)
        except (OSError, ValueError) as error:
            _complain("schedule_failure_webhook", told, str(error))


def _complain(setting: str, told: Mapping[str, Any], reason: str) -> None:
    log.error("run %s of %s failed, and %s did too: %s", told["run_id"], told["function"], setting, reason)


async def _command(command: str, told: Mapping[str, Any], body: bytes) -> None:
    """The details are in IONIAN_SCHEDULE_* and, as JSON, on stdin; what it prints goes to the server's own log."""
    names = {f"IONIAN_SCHEDULE_{key.upper()}": str(value).replace("\0", "") for key, value in told.items()}
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        command,
        env={**os.environ, **names},
        stdin=asyncio.subprocess.PIPE,
        stdout=2,
        start_new_session=True,
    )
    try:
        await asyncio.wait_for(process.communicate(body), LIMIT_S)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        _complain("schedule_failure_command", told, f"exit code {process.returncode}")


def _post(address: str, body: bytes) -> None:
    """Raises OSError (URLError, HTTPError among them) when it is not taken with a 2xx."""
    request = urllib.request.Request(address, body, {"content-type": "application/json"}, method="POST")
    with urllib.request.urlopen(request, timeout=LIMIT_S) as response:
        response.read(65536)
