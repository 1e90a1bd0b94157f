"""What a stack of layers shows, and how a layer hides what lies below it.

There is one representation: overlayfs's own. A file or directory is hidden by a character device 0:0 of its name (any
user may make one since Linux 5.8), and a directory whose ``user.overlay.opaque`` (or ``trusted.``) attribute is "y"
hides what lower layers have in it. Build steps leave both behind; package steps only make devices.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from ionian.errors import BuildFailed


def is_whiteout(path: Path) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(folder: Path) -> bool:
    """Whether ``folder`` hides what lower layers have at its path."""
    for name in ("user.overlay.opaque", "trusted.overlay.opaque"):
        try:
            if os.getxattr(folder, name, follow_symlinks=False) == b"y":
                return True
        except OSError:
            continue  # no such attribute, or not for this user
    return False


def put(path: Path) -> None:
    """Hide whatever lower layers have at ``path``. Raises BuildFailed where the file system cannot."""
    try:
        os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))
    except OSError as error:
        raise BuildFailed(
            f"cannot make the overlay whiteout {path}: {error}; put HOME on a Linux file system"
        ) from error


def _reach(tree: Path, relative: str) -> tuple[bool, bool]:
    """Whether ``tree`` has something at ``relative``, and whether it hides what lower layers have there."""
    at, hides, parts = tree, False, PurePosixPath(relative).parts
    for depth, part in enumerate(parts, 1):
        at = at / part
        if is_whiteout(at):
            return False, True
        if not os.path.lexists(at):
            return False, hides
        if at.is_symlink() or not at.is_dir():
            return depth == len(parts), True
        hides = hides or is_opaque(at)
    return True, hides


def visible(layers: Sequence[Path], relative: str) -> Path | None:
    """Where what a container sees at ``relative`` really lies; None when no layer shows anything.

    ``layers``: trees, bottom first. Links are not followed.
    """
    for tree in reversed(layers):
        present, hides = _reach(tree, relative)
        if present:
            return tree / relative
        if hides:
            return None
    return None


def listing(layers: Sequence[Path], relative: str) -> set[str]:
    """The names that a container sees in the directory ``relative``."""
    names: set[str] = set()
    for tree in layers:
        present, hides = _reach(tree, relative)
        if hides:
            names.clear()
        folder = tree / relative
        if not present or folder.is_symlink() or not folder.is_dir():
            continue
        for name in os.listdir(folder):
            (names.discard if is_whiteout(folder / name) else names.add)(name)
    return names


def hide(lower: Sequence[Path], upper: Path, files: Iterable[str], below: str) -> None:
    """Hide ``files`` (relative paths that ``lower`` shows) in ``upper``, except those that ``upper`` has itself.

    A directory under ``below`` that would be left with nothing but byte code is hidden whole: an empty one would import
    as a namespace package.
    """
    gone = {path for path in files if not os.path.lexists(upper / path) and visible(lower, path) is not None}
    pending = {str(PurePosixPath(path).parent) for path in gone}
    while pending:
        folder = max(pending, key=lambda path: path.count("/"))
        pending.discard(folder)
        if not folder.startswith(below + "/") or os.path.lexists(upper / folder):
            continue
        if {name for name in listing(lower, folder) if f"{folder}/{name}" not in gone} <= {"__pycache__"}:
            gone = {path for path in gone if not path.startswith(folder + "/")} | {folder}
            pending.add(str(PurePosixPath(folder).parent))
    for path in sorted(gone):
        target = upper / path
        target.parent.mkdir(parents=True, exist_ok=True)
        put(target)
