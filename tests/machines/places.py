"""Machines of other kinds on this one: a plain container, an ordinary user's checkout, no network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.machine import Machine

ROOT = Path(__file__).parents[2]
SCRIPT = (sys.executable, str(Path(__file__).with_name("plain_container.py")))
NOBODY, NAMELESS = 65534, 20001  # the second has no entry in /etc/passwd
_PACKAGE_SOURCES = ("pip_", "uv_", "ssl_cert_", "http_proxy", "https_proxy", "no_proxy")


def refusal() -> str:
    """Why other machines cannot be made here; empty when they can."""
    if os.geteuid() != 0:
        return "needs root: it takes rights away from programs to see them manage without"
    tried = subprocess.run([*SCRIPT, "--", "true"], capture_output=True, text=True)
    return f"needs the right to mount and to unshare: {tried.stderr.strip()}" if tried.returncode else ""


@dataclass(frozen=True)
class Place:
    """A machine of another kind. ``root_home``: what was written below its /root."""

    pid: int
    root_home: Path

    def wrapper(self, *options: str) -> tuple[str, ...]:
        """What runs a command in it."""
        return (*SCRIPT, "--join", str(self.pid), *options, "--")


@contextmanager
def place(directory: Path, *options: str) -> Iterator[Place]:
    """Make one and keep it until the end. ``directory``: for changes below its /root."""
    command = [*SCRIPT, "--root-home", str(directory), *options, "--", "sh", "-c", "echo ready; exec cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        yield Place(holder.pid, directory / "upper")


@contextmanager
def users_directory(uid: int) -> Iterator[Path]:
    """A directory of that user, which everybody may enter."""
    directory = Path(tempfile.mkdtemp(prefix="ionian-machines-"))
    try:
        os.chown(directory, uid, uid)
        directory.chmod(0o755)
        yield directory
    finally:
        shutil.rmtree(directory)


def checkout(directory: Path, uid: int) -> Path:
    """What a fresh clone of this working tree would be, owned by that user."""
    listing = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    copied = directory / "checkout"
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (copied / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copied / name)
    for folder, _, files in os.walk(copied):
        for entry in (folder, *(os.path.join(folder, file) for file in files)):
            os.chown(entry, uid, uid)
    return copied


def bare_environ(home: Path) -> dict[str, str]:
    """The environment of a fresh login, and where packages come from."""
    kept = {name: value for name, value in os.environ.items() if name.lower().startswith(_PACKAGE_SOURCES)}
    return {**kept, "HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "IONIAN_PORT": "0"}


def users_machine(directory: Path, python: Path, wrapper: tuple[str, ...]) -> Machine:
    """A machine of an ordinary user: home and everything else in ``directory``, which is the user's."""
    home, user_home = directory / "home", directory / "user"
    owner = directory.stat().st_uid
    for made in (home, user_home):
        made.mkdir(exist_ok=True)
        os.chown(made, owner, owner)
    return Machine(home, user_home, bare_environ(user_home), str(python), wrapper)
