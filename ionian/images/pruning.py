"""Removes layers and mounts that nobody needs. Only while nothing runs on the home: no container, no build."""

from __future__ import annotations

import os
from collections.abc import Iterator, Set
from pathlib import Path

from ionian.config import Config
from ionian.images.layers import DAMAGED, Layers, remove_tree


def prune(config: Config, layers: Set[str], mounts: Set[str], *, cache: bool) -> tuple[int, int]:
    """Keep these layers, byte code made for them, and these mounts; returns how many were removed, and their bytes.

    What was set aside as damaged goes. ``cache``: uv's downloads go too.
    """
    removed = [
        *_superfluous(config, layers),
        *(path for path in _entries(config.home / "mounts") if path.name not in mounts),
        *_entries(config.blobs / "damaged"),
    ]
    if cache and config.uv_cache.is_dir() and not config.uv_cache.is_symlink():
        removed.append(config.uv_cache)
    size = sum(map(_weight, removed))
    for path in removed:
        remove_tree(path) if path.is_dir() else path.unlink()
    return len(removed), size


def _superfluous(config: Config, kept: Set[str]) -> Iterator[Path]:
    store = Layers(config)
    for path in _entries(config.layers):
        if path.name.startswith(DAMAGED):
            yield path
        elif store.has(path.name) and path.name not in kept:
            meta = store.meta(path.name)
            if meta.what != "bytecode" or not kept >= set(meta.parents):
                yield path


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _weight(path: Path) -> int:
    """Bytes that removing it gives back: of a file with several names, none."""
    if not path.is_dir():
        return path.lstat().st_size
    sizes = (os.lstat(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names)
    return sum(status.st_size for status in sizes if status.st_nlink == 1)
