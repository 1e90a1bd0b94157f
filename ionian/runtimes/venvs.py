"""For the process runtime: the layers' /usr/local as a venv directory, made once per list of layers and interpreter.

Files are hard links to the layers (upper layers win, deletions are honoured); a venv that exists is complete.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path

from ionian.runtimes import skeleton, trees
from ionian.runtimes.runtime import Interpreter

_LONGEST_SHEBANG = 120  # bytes; kernels before 5.1 cut at 127
_INTERPRETERS = (b"#!/usr/local/bin/python",)


def prepare(envs: Path, layers: tuple[Path, ...], interpreter: Interpreter) -> Path:
    """The venv directory for these layers (bottom first) under ``envs``; made when it is not there."""
    sources = [layer / "usr/local" for layer in reversed(layers) if (layer / "usr/local").is_dir()]
    key = [skeleton.LAYOUT, [str(source) for source in sources], str(interpreter.executable), interpreter.series]
    target = envs / hashlib.sha256(repr(key).encode()).hexdigest()[:32]
    if target.is_dir():
        return target
    envs.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    trees.finish(trees.removal(aside))
    trees.finish(trees.build(sources, aside, trees.link))
    skeleton.fill_venv(aside, interpreter.executable, interpreter.series)
    _fix_scripts(aside / "bin", target / "bin/python")
    try:
        aside.rename(target)
    except OSError:
        trees.finish(trees.removal(aside))
        if not target.is_dir():
            raise
    return target


def _fix_scripts(directory: Path, python: Path) -> None:
    """Console scripts are written for /usr/local/bin/python: give each that is one a copy that starts ``python``."""
    for script in directory.iterdir():
        info = script.lstat()
        if not stat.S_ISREG(info.st_mode):
            continue
        with script.open("rb") as file:
            start = file.read(256)
        if start.startswith(_INTERPRETERS):
            _rewrite(script, _shebang(python), skip_lines=1)
        elif start.startswith(b"#!/bin/sh\n'''exec' ") and b"/usr/local/bin/python" in start.split(b"\n")[1]:
            _rewrite(script, _shebang(python), skip_lines=3)


def _shebang(python: Path) -> bytes:
    """``#!python``, or a line that both sh and Python understand where the path is too long or has a blank."""
    path = os.fsencode(python)
    if len(path) <= _LONGEST_SHEBANG and b" " not in path:
        return b"#!" + path + b"\n"
    return b"#!/bin/sh\n'''exec' \"" + path + b'" "$0" "$@"\n\' \'\'\'\n'


def _rewrite(script: Path, head: bytes, skip_lines: int) -> None:
    rest = script.read_bytes().split(b"\n", skip_lines)[-1]
    aside = script.with_name(f".{script.name}.tmp")
    aside.write_bytes(head + rest)
    shutil.copymode(script, aside)
    aside.replace(script)  # never through the hard link
