"""Python packages in layer trees: which are installed, which files are theirs, and the scripts they bring."""

from __future__ import annotations

import csv
import os
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ionian.images import whiteouts

PREFIX = "usr/local"
PYTHON = "/usr/local/bin/python"
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;]+)")
_DIST_INFO = re.compile(r"^(.+?)-([^-]+)\.dist-info$")
_SHEBANG = re.compile(rb"\A#!(?:[^\n]*python[^\n]*|/bin/sh\n'''exec' [^\n]*\n' ''')\n")


@dataclass(frozen=True, slots=True)
class Distribution:
    name: str  # normalised
    version: str
    folder: str  # of its dist-info, relative to the root


def site_packages(series: str) -> str:
    """Relative to the container's root."""
    return f"{PREFIX}/lib/python{series}/site-packages"


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(layers: Sequence[Path], series: str) -> dict[str, Distribution]:
    """What is installed in these trees (bottom first), by normalised name."""
    site = site_packages(series)
    found: dict[str, Distribution] = {}
    for entry in sorted(whiteouts.listing(layers, site)):
        if match := _DIST_INFO.match(entry):
            name = normalised(match[1])
            found[name] = Distribution(name, match[2], f"{site}/{entry}")
    return found


def owned_files(layers: Sequence[Path], distribution: Distribution, series: str) -> set[str]:
    """The files that the distribution's RECORD lists, relative to the root; those outside the tree are left out."""
    record = whiteouts.visible(layers, f"{distribution.folder}/RECORD")
    if record is None:
        return set()
    site = site_packages(series)
    with record.open(newline="", encoding="utf-8") as file:
        paths = {posixpath.normpath(posixpath.join(site, row[0])) for row in csv.reader(file) if row}
    return {path for path in paths if path.startswith(PREFIX + "/")}


def pins(text: str) -> dict[str, str]:
    """Normalised name -> version of the ``name==version`` lines of a resolved list."""
    return {normalised(m[1]): m[2] for line in text.splitlines() if (m := _PIN.match(line.strip()))}


def point_scripts(tree: Path) -> None:
    """Let console scripts of ``tree`` start with the container's Python. New files: others may share the old ones."""
    folder = tree / PREFIX / "bin"
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            head = file.read(2)
            content = head + file.read() if head == b"#!" else b""
        if not (match := _SHEBANG.match(content)):
            continue
        fresh = path.with_name(path.name + ".new")
        fresh.write_bytes(f"#!{PYTHON}\n".encode() + content[match.end() :])
        fresh.chmod(0o755)
        os.replace(fresh, path)
