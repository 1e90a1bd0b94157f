"""Pythons of this machine, and real clients in virtual environments of their own, each made once a session."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ionian.config import Config
from ionian.images import interpreters
from ionian.images.uvtool import uv_tool
from tests.e2e.machine import Client, clean_environ

_SERIES_OF = "import sys; print('{}.{}'.format(*sys.version_info))"


def python_of(series: str) -> Path | None:
    """A Python of that series where the server itself would look for one, or None."""
    for candidate in interpreters.candidates(series, os.environ, Path("/nonexistent")):
        done = subprocess.run([candidate, "-I", "-c", _SERIES_OF], capture_output=True, text=True)
        if done.stdout.strip() == series:
            return candidate
    return None


class Clients:
    """Virtual environments in ``directory``, all filled from one cache of packages."""

    def __init__(self, directory: Path, cache: Path) -> None:
        self._directory = directory
        self._tool = uv_tool(Config(home=cache.parent), clean_environ())
        self._made: dict[tuple[str, str], Client] = {}

    def get(self, version: str, series: str, python: Path) -> Client:
        """The client of that version on that Python, installed when it is asked for first."""
        made = self._made.get((version, series))
        if made is None:
            prefix = self._directory / f"{version}-{series}"
            self._uv("venv", "--quiet", "--python", str(python), str(prefix))
            self._uv("pip", "install", "--quiet", "--python", str(prefix), f"modal=={version}")
            made = self._made[version, series] = Client(version, prefix)
        return made

    def _uv(self, *arguments: str) -> None:
        command = [str(self._tool.binary), *arguments]
        done = subprocess.run(command, env=dict(self._tool.environ), capture_output=True, text=True)
        assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
