"""The Copy step: files of the client's context into a layer, with the rules of a Dockerfile's COPY.

Paths are resolved through links of lower layers, and nothing is ever written outside the layer.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import os
import posixpath
from collections.abc import Sequence
from pathlib import Path

from ionian.blobs.store import BlobStore
from ionian.images import whiteouts
from ionian.images.chain import Chain, Step, failed
from ionian.images.dockerfile import expand, rooted
from ionian.images.layers import inside, make_parents, place
from ionian.images.ops import Copy
from ionian.model import MountFile

_HOST_FOLDERS = (
    "bin",
    "boot",
    "dev",
    "etc",
    "home",
    "lib",
    "lib64",
    "media",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "sbin",
)
_STANDARD = {"/", *(f"/{name}" for name in (*_HOST_FOLDERS, "srv", "sys", "tmp", "usr", "var")), "/usr/local"}


def plan(op: Copy, chain: Chain, lower: Sequence[Path]) -> list[tuple[MountFile | bytes, str]]:
    """What goes where: (a file of the context mount or bytes of the message, path in the container).

    Raises BuildFailed when a source matches nothing.
    """
    moves: list[tuple[MountFile | bytes, str]] = []
    target = chain.absolute(op.target)
    folder = op.target.endswith(("/", "/.")) or op.target == "." or len(op.sources) > 1 or is_folder(lower, target)
    for word in op.sources:
        found = _matches(expand(word, chain.variables), op, chain.request.context_mount)
        if not found:
            raise failed(op.command, f"{word} is not among the files that the client sent for this step")
        single = len(found) == 1 and found[0][1] == ""
        for item, rest in found:
            name = rest or posixpath.basename(item.path if isinstance(item, MountFile) else expand(word, {}))
            path = target if single and not folder else posixpath.join(target, name)
            moves.append((item, resolve(lower, path)))
    return moves


def _matches(source: str, op: Copy, mount: Sequence[MountFile]) -> list[tuple[MountFile | bytes, str]]:
    """What ``source`` names, with each file's path below it ("" when the source is the file itself)."""
    wanted = rooted(source)
    for path, data in op.files:
        if path == wanted:
            return [(base64.b64decode(data), "")]
    exact: list[tuple[MountFile | bytes, str]] = []
    for file in mount:
        path = rooted(file.path)
        if path == wanted:
            return [(file, "")]
        if wanted == "/" or path.startswith(wanted + "/"):
            exact.append((file, path.removeprefix(wanted).lstrip("/")))
    return exact or _globbed(wanted, mount)


def _globbed(pattern: str, mount: Sequence[MountFile]) -> list[tuple[MountFile | bytes, str]]:
    """Files (or the contents of directories) that a pattern names; a star does not cross a slash."""
    if not any(char in pattern for char in "*?["):
        return []
    depth = pattern.count("/")
    found: list[tuple[MountFile | bytes, str]] = []
    for file in mount:
        parts = rooted(file.path).split("/")
        head = parts[: depth + 1]
        if len(head) == depth + 1 and all(map(fnmatch.fnmatchcase, head, pattern.split("/"))):
            found.append((file, "/".join(parts[depth + 1 :]) or parts[-1]))
    return found


def inputs(moves: Sequence[tuple[MountFile | bytes, str]]) -> list[list[object]]:
    """What the layer depends on: contents, modes and places."""
    return [
        [path, item.sha256, item.mode] if isinstance(item, MountFile) else [path, hashlib.sha256(item).hexdigest(), 0]
        for item, path in moves
    ]


def copy(op: Copy, moves: Sequence[tuple[MountFile | bytes, str]], step: Step, blobs: BlobStore) -> str:
    """Fill the layer; returns the line for the log. Raises NotFound naming a file whose content is missing."""
    for item, path in moves:
        if isinstance(item, MountFile):
            place(step.tree, MountFile(path, item.sha256, item.mode, item.size), blobs, op.mode)
            continue
        target = inside(step.tree, path)
        make_parents(step.tree, target)
        target.write_bytes(item)
        target.chmod(op.mode or 0o644)
    return f"Copied {len(moves)} file{'' if len(moves) == 1 else 's'}"


def is_folder(lower: Sequence[Path], path: str) -> bool:
    """Whether a container would see a directory at ``path``."""
    real = resolve(lower, path).lstrip("/")
    found = whiteouts.visible(lower, real) if real else None
    return posixpath.normpath(path) in _STANDARD or (found is not None and found.is_dir())


def resolve(lower: Sequence[Path], path: str, depth: int = 0) -> str:
    """``path`` with links of lower layers, and the host's top-level ones (/bin, /lib), followed in its directories."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    at = ""
    for number, part in enumerate(parts[:-1]):
        at = f"{at}/{part}"
        found = whiteouts.visible(lower, at.lstrip("/"))
        link = os.readlink(found) if found is not None and found.is_symlink() else ""
        if found is None and number == 0 and part in _HOST_FOLDERS and os.path.islink(at):
            link = os.readlink(at)
        if link and depth < 40:
            joined = posixpath.join(posixpath.dirname(at), link, *parts[number + 1 :])
            return resolve(lower, posixpath.normpath(joined), depth + 1)
    return "/" + "/".join(parts)
