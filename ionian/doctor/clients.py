"""Checks of our Python and of the project's modal client: pure judgements, and the one question that asks a Python."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

from ionian import wire
from ionian.doctor.check import Check, failed, ok, warning

OLDEST_CLIENT = (0, 64)
OLDEST_PYTHON = (3, 11)  # ours; pyproject.toml says the same
_ASK_TIMEOUT_S = 20
_ASK = (
    "import sys; sys.path = [p for p in sys.path if p]; import json; from importlib.metadata import version; "
    "print(json.dumps([list(sys.version_info[:2]), version('modal')]))"
)
# A client refuses to build images for a Python newer than its image builder knows: the first that fits, from the top.
_NEWEST_PYTHON = (((1, 3), (3, 15)), ((1, 0), (3, 13)), ((0, 0), (3, 12)))


@dataclass(frozen=True, slots=True)
class Client:
    """A modal client and the Python that runs it."""

    python: str  # path
    series: tuple[int, int]
    version: str


def ask(python: str) -> Client | None:
    """The client that this Python would run; None when it has none or does not run."""
    try:
        done = subprocess.run([python, "-c", _ASK], cwd="/", capture_output=True, timeout=_ASK_TIMEOUT_S, text=True)
        series, version = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
    return Client(python, (int(series[0]), int(series[1])), str(version))


def python(version: tuple[int, int, int], path: str) -> Check:
    """The Python that runs Ionian."""
    found = f"{'.'.join(map(str, version))} ({path})"
    if version[:2] < OLDEST_PYTHON:
        return failed("python", found, "install Ionian with Python 3.11 or newer")
    return ok("python", found)


def client(found: Client | None, path: str, own: bool, newest: str) -> Check:
    """The client for ``ionian deploy`` here. ``own``: it is ours, as the project has none. ``newest``: that we know."""
    if found is None:
        return failed("client", f"{path} cannot run modal", f"{path} -m pip install modal=={newest}")
    numbers = wire.version_tuple(found.version)
    whose = "Ionian's own" if own else found.python
    text = f"modal {found.version} on Python {_dotted(found.series)} ({whose})"
    if numbers < OLDEST_CLIENT:
        return warning("client", text, f"clients before {_dotted(OLDEST_CLIENT)} are not tested: pip install -U modal")
    limit = next(python for first, python in _NEWEST_PYTHON if numbers >= first)
    if found.series > limit:
        fix = f"this client knows Python up to {_dotted(limit)}: use that, or pip install modal=={newest}"
        return failed("client", text, fix)
    if numbers > wire.version_tuple(newest):
        return warning("client", text, f"newer than what this Ionian knows: pip install modal=={newest} if it fails")
    return ok("client", text)


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
