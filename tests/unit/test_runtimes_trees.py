"""Merging layers by overlay's rules, and removing whatever a container left."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ionian.runtimes import trees


def _tree(directory: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text)
    return directory


def _contents(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


def test_upper_wins_and_directories_merge(tmp_path: Path) -> None:
    lower = _tree(tmp_path / "l", {"a": "1", "d/x": "1", "d/y": "1", "t/z": "1"})
    upper = _tree(tmp_path / "u", {"a": "2", "d/y": "2", "t": "a file now"})
    trees.finish(trees.build([upper, lower], tmp_path / "out", trees.copy))
    assert _contents(tmp_path / "out") == {"a": "2", "d/x": "1", "d/y": "2", "t": "a file now"}


def test_an_opaque_directory_hides_what_is_below(tmp_path: Path) -> None:
    lower = _tree(tmp_path / "l", {"d/x": "1"})
    upper = _tree(tmp_path / "u", {"d/y": "2"})
    os.setxattr(upper / "d", "user.overlay.opaque", b"y")
    trees.finish(trees.build([upper, lower], tmp_path / "out", trees.copy))
    assert _contents(tmp_path / "out") == {"d/y": "2"}


def test_whiteouts_delete(tmp_path: Path) -> None:
    lower = _tree(tmp_path / "l", {"gone": "1", "kept": "1", "d/x": "1"})
    upper = _tree(tmp_path / "u", {"new": "2"})
    top = _tree(tmp_path / "t", {"gone": "back"})
    try:
        for name in ("gone", "d"):
            os.mknod(upper / name, stat.S_IFCHR, os.makedev(0, 0))
    except PermissionError:
        pytest.skip("may not make a whiteout here")
    trees.finish(trees.build([upper, lower], tmp_path / "one", trees.copy))
    assert _contents(tmp_path / "one") == {"kept": "1", "new": "2"}
    assert not (tmp_path / "one/d").exists()
    trees.finish(trees.build([top, upper, lower], tmp_path / "two", trees.copy))
    assert _contents(tmp_path / "two") == {"kept": "1", "new": "2", "gone": "back"}


def test_copies_keep_the_source_and_links_share_it(tmp_path: Path) -> None:
    source = _tree(tmp_path / "s", {"f": "1"})
    (source / "f").chmod(0o751)
    (source / "link").symlink_to("f")
    trees.finish(trees.build([source], tmp_path / "copied", trees.copy))
    trees.finish(trees.build([source], tmp_path / "linked", trees.link))
    assert stat.S_IMODE((tmp_path / "copied/f").stat().st_mode) == 0o751
    assert os.readlink(tmp_path / "copied/link") == "f"
    assert (tmp_path / "copied/f").stat().st_ino != (source / "f").stat().st_ino
    assert (tmp_path / "linked/f").stat().st_ino == (source / "f").stat().st_ino


def test_removal_takes_closed_directories_and_stays_inside(tmp_path: Path) -> None:
    outside = _tree(tmp_path / "outside", {"kept": "1"})
    inside = _tree(tmp_path / "inside", {"a/b/c": "1"})
    (inside / "link").symlink_to(outside)
    (inside / "a/b").chmod(0)
    trees.finish(trees.removal(inside))
    assert not inside.exists()
    assert _contents(outside) == {"kept": "1"}
    trees.finish(trees.removal(inside))
