"""The host as a base image: its name, the digest that layers depend on, and which of its packages are installed."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from ionian.runtimes.runtime import Interpreter

_OS_RELEASE = Path("/etc/os-release")
_DPKG_STATUS = Path("/var/lib/dpkg/status")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def name() -> str:
    """Such as ``Debian GNU/Linux 12 (bookworm)``."""
    match = re.search(rb'^PRETTY_NAME="?([^"\n]*)', _read(_OS_RELEASE), re.MULTILINE)
    return match[1].decode(errors="replace") if match else "Linux"


def digest(interpreter: Interpreter, version: str) -> str:
    """What layers depend on: the system's release, its packages, and the interpreter's full version and place."""
    state = hashlib.sha256()
    for part in (_read(_OS_RELEASE), _dpkg_digest(_stamp()), version.encode(), str(interpreter.prefix).encode()):
        state.update(len(part).to_bytes(8, "big") + part)
    return state.hexdigest()


def _stamp() -> tuple[int, int]:
    try:
        status = _DPKG_STATUS.stat()
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=2)
def _dpkg_digest(stamp: tuple[int, int]) -> bytes:
    return hashlib.sha256(_read(_DPKG_STATUS)).digest()


def missing_packages(names: Iterable[str]) -> list[str]:
    """Those of the Debian packages ``names`` that are not installed on this host."""
    have: set[str] = set()
    for block in _read(_DPKG_STATUS).decode(errors="replace").split("\n\n"):
        found = re.search(r"^Package: (\S+)$", block, re.MULTILINE)
        if found and re.search(r"^Status: \S+ ok installed$", block, re.MULTILINE):
            have.add(found[1])
    return [package for package in names if package.split(":")[0] not in have]
