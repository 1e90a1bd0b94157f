"""Directory trees on disk: merge layers with overlay's rules, copy, remove. Walks yield so that a loop can breathe.

Invariant: nothing here writes through into a source. Files up to ``COPY_LIMIT`` bytes are copied; larger ones, too
expensive to copy per container, are hard-linked where the file system allows it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

COPY_LIMIT = 64 * 1024 * 1024  # bytes
_BATCH = 200  # entries between two yields

Place = Callable[[Path, Path, os.stat_result], None]


def is_whiteout(path: Path, info: os.stat_result) -> bool:
    """Whether an entry of a layer stands for a deletion: a 0/0 device, or overlay's attribute on an empty file."""
    if stat.S_ISCHR(info.st_mode):
        return info.st_rdev == 0
    return stat.S_ISREG(info.st_mode) and info.st_size == 0 and _attribute(path, "whiteout") is not None


def is_opaque(path: Path) -> bool:
    """Whether a directory of a layer hides the directories of the same name below it."""
    return _attribute(path, "opaque") == b"y"


def _attribute(path: Path, name: str) -> bytes | None:
    for space in ("user", "trusted"):
        with contextlib.suppress(OSError):
            return os.getxattr(path, f"{space}.overlay.{name}", follow_symlinks=False)
    return None


def merge(sources: Sequence[Path]) -> dict[str, list[Path]]:
    """One level of an overlay: name -> directories to merge, or the one other entry that wins. ``sources`` top first.

    The list is top first too. Deleted names are absent.
    """
    found: dict[str, list[Path]] = {}
    closed: set[str] = set()
    for source in sources:
        try:
            entries = sorted(os.scandir(source), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            if entry.name in closed:
                continue
            path = source / entry.name
            if entry.is_dir(follow_symlinks=False):
                found.setdefault(entry.name, []).append(path)
                if is_opaque(path):
                    closed.add(entry.name)
                continue
            closed.add(entry.name)
            if entry.name not in found and not is_whiteout(path, entry.stat(follow_symlinks=False)):
                found[entry.name] = [path]
        if is_opaque(source):
            break
    return found


def build(sources: Sequence[Path], target: Path, place: Place) -> Iterator[None]:
    """Make ``target`` (which may exist) the merged view of ``sources``, top first; ``place`` makes each file."""
    target.mkdir(exist_ok=True)
    for count, (name, paths) in enumerate(merge(sources).items(), 1):
        info = paths[0].lstat()
        if stat.S_ISDIR(info.st_mode):
            yield from build(paths, target / name, place)
            os.chmod(target / name, stat.S_IMODE(info.st_mode) | stat.S_IRWXU)
        elif stat.S_ISLNK(info.st_mode):
            (target / name).symlink_to(os.readlink(paths[0]))
        elif stat.S_ISREG(info.st_mode):
            place(paths[0], target / name, info)
        if count % _BATCH == 0:
            yield
    yield


def link(source: Path, target: Path, info: os.stat_result) -> None:
    """A hard link, or a copy where one cannot be made (another file system, too many links, a protected file)."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM):
            raise
        shutil.copy2(source, target)


def copy(source: Path, target: Path, info: os.stat_result) -> None:
    """A copy, so that writing to it does not reach the source; a hard link for what is larger than ``COPY_LIMIT``."""
    if info.st_size > COPY_LIMIT:
        link(source, target, info)
    else:
        shutil.copy2(source, target)


def removal(path: Path) -> Iterator[None]:
    """Remove a file or tree, whatever its modes, yielding now and then. A missing one is fine."""
    try:
        info = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(info.st_mode):
        path.unlink(missing_ok=True)
        return
    if info.st_mode & stat.S_IRWXU != stat.S_IRWXU:
        path.chmod(0o700)  # overlay leaves its work directory with mode 000
    for count, name in enumerate(os.listdir(path), 1):
        child = path / name
        if child.is_dir() and not child.is_symlink():
            yield from removal(child)
        else:
            child.unlink(missing_ok=True)
        if count % _BATCH == 0:
            yield
    path.rmdir()
    yield


def finish(steps: Iterator[None]) -> None:
    """Run a walk to its end at once."""
    for _ in steps:
        pass
