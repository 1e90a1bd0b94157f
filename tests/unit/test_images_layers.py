"""Layers on disk and what a stack of them shows, with real files and real whiteouts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ionian.blobs.files import FileBlobStore
from ionian.config import Config
from ionian.errors import InvalidRequest, NotFound
from ionian.images import copying, packages, sums, whiteouts
from ionian.images.layers import LayerMeta, Layers
from ionian.model import MountFile

META = LayerMeta("run", "make", ("parent",), ("a==1",))


def made(layers: Layers, key: str, text: str, *, force: bool = False) -> str:
    stage = layers.stage()
    (stage / "tree" / "file").write_text(text)
    (stage / "leftover").mkdir()
    return layers.commit(stage, key, META, force=force)


def test_a_layer_is_whole_or_absent(tmp_path: Path) -> None:
    layers = Layers(Config(home=tmp_path))
    stage = layers.stage()
    assert layers.current("k") is None
    with pytest.raises(NotFound, match="deploy again"):
        layers.path("k")
    layers.clean()  # as after a crash
    assert not stage.exists()
    digest = made(layers, "k", "1")
    assert layers.current("k") == digest == "k"
    assert sorted(os.listdir(layers.path(digest).parent)) == ["meta.json", "sums.json", "tree"]
    meta = layers.meta(digest)
    assert (meta.command, meta.parents, meta.packages, meta.files, meta.bytes) == ("make", ("parent",), ("a==1",), 1, 1)
    assert not list(layers.root.glob(".staging-*"))


def test_making_it_twice_keeps_the_first_and_forcing_leaves_both(tmp_path: Path) -> None:
    layers = Layers(Config(home=tmp_path))
    first = made(layers, "k", "1")
    assert made(layers, "k", "2") == first
    assert (layers.path(first) / "file").read_text() == "1"
    forced = made(layers, "k", "3", force=True)
    assert forced != first
    assert layers.current("k") == forced
    assert (layers.path(first) / "file").read_text() == "1"
    assert (layers.path(forced) / "file").read_text() == "3"


@pytest.mark.parametrize("damage", ["gone", "shorter", "link", "sums"])
def test_a_layer_that_has_lost_a_file_is_set_aside_at_its_first_use(tmp_path: Path, damage: str) -> None:
    stage = (layers := Layers(Config(home=tmp_path))).stage()
    (stage / "tree" / "folder").mkdir()
    (stage / "tree" / "folder" / "file").write_text("content")
    (stage / "tree" / "link").symlink_to("folder")
    tree = layers.path(layers.commit(stage, "k", META))
    assert Layers(Config(home=tmp_path)).checked("k") == tree
    (tree / "folder" / "more").write_text("more files are no damage")
    assert layers.checked("k") == tree
    if damage == "gone":
        (tree / "folder" / "file").unlink()
    elif damage == "shorter":
        (tree / "folder" / "file").write_text("cont")
    elif damage == "link":
        (tree / "link").unlink()
    else:
        (tree.parent / "sums.json").write_text("{")
    assert sums.damaged(tree.parent)
    layers = Layers(Config(home=tmp_path))
    with pytest.raises(NotFound, match=r"layer k was damaged on disk \((folder/file|link|sums\.json)\).*deploy again"):
        layers.checked("k")
    assert not layers.has("k")
    made(layers, "k", "anew")
    assert layers.checked("k")


def test_content_that_has_changed_is_found_when_all_is_read(tmp_path: Path) -> None:
    layers = Layers(Config(home=tmp_path))
    tree = layers.path(made(layers, "k", "1"))
    assert sums.damaged(tree.parent) is None
    (tree / "file").write_text("2")
    assert sums.misfit(tree.parent) is None
    assert sums.damaged(tree.parent) == "file"


async def test_a_damaged_mount_is_made_anew(tmp_path: Path) -> None:
    blobs = FileBlobStore(tmp_path / "blobs")
    files = [MountFile("/root/run.sh", await blobs.put(b"#!/bin/sh\n"), 0o700)]
    script = Layers(Config(home=tmp_path)).mount_layer(files, "d", blobs) / "root" / "run.sh"
    script.write_text("#?")
    Layers(Config(home=tmp_path)).mount_layer(files, "d", blobs)
    assert script.read_text() == "#!/bin/sh\n"


async def test_a_mount_is_a_tree_that_everybody_can_read(tmp_path: Path) -> None:
    layers, blobs = Layers(Config(home=tmp_path / "home")), FileBlobStore(tmp_path / "blobs")
    plain, script = await blobs.put(b"data"), await blobs.put(b"#!/bin/sh\n")
    files = [MountFile("/root/a/model.pkl", plain, 0o600), MountFile("/root/run.sh", script, 0o700)]
    before = os.umask(0o077)
    try:
        tree = layers.mount_layer(files, "d", blobs)
    finally:
        os.umask(before)
    assert (tree / "root/a/model.pkl").read_bytes() == b"data"
    assert (tree / "root/a/model.pkl").stat().st_mode & 0o777 & 0o444 == 0o444
    assert (tree / "root/run.sh").stat().st_mode & 0o777 == 0o744
    assert tree.stat().st_mode & 0o777 == (tree / "root/a").stat().st_mode & 0o777 == 0o755
    assert layers.mount_layer([], "d", blobs) == tree == layers.mount_path("d")


async def test_a_mount_without_content_names_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    layers, blobs = Layers(Config(home=tmp_path / "home")), FileBlobStore(tmp_path / "blobs")
    with pytest.raises(NotFound, match=r"/root/model\.pkl"):
        layers.mount_layer([MountFile("/root/model.pkl", "0" * 64, 0)], "d", blobs)
    assert list((tmp_path / "home/mounts").iterdir()) == []


@pytest.mark.parametrize("path", ["/../x", "/a/../../x", "/", ""])
async def test_a_mount_cannot_leave_its_tree(tmp_path: Path, path: str) -> None:
    blobs = FileBlobStore(tmp_path / "blobs")
    sha256 = await blobs.put(b"x")
    with pytest.raises(InvalidRequest):
        Layers(Config(home=tmp_path / "home")).mount_layer([MountFile(path, sha256, 0)], "d", blobs)


def tree(root: Path, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(str(root))
    root.mkdir(exist_ok=True)
    return root


def test_a_stack_shows_the_topmost_and_hides_what_is_deleted(tmp_path: Path) -> None:
    low = tree(tmp_path / "low", "d/a", "d/b", "d/sub/x", "e/y")
    top = tree(tmp_path / "top", "d/a")
    whiteouts.put(top / "d/b")
    whiteouts.put(top / "e")
    stack = [low, top]
    assert whiteouts.visible(stack, "d/a") == top / "d/a"
    assert whiteouts.visible(stack, "d/b") is None
    assert whiteouts.visible(stack, "d/sub/x") == low / "d/sub/x"
    assert whiteouts.visible(stack, "e/y") is None
    assert whiteouts.listing(stack, "d") == {"a", "sub"}
    assert whiteouts.listing(stack, "e") == set()
    again = tree(tmp_path / "again", "e/z")
    assert whiteouts.listing([*stack, again], "e") == {"z"}


def test_an_opaque_directory_hides_what_is_below(tmp_path: Path) -> None:
    low, top = tree(tmp_path / "low", "d/a"), tree(tmp_path / "top", "d/b")
    try:
        os.setxattr(top / "d", "user.overlay.opaque", b"y")
    except OSError:
        pytest.skip("no user attributes on this file system")
    assert whiteouts.listing([low, top], "d") == {"b"}
    assert whiteouts.visible([low, top], "d/a") is None


def test_hiding_a_package_takes_its_empty_directories_and_keeps_neighbours(tmp_path: Path) -> None:
    site = "usr/local/lib/python3.11/site-packages"
    low = tree(
        tmp_path / "low",
        *(
            f"{site}/{name}"
            for name in ("old/__init__.py", "old/__pycache__/x.pyc", "ns/mine.py", "ns/other.py", "kept.py")
        ),
        "usr/local/bin/old",
    )
    top = tree(tmp_path / "top", f"{site}/kept.py")
    gone = {
        f"{site}/old/__init__.py",
        f"{site}/ns/mine.py",
        f"{site}/kept.py",
        "usr/local/bin/old",
        f"{site}/nowhere.py",
    }
    whiteouts.hide([low], top, gone, site)
    assert whiteouts.listing([low, top], site) == {"ns", "kept.py"}
    assert whiteouts.listing([low, top], f"{site}/ns") == {"other.py"}
    assert whiteouts.is_whiteout(top / site / "old")
    assert whiteouts.is_whiteout(top / "usr/local/bin/old")
    assert (top / site / "kept.py").is_file()
    assert not os.path.lexists(top / site / "nowhere.py")


def test_scripts_start_the_containers_python_and_shared_files_stay_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "tree/usr/local/bin"
    folder.mkdir(parents=True)
    shared = tmp_path / "cache"
    shared.write_text("#!/very/long/venv/bin/python\nprint(1)\n")
    os.link(shared, folder / "tool")
    (folder / "long").write_text("#!/bin/sh\n'''exec' '/a b/python' \"$0\" \"$@\"\n' '''\nprint(2)\n")
    (folder / "shell").write_text("#!/bin/sh\necho\n")
    packages.point_scripts(tmp_path / "tree")
    assert (folder / "tool").read_text() == "#!/usr/local/bin/python\nprint(1)\n"
    assert (folder / "long").read_text() == "#!/usr/local/bin/python\nprint(2)\n"
    assert (folder / "shell").read_text() == "#!/bin/sh\necho\n"
    assert shared.read_text().startswith("#!/very/long")


def test_copy_targets_follow_links_of_lower_layers(tmp_path: Path) -> None:
    low = tree(tmp_path / "low", "data/real/x")
    (low / "link").symlink_to("data/real")
    (low / "loop").symlink_to("loop")
    assert copying.resolve([low], "/link/y") == "/data/real/y"
    assert copying.resolve([low], "/link/../y").startswith("/")
    assert copying.resolve([low], "/plain/y") == "/plain/y"
    assert copying.resolve([low], "/loop/y")
    assert copying.is_folder([low], "/data/real")
    assert copying.is_folder([low], "/root/")
    assert not copying.is_folder([low], "/data/real/x")
