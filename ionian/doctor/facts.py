"""Finds out about the machine, changing nothing: what ``machine.py`` judges. Nothing here uses the network."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from ionian.config import Config
from ionian.services import resolves

_RESOLVE_S = 1.0  # longest wait for a name that needs no network
_SETTINGS = {
    "user.max_user_namespaces": Path("/proc/sys/user/max_user_namespaces"),
    "kernel.unprivileged_userns_clone": Path("/proc/sys/kernel/unprivileged_userns_clone"),
    "kernel.apparmor_restrict_unprivileged_userns": Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
    "selinux.enforce": Path("/sys/fs/selinux/enforce"),
}


@dataclass(frozen=True, slots=True)
class Space:
    """Where the home is or will be. ``place``: the home, else the nearest directory above that exists."""

    place: Path
    free: int  # bytes for this user
    inodes: int | None  # None where the file system counts none
    kind: str  # ext4, overlay, ...


def space(home: Path) -> Space:
    place = next(path for path in (home, *home.parents) if path.is_dir())
    found = os.statvfs(place)
    inodes = found.f_favail if found.f_files else None
    return Space(place, found.f_bavail * found.f_frsize, inodes, kind(place))


def kind(place: Path) -> str:
    """The file system of a directory, from the mounts that this process sees."""
    try:
        text = Path("/proc/self/mountinfo").read_text()
    except OSError:
        return "an unknown file system"
    return kind_of(os.path.realpath(place), text)


def kind_of(place: str, mountinfo: str) -> str:
    """The file system type of the last mount that covers ``place``, PURE."""
    best, found = "", "an unknown file system"
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        point = left.split(" ")[4].encode().decode("unicode_escape").encode("latin-1").decode("utf-8", "replace")
        covers = place == point or place.startswith(point.rstrip("/") + "/")
        if covers and len(point) >= len(best):
            best, found = point, right.split(" ")[0]
    return found


def kernel() -> dict[str, str]:
    """The settings that this kernel has, as ``machine.kernel`` names them."""
    found = {}
    for name, path in _SETTINGS.items():
        with contextlib.suppress(OSError):
            found[name] = path.read_text().strip()
    return found


def bind_error(host: str, port: int) -> OSError | None:
    """What listening there raises, as the server would; None when it works."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, socket.SOCK_STREAM) as made:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(address)
            made.listen(1)
    except OSError as error:
        return error
    return None


def names_resolve() -> bool | None:
    """Whether ``*.localhost`` resolves; None when the resolver has not answered in time."""
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(resolves("ionian-check.localhost")), daemon=True)
    thread.start()
    thread.join(_RESOLVE_S)
    return answers[0] if answers else None


def schema(path: Path) -> tuple[int | None, str]:
    """The schema version of a database (None: there is none yet), and why it cannot be read."""
    if not path.is_file() or not path.stat().st_size:
        return None, ""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)) as made:
            return int(made.execute("SELECT MAX(version) FROM schema_versions").fetchone()[0] or 0), ""
    except sqlite3.Error as error:
        return None, str(error)


def token(path: Path) -> tuple[int | None, bool]:
    """Permission bits of the token file (None: there is none), and whether it holds a token."""
    try:
        mode = path.stat().st_mode & 0o777
        found = json.loads(path.read_text())
        return mode, bool(found["token_id"] and found["token_secret"])
    except FileNotFoundError:
        return None, False
    except (OSError, ValueError, KeyError, TypeError):
        return mode, False


def ahead(config: Config) -> float:
    """Seconds by which the newest of the home's own files is ahead of the clock."""
    times = [path.stat().st_mtime for path in (config.database, config.token_file) if path.exists()]
    return max(times, default=0.0) - time.time()
