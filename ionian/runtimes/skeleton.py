"""What lies under every container's layers: a root skeleton with a filtered /etc, and a venv for /usr/local.

Both are directories cached under ``state`` by the digest of what they were made from. Made aside and renamed, so a
directory that exists is complete. Only what every local user may read is ever copied from the host.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ionian.errors import InvalidRequest
from ionian.runtimes import trees
from ionian.runtimes.runtime import Interpreter

LAYOUT = "1"  # change it when what is made here changes
RELOCATED = "/opt/ionian/python"  # where an interpreter from outside /usr is shown

_SECRET = {  # relative to /etc; files that not everybody may read are left out anyway
    "machine-id",
    "sudoers",
    "sudoers.d",
    "ssh",
    "ssl/private",
    "docker",
    "kubernetes",
    "letsencrypt",
    "wireguard",
    "krb5.keytab",
    "mtab",
}
PER_START = ("resolv.conf", "hosts", "hostname")  # written for every container
_DIRECTORIES = (
    *("boot", "dev", "etc", "home", "media", "mnt", "opt", "proc", "run", "srv", "sys", "usr", "var"),
    *("opt/ionian", "opt/ionian/python", "var/backups", "var/cache", "var/cache/apt", "var/lib", "var/lib/apt"),
    *("var/lib/dpkg", "var/local", "var/log", "var/log/apt", "var/mail", "var/opt", "var/spool"),
)
_LOCAL_DIRECTORIES = ("bin", "etc", "games", "include", "lib", "sbin", "share", "src")


@dataclass(frozen=True, slots=True)
class Base:
    """The lowest layers of a container, and how its interpreter is shown."""

    root: Path
    local: Path
    relocate: bool  # bind the interpreter's prefix at RELOCATED


def in_place(interpreter: Interpreter) -> bool:
    """Whether the container's own /usr holds this interpreter at the same path."""
    prefix = interpreter.prefix
    return prefix.is_relative_to("/usr") and not prefix.is_relative_to("/usr/local")


def pyvenv(home: str, series: str) -> str:
    """The text of a ``pyvenv.cfg``; ``home`` is the directory of the base interpreter."""
    return f"home = {home}\ninclude-system-site-packages = false\nversion = {series}\n"


def prepare(state: Path, interpreter: Interpreter, rootless: bool) -> Base:
    """The base for this interpreter, made if it is not there. Raises InvalidRequest when there is no such Python."""
    root = state / f"root-{_host_digest(rootless)[:24]}"
    if not root.is_dir():
        _make(root, lambda path: _fill_root(path, rootless))
    key = [LAYOUT, str(interpreter.executable), str(interpreter.prefix), interpreter.series]
    local = state / f"local-{hashlib.sha256(repr(key).encode()).hexdigest()[:24]}"
    if not local.is_dir():
        if not interpreter.executable.is_relative_to(interpreter.prefix) or not interpreter.executable.is_file():
            raise InvalidRequest(f"no Python at {interpreter.executable} (below {interpreter.prefix})")
        _make(local, lambda path: _fill_local(path, interpreter))
    return Base(root, local, not in_place(interpreter))


def _make(target: Path, fill: Callable[[Path], None]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    aside = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    trees.finish(trees.removal(aside))
    aside.mkdir(mode=0o755)
    aside.chmod(0o755)
    fill(aside)
    try:
        aside.rename(target)
    except OSError:
        trees.finish(trees.removal(aside))
        if not target.is_dir():  # else another process was quicker
            raise


def _host_digest(rootless: bool) -> str:
    """What the skeleton depends on: the names, times and modes in /etc, and the shape of the host's root."""
    digest = hashlib.sha256(f"{LAYOUT} {rootless} {os.getuid()}".encode())
    for path, info in _etc(Path("/etc"), ""):
        digest.update(f"{path} {info.st_mtime_ns} {info.st_mode} {info.st_size}\n".encode("utf-8", "surrogateescape"))
    for name in _top_links():
        digest.update(f"{name} {os.readlink('/' + name)}\n".encode())
    return digest.hexdigest()


def _top_links() -> list[str]:
    """``bin``, ``lib64`` and the like, where the host has them as links into /usr."""
    with os.scandir("/") as entries:
        return sorted(e.name for e in entries if e.name[:3] in ("bin", "lib", "sbi") and e.is_symlink())


def top_directories() -> list[str]:
    """``bin``, ``lib64`` and the like, where the host (not merged into /usr) has them as directories."""
    with os.scandir("/") as entries:
        return sorted(
            e.name for e in entries if e.name[:3] in ("bin", "lib", "sbi") and e.is_dir(follow_symlinks=False)
        )


def _etc(directory: Path, inside: str) -> Iterator[tuple[str, os.stat_result]]:
    """What may be shown of /etc: relative path and stat, parents first."""
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        path = f"{inside}{entry.name}"
        if path in _SECRET or path in PER_START:
            continue
        info = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(info.st_mode):
            yield path, info
        elif info.st_mode & stat.S_IROTH and (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)):
            yield path, info
            if stat.S_ISDIR(info.st_mode):
                yield from _etc(directory / entry.name, f"{path}/")


def _fill_root(root: Path, rootless: bool) -> None:
    for name in _DIRECTORIES:
        (root / name).mkdir(mode=0o755)
    for name, mode in (("tmp", 0o1777), ("var/tmp", 0o1777), ("root", 0o700)):
        (root / name).mkdir()
        (root / name).chmod(mode)
    for name, target in (("var/run", "/run"), ("var/lock", "/run/lock"), ("etc/mtab", "/proc/self/mounts")):
        (root / name).symlink_to(target)
    for name in _top_links():
        (root / name).symlink_to(os.readlink("/" + name))
    for path, info in _etc(Path("/etc"), ""):
        copied = root / "etc" / path
        with contextlib.suppress(PermissionError, FileNotFoundError):  # unreadable after all, or gone meanwhile
            if stat.S_ISLNK(info.st_mode):
                copied.symlink_to(os.readlink(f"/etc/{path}"))
            elif stat.S_ISDIR(info.st_mode):
                copied.mkdir()
                copied.chmod(stat.S_IMODE(info.st_mode) | stat.S_IRWXU)
            else:
                shutil.copyfile(f"/etc/{path}", copied)
                shutil.copystat(f"/etc/{path}", copied)
    for name in (*PER_START, "machine-id"):
        (root / "etc" / name).touch()
    if rootless and (root / "etc/apt/apt.conf.d").is_dir():  # one user id is mapped: apt cannot become _apt
        (root / "etc/apt/apt.conf.d/99ionian").write_text('APT::Sandbox::User "root";\n')


def _fill_local(local: Path, interpreter: Interpreter) -> None:
    for name in _LOCAL_DIRECTORIES:
        (local / name).mkdir()
    prefix = interpreter.prefix if in_place(interpreter) else Path(RELOCATED)
    executable = prefix / interpreter.executable.relative_to(interpreter.prefix)
    fill_venv(local, executable, interpreter.series)


def fill_venv(directory: Path, executable: Path, series: str) -> None:
    """Make ``directory`` a venv of ``executable`` (no pip), as far as what is needed is not there."""
    (directory / "bin").mkdir(exist_ok=True)
    (directory / "lib" / f"python{series}" / "site-packages").mkdir(parents=True, exist_ok=True)
    (directory / "pyvenv.cfg").unlink(missing_ok=True)
    (directory / "pyvenv.cfg").write_text(pyvenv(str(executable.parent), series))
    for name, target in (("python", str(executable)), ("python3", "python"), (f"python{series}", "python")):
        (directory / "bin" / name).unlink(missing_ok=True)
        (directory / "bin" / name).symlink_to(target)


def own_directories(state: Path) -> Path:
    """The host's /usr as empty directories of our own. Above it, they let an ordinary user's build add files to it."""
    target = state / f"usr-{_packages_digest()}"
    if not target.is_dir():
        _make(target, lambda path: _fill_directories(Path("/usr"), path))
    return target


def own_packages(state: Path) -> Path:
    """A copy of the host's /var/lib/dpkg, for builds of an ordinary user, who may not lock the original."""
    target = state / f"dpkg-{_packages_digest()}"
    if not target.is_dir():
        _make(target, _fill_packages)
    return target


def _fill_packages(target: Path) -> None:
    def place(source: Path, copied: Path, info: os.stat_result) -> None:
        if os.access(source, os.R_OK):
            shutil.copy2(source, copied)

    trees.finish(trees.build([Path("/var/lib/dpkg")], target, place))
    triggers = target / "triggers/File"
    if triggers.is_file():  # indexing manual pages changes to user "man", whom a single mapped user cannot become
        lines = triggers.read_text().splitlines(keepends=True)
        triggers.write_text(
            "".join(line for line in lines if line.split()[-1:] not in (["man-db"], ["man-db/noawait"]))
        )


def _packages_digest() -> str:
    """Changes when packages of the host do."""
    marks = [LAYOUT]
    for path in ("/var/lib/dpkg/status", "/usr/lib", "/usr/share", "/usr/bin"):
        with contextlib.suppress(OSError):
            marks.append(f"{path} {os.stat(path).st_mtime_ns}")
    return hashlib.sha256(repr(marks).encode()).hexdigest()[:24]


def _fill_directories(source: Path, target: Path) -> None:
    for entry in os.scandir(source):
        if entry.is_dir(follow_symlinks=False) and not (source == Path("/usr") and entry.name == "local"):
            with contextlib.suppress(PermissionError):
                os.listdir(entry.path)  # one that we cannot read stays the host's
                (target / entry.name).mkdir()
                _fill_directories(Path(entry.path), target / entry.name)


def per_start(hostname: str) -> dict[str, str]:
    """Files of /etc that change from start to start: today's name servers, and the container's name."""
    texts = {"hostname": f"{hostname}\n"}
    for name, otherwise in (("resolv.conf", ""), ("hosts", "127.0.0.1 localhost\n::1 localhost\n")):
        try:
            texts[name] = Path("/etc", name).read_text(errors="surrogateescape")
        except OSError:
            texts[name] = otherwise
    texts["hosts"] = texts["hosts"].rstrip("\n") + f"\n127.0.0.1 {hostname}\n"
    return texts
