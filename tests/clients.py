"""Released clients for tests: which Python can run them here."""

from __future__ import annotations

import subprocess
import sys

import pytest
import uv

OLD = "0.73.173"
_NEWEST_PYTHON_OF_OLD = (3, 12)  # its image builders stop there


def python_for(version: str) -> str:
    """Ours, or for an old client an older one where ours is too new for it. Skips the test when there is none."""
    if version != OLD or sys.version_info[:2] <= _NEWEST_PYTHON_OF_OLD:
        return sys.executable
    command = [uv.find_uv_bin(), "python", "find", "--no-project", "--system", "--no-python-downloads", ">=3.10,<3.13"]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"client {OLD} needs Python 3.12 or older, and there is none on this machine")
    return found.stdout.strip()
