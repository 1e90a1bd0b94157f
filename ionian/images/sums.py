"""What a layer holds, as it was when it was made: size and SHA-256 of every file, in ``sums.json`` beside its tree.

Sizes are compared before a layer's first use, contents when somebody asks (`ionian doctor --deep`). More files than
were there are no damage.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

NAME = "sums.json"


def write(stage: Path) -> None:
    """Read ``stage/tree`` and write ``stage/sums.json``."""
    tree = stage / "tree"
    found = {path: _of(tree / path, status.st_mode, status.st_size) for path, status in _files(tree)}
    with (stage / NAME).open("w") as file:
        json.dump(found, file, separators=(",", ":"), ensure_ascii=True)
        file.flush()
        os.fsync(file.fileno())


def _files(tree: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Regular files and links, by their path below ``tree``. Devices (whiteouts) are left out."""
    for folder, folders, names in os.walk(tree):
        for name in (*names, *folders):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
                yield os.path.relpath(path, tree), status


def _of(path: Path, mode: int, size: int) -> list[int | str]:
    if stat.S_ISLNK(mode):
        return [size, "link " + os.readlink(path)]
    with open(path, "rb") as file:
        return [size, hashlib.file_digest(file, "sha256").hexdigest()]


def misfit(layer: Path) -> str | None:
    """The first file of a layer that is gone or has another size; None when there is none. Contents are not read."""
    try:
        for path, (size, _) in _known(layer).items():
            if os.lstat(layer / "tree" / path).st_size != size:
                return path
    except FileNotFoundError as error:
        return os.path.relpath(error.filename, layer / "tree")
    except (ValueError, TypeError):
        return NAME
    return None


def damaged(layer: Path) -> str | None:
    """The first file of a layer whose content is not what it was; None when there is none. Reads everything."""
    if found := misfit(layer):
        return found
    for path, (size, digest) in _known(layer).items():
        place = layer / "tree" / path
        if _of(place, os.lstat(place).st_mode, int(size)) != [size, digest]:
            return path
    return None


def _known(layer: Path) -> dict[str, tuple[int, str]]:
    """Empty for a layer made before sums were kept."""
    file = layer / NAME
    found: dict[str, tuple[int, str]] = json.loads(file.read_text()) if file.is_file() else {}
    return found
