"""``ionian doctor --deep``: everything the home keeps is read and compared with its checksums. Changes nothing."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ionian.config import Config
from ionian.doctor.check import Check, failed, ok
from ionian.images import sums

_NAMED = 3  # of what is damaged, so many are named


def checks(config: Config) -> list[Check]:
    """Database, layers, blobs. May take a second for each gigabyte."""
    layer_fix = f"move it and uv's cache away, then deploy again: `mv LAYER LAYER.bad; rm -r '{config.uv_cache}'`"
    layers = sorted(path.parent for path in config.layers.glob("[!.]*/meta.json"))
    blobs = [path for folder in sorted(config.blobs.glob("[0-9a-f][0-9a-f]")) for path in sorted(folder.iterdir())]
    return [
        _database(config.database),
        _all("layers", "image layer", layers, sums.damaged, layer_fix),
        _all("blobs", "blob", blobs, _wrong_digest, "move it away and deploy again: `mv FILE FILE.bad`"),
    ]


def _database(path: Path) -> Check:
    fix = f"`ionian down`, then restore {path} from a copy, or move it away to begin anew (apps must be deployed again)"
    if not path.is_file():
        return ok("rows", "no database yet")
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as made:
            found = [str(row[0]) for row in made.execute("PRAGMA integrity_check(3)")]
    except sqlite3.Error as error:
        return failed("rows", str(error), fix)
    if found != ["ok"]:
        return failed("rows", "; ".join(found)[:300].replace("\n", " "), fix)
    return ok("rows", "the database is whole")


def _all(name: str, noun: str, paths: Iterable[Path], judge: Callable[[Path], str | None], fix: str) -> Check:
    count = 0
    bad: list[str] = []
    for path in paths:
        count += 1
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            bad += _named(path, judge(path))
    if not bad:
        return ok(name, f"{count} {noun}{'' if count == 1 else 's'} read, all as they were made")
    more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    return failed(name, f"damaged: {', '.join(bad[:_NAMED])}{more}", fix)


def _named(path: Path, what: str | None) -> Iterator[str]:
    if what is not None:
        yield f"{path}{f' ({what})' if what else ''}"


def _wrong_digest(path: Path) -> str | None:
    with open(path, "rb") as file:
        return None if hashlib.file_digest(file, "sha256").hexdigest() == path.name else ""
