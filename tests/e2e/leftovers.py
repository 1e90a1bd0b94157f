"""What a home has left on this machine: processes, mounts, cgroups, sockets, links. Empty after `ionian down`."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ionian.config import Config

CGROUPS = Path("/sys/fs/cgroup")


def find(config: Config) -> list[str]:
    """Everything left of this home, one line each."""
    places = tuple(os.fsencode(place) for place in (config.home, config.run))
    return [*_processes(places), *_mounts(places), *_sockets(places, config), *_cgroups(config)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it ended meanwhile, or is another user's


def _processes(places: tuple[bytes, ...]) -> Iterator[str]:
    """Processes whose command line, environment or working directory names the home."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        command = _read(entry / "cmdline")
        try:
            cwd = os.fsencode(os.readlink(entry / "cwd"))
        except OSError:
            cwd = b""
        known = command + b"\0" + _read(entry / "environ") + b"\0" + cwd
        if any(place in known for place in places):
            yield f"process {entry.name}: {command.replace(bytes(1), b' ').decode(errors='replace')}"


def _mounts(places: tuple[bytes, ...]) -> Iterator[str]:
    for line in _read(Path("/proc/self/mountinfo")).splitlines():
        if any(place in line for place in places):
            yield f"mount {line.decode(errors='replace')}"


def _sockets(places: tuple[bytes, ...], config: Config) -> Iterator[str]:
    for line in _read(Path("/proc/net/unix")).splitlines():
        if any(place in line for place in places):
            yield f"listening socket {line.split()[-1].decode(errors='replace')}"
    for place in {config.home / "run", config.run}:
        for path in place.rglob("*"):
            if stat.S_ISSOCK(path.lstat().st_mode):
                yield f"socket file {path}"


def _cgroups(config: Config) -> Iterator[str]:
    """Control groups of this home. Their parent's name has the digest of a directory of the home."""
    places = [config.home, config.home / "base", config.run, *config.home.glob("*/"), *config.run.glob("*/")]
    names = {"ionian-" + hashlib.sha256(os.fsencode(place)).hexdigest()[:12] for place in places}
    for directory, folders, _ in os.walk(CGROUPS):
        for name in names.intersection(folders):
            yield f"cgroup {directory}/{name}"
