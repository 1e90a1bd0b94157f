"""Finds a Python of a series on this machine, by real path: never a shim, and only one that was really run."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ionian.config import Config
from ionian.errors import InvalidRequest, NotFound
from ionian.images import uvtool
from ionian.runtimes.runtime import Interpreter

_PROBE = (
    "import sys, sysconfig, json; print(json.dumps([sys.base_prefix, list(sys.version_info[:3]), "
    "bool(sysconfig.get_config_var('Py_ENABLE_SHARED')), sys.version]))"
)


@dataclass(frozen=True, slots=True)
class Found:
    interpreter: Interpreter
    version: str  # full, "3.11.2"
    build: str  # sys.version: layers of compiled packages depend on it


class Interpreters:
    """The Pythons of this machine, each looked for once."""

    def __init__(self, config: Config, environ: Mapping[str, str] | None = None) -> None:
        self._config = config
        self._folder = config.home / "pythons"
        self._environ = os.environ if environ is None else environ
        self._found: dict[str, Found] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def find(self, series: str) -> Interpreter:
        """The Python of ``series`` ("3.11"). Raises InvalidRequest, or NotFound saying what there is and what to do."""
        return (await self.describe(series)).interpreter

    async def describe(self, series: str) -> Found:
        """As ``find``, with the full version."""
        if not re.fullmatch(r"3\.\d{1,2}", series):
            raise InvalidRequest(f"Python {series!r} is not a series such as 3.11")
        async with self._locks.setdefault(series, asyncio.Lock()):
            if series not in self._found or not self._found[series].interpreter.executable.exists():
                self._found[series] = await self._search(series)
            return self._found[series]

    async def _search(self, series: str) -> Found:
        for candidate in candidates(series, self._environ, self._folder):
            if found := await _probed(candidate, series):
                return found
        for install in (False, True):
            if (path := await self._managed(series, install)) and (found := await _probed(path, series)):
                return found
        have = [s for s in (f"3.{n}" for n in range(8, 20)) if any(candidates(s, self._environ, self._folder))]
        raise NotFound(
            f"no Python {series} on this machine (there is {', '.join(have) or 'none'}), and uv could not fetch one. "
            f"Install python{series}, or run `uv python install {series}`, or ask for another with python_version="
        )

    async def _managed(self, series: str, install: bool) -> Path | None:
        """A Python that uv manages: one that is there, else one downloaded into HOME."""
        extra = {"UV_PYTHON_INSTALL_DIR": str(self._folder), "UV_PYTHON_DOWNLOADS": "manual"} if install else {}
        self._folder.mkdir(parents=True, exist_ok=True)
        tool = uvtool.uv_tool(self._config, self._environ)
        if install:
            args = ["python", "install", "--no-bin", series]
            if (await uvtool.run(tool, args, cwd=self._folder, extra=extra, timeout_s=600)).code:
                return None
        args = ["python", "find", "--no-python-downloads", "--managed-python", "--no-project", series]
        result = await uvtool.run(tool, args, cwd=self._folder, extra=extra, timeout_s=60)
        return Path(result.stdout.strip()) if result.code == 0 and result.stdout.strip() else None


def candidates(series: str, environ: Mapping[str, str], folder: Path) -> Iterator[Path]:
    """Where a Python of ``series`` may be, best first. Scripts (shims) are left out."""
    name = f"python{series}"
    if series == "{}.{}".format(*sys.version_info):
        yield Path(getattr(sys, "_base_executable", sys.executable))
    for directory in environ.get("PATH", "").split(os.pathsep):
        if directory and "shims" not in Path(directory).parts:
            yield from _program(Path(directory) / name)
    roots = [environ.get("PYENV_ROOT", ""), f"{environ.get('HOME', '/root')}/.pyenv"]
    for root in dict.fromkeys(r for r in roots if r):
        found = Path(root, "versions").glob(f"{series}.*/bin/{name}")
        for path in sorted(found, key=lambda p: _patch(p.parent.parent.name), reverse=True):
            yield from _program(path)
    for place in ("/usr/bin", "/usr/local/bin"):
        yield from _program(Path(place, name))
    for path in sorted(folder.glob(f"cpython-{series}.*/bin/{name}"), reverse=True):
        yield from _program(path)


def _patch(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _program(path: Path) -> Iterator[Path]:
    """``path`` when it is a compiled program."""
    try:
        with path.open("rb") as file:
            if file.read(4) == b"\x7fELF" and os.access(path, os.X_OK):
                yield path
    except OSError:
        return


async def _probed(path: Path, series: str) -> Found | None:
    """What the Python at ``path`` says of itself, or None when it does not run or is of another series."""
    env = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    try:
        process = await asyncio.create_subprocess_exec(
            path,
            *("-I", "-S", "-c", _PROBE),
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return None
    out, _ = await process.communicate()
    try:
        prefix, version, shared, build = json.loads(out)
    except ValueError:
        return None
    if process.returncode or "{}.{}".format(*version) != series:
        return None
    real = Path(prefix, "bin", f"python{series}")
    executable = (real if real.exists() else path).resolve()
    return Found(Interpreter(executable, Path(prefix), series, shared), ".".join(map(str, version)), build)
