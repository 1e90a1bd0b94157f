"""Byte code of what apps really import, as a layer of its own on top of an image.

Compiling everything costs several seconds per image, and most of it is never imported. It is compiled here, not taken
from containers: what a container writes is not trusted. It is time-stamped, so a replaced source file never runs stale.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path

from ionian.errors import IonianError
from ionian.images import whiteouts
from ionian.images.layers import LayerMeta, Layers, make_parents, remove_tree
from ionian.images.ops import sha256_json
from ionian.runtimes.runtime import Interpreter

_ENOUGH = 10  # fewer new files than this are not worth another layer
_COMPILE = """
import json, os, py_compile, sys
for source, target, shown in json.load(sys.stdin):
    folder, name = os.path.split(target)
    cached = f"{folder}/__pycache__/{name[:-3]}.{sys.implementation.cache_tag}.pyc"
    try:
        os.makedirs(os.path.dirname(cached), exist_ok=True)
        py_compile.compile(source, cached, shown, doraise=True)
    except (py_compile.PyCompileError, OSError, ValueError):
        pass
"""


def current(store: Layers, layers: Sequence[str]) -> str | None:
    """The byte code layer of an image, to be put on top of ``layers``; None while there is none."""
    return store.current(_key(layers))


def _key(layers: Sequence[str]) -> str:
    return sha256_json(["bytecode", *layers])


async def precompile(
    store: Layers, layers: Sequence[str], interpreter: Interpreter, files: Sequence[str]
) -> str | None:
    """Make or extend the byte code layer of an image; returns the layer to use from now on.

    ``files``: paths, as a container sees them, of the ``.py`` files that it imported. Those that no layer holds (the
    standard library, client mounts) and those that have byte code already are left out.
    """
    before = current(store, layers)
    trees = [store.path(digest) for digest in layers]
    old = store.path(before) if before else None
    jobs = [job for job in (_job(trees, old, path) for path in sorted(set(files))) if job]
    if not jobs or (before and len(jobs) < _ENOUGH):
        return before
    stage = store.stage()
    try:
        if old:
            _share(old, stage / "tree")
        for _, relative in jobs:
            make_parents(stage / "tree", stage / "tree" / relative)
        await _compile(stage / "tree", interpreter, jobs)
        meta = LayerMeta("bytecode", f"byte code of {len(jobs)} imported files", tuple(layers))
        return store.commit(stage, _key(layers), meta, force=before is not None)
    finally:
        remove_tree(stage)


def _job(trees: Sequence[Path], old: Path | None, path: str) -> tuple[Path, str] | None:
    """A source file in a layer and its path relative to the root, when it is without byte code."""
    relative = path.lstrip("/")
    if not relative.endswith(".py") or ".." in Path(relative).parts:
        return None
    source = whiteouts.visible(trees, relative)
    if source is None or source.is_symlink() or not source.is_file():
        return None
    folder, stem = str(Path(relative).parent / "__pycache__"), Path(relative).stem
    cached = whiteouts.listing([*trees, *([old] if old else [])], folder)
    return None if any(name.startswith(stem + ".cpython-") for name in cached) else (source, relative)


async def _compile(tree: Path, interpreter: Interpreter, jobs: Sequence[tuple[Path, str]]) -> None:
    process = await asyncio.create_subprocess_exec(
        *("nice", "-n", "10", interpreter.executable, "-I", "-S", "-c", _COMPILE),
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        umask=0o022,
    )
    work = [(str(source), str(tree / relative), "/" + relative) for source, relative in jobs]
    _, err = await process.communicate(json.dumps(work).encode())
    if process.returncode:
        raise IonianError(f"byte code was not compiled: {err.decode(errors='replace').strip()[-300:]}")


def _share(source: Path, target: Path) -> None:
    """``source`` again, as hard links."""
    for folder, _, names in os.walk(source):
        here = target / Path(folder).relative_to(source)
        here.mkdir(parents=True, exist_ok=True)
        for name in names:
            os.link(os.path.join(folder, name), here / name)
