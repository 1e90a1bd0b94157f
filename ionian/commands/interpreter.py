"""Which Python runs the modal client: the user's project's, where their ``modal`` is; ours when they have none."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

_PROBE = (
    "import sys; sys.path = [p for p in sys.path if p]; import importlib.util; "
    "sys.exit(importlib.util.find_spec('modal') is None)"
)
_PROBE_TIMEOUT_S = 20


def find(environ: Mapping[str, str], directory: Path) -> str:
    """The first Python that has ``modal``: active venv, ``.venv`` here or above (to the git root), PATH, then ours."""
    for candidate in _candidates(environ, directory):
        if _has_client(candidate):
            return candidate
    return sys.executable


def _candidates(environ: Mapping[str, str], directory: Path) -> Iterator[str]:
    if environ.get("VIRTUAL_ENV"):
        yield str(Path(environ["VIRTUAL_ENV"]) / "bin" / "python")
    for place in (directory, *directory.parents):
        yield str(place / ".venv" / "bin" / "python")
        if (place / ".git").exists():
            break
    for name in ("python3", "python"):
        found = shutil.which(name, path=environ.get("PATH"))
        if found:
            yield found


def _has_client(python: str) -> bool:
    """Whether this interpreter can import ``modal``; a missing or broken interpreter cannot."""
    prefix = Path(python).parent.parent
    if not Path(python).is_file():
        return False
    if (prefix / "pyvenv.cfg").is_file() and any(prefix.glob("lib/python3*/site-packages/modal/__init__.py")):
        return True  # the usual case, without starting a process
    try:
        probe = subprocess.run([python, "-c", _PROBE], cwd="/", capture_output=True, timeout=_PROBE_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.returncode == 0
