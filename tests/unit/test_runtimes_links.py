"""Links on the host for the process runtime: conflicts are named, owners share, a redeploy swaps, nothing is left."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from ionian.errors import InvalidRequest
from ionian.runtimes.links import Links


class Place:
    """A host root, a state directory and layers in one temporary directory."""

    def __init__(self, directory: Path) -> None:
        self.host = directory / "host"
        self.state = directory / "state"
        self._layers = directory / "layers"
        for path in ("root", "opt", "usr/bin"):
            (self.host / path).mkdir(parents=True)
        self.links = Links(self.state, self.host)

    def layer(self, name: str, **files: str) -> Path:
        """A layer; in file names ``__`` stands for a slash and ``_dot_`` for a dot."""
        for path, text in files.items():
            target = self._layers / name / path.replace("__", "/").replace("_dot_", ".")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        return self._layers / name

    def found(self) -> list[str]:
        """Every link on the host."""
        return sorted(
            str(path.relative_to(self.host))
            for path in self.host.rglob("*")
            if path.is_symlink() and not any(parent.is_symlink() for parent in path.parents)
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_largest_missing_subtree_is_linked(place: Place) -> None:
    layer = place.layer("a", opt__models__deep__m="model", data__x="x", usr__bin__tool="t")
    place.links.provide((layer,), "ap-1")
    assert place.found() == ["data", "opt/models", "usr/bin/tool"]
    assert (place.host / "opt/models/deep/m").read_text() == "model"
    place.links.release("ap-1")
    assert place.found() == []
    assert os.listdir(place.state / "trees") == []


def test_python_files_of_the_home_and_packages_need_no_link(place: Place) -> None:
    layer = place.layer("a", root__app_dot_py="", root__pkg__mod_dot_py="", usr__local__bin__x="", root__iris__m="1")
    place.links.provide((layer,), "ap-1")
    assert place.found() == ["root/iris"]


def test_layers_are_merged(place: Place) -> None:
    lower = place.layer("a", opt__models__m="old", opt__models__n="n")
    upper = place.layer("b", opt__models__m="new")
    place.links.provide((lower, upper), "ap-1")
    assert (place.host / "opt/models/m").read_text() == "new"
    assert (place.host / "opt/models/n").read_text() == "n"


def test_what_exists_is_named_and_nothing_is_made(place: Place) -> None:
    (place.host / "opt/m").write_text("host")
    layer = place.layer("a", opt__m="app", data__x="x")
    with pytest.raises(InvalidRequest, match=f"{place.host}/opt/m: it exists"):
        place.links.provide((layer,), "ap-1")
    assert place.found() == []
    assert (place.host / "opt/m").read_text() == "host"


def test_a_foreign_link_is_not_ours(place: Place) -> None:
    (place.host / "data").symlink_to("/nowhere")
    with pytest.raises(InvalidRequest, match=r"/data: it exists .*a link to /nowhere"):
        place.links.provide((place.layer("a", data="x"),), "ap-1")
    assert os.readlink(place.host / "data") == "/nowhere"


def test_a_link_of_another_home_is_named_with_what_to_do(place: Place, tmp_path: Path) -> None:
    layer = place.layer("a", data__x="x")
    Links(tmp_path / "other home" / "base", place.host).provide((layer,), "ap-1")
    with pytest.raises(InvalidRequest, match=f"another Ionian home, {tmp_path}/other home: `ionian down --home"):
        place.links.provide((layer,), "ap-2")
    shutil.rmtree(tmp_path / "other home")
    with pytest.raises(InvalidRequest, match="which is gone: remove the link"):
        place.links.provide((layer,), "ap-2")


def test_two_owners_share_identical_content(place: Place) -> None:
    layer = place.layer("a", data__x="x")
    place.links.provide((layer,), "ap-1")
    place.links.provide((layer,), "ap-2")
    place.links.release("ap-1")
    assert (place.host / "data/x").read_text() == "x"
    place.links.release("ap-2")
    assert place.found() == []


def test_another_owner_with_other_content_is_refused(place: Place) -> None:
    place.links.provide((place.layer("a", data__x="a"),), "ap-1")
    with pytest.raises(InvalidRequest, match=r"/data: app ap-1 has other files there"):
        place.links.provide((place.layer("b", data__x="b"),), "ap-2")
    assert (place.host / "data/x").read_text() == "a"


def test_a_redeploy_swaps(place: Place) -> None:
    place.links.provide((place.layer("a", data__x="a"),), "ap-1")
    place.links.provide((place.layer("b", data__x="b"),), "ap-1")
    assert (place.host / "data/x").read_text() == "b"
    assert len(os.listdir(place.state / "trees")) == 1
    assert sorted(os.listdir(place.host)) == ["data", "opt", "root", "usr"]


def test_the_record_survives_a_restart(place: Place) -> None:
    place.links.provide((place.layer("a", data__x="a"),), "ap-1")
    again = Links(place.state, place.host)
    again.release("ap-1")
    assert place.found() == []


def test_only_what_the_kept_owners_have_stays(place: Place) -> None:
    shared, alone = place.layer("a", data__x="x"), place.layer("b", opt__b="b")
    for owner in ("ap-1", "ap-2"):
        place.links.provide((shared,), owner)
    place.links.provide((shared, alone), "ap-2")
    place.links.keep({"ap-1"})
    assert place.found() == ["data"]
    Links(place.state, place.host).keep(())
    assert place.found() == []
    assert os.listdir(place.state / "trees") == []


def test_what_is_provided_already_is_not_written_again(place: Place) -> None:
    layer = place.layer("a", data__x="x")
    place.links.provide((layer,), "ap-1")
    before = (place.state / "links.json").stat().st_ino
    place.links.provide((layer,), "ap-1")
    assert (place.state / "links.json").stat().st_ino == before
    place.links.provide((layer,), "ap-2")
    place.links.release("ap-1")
    assert place.found() == ["data"]


def test_a_stale_link_is_repaired(place: Place) -> None:
    layer = place.layer("a", data__x="a")
    place.links.provide((layer,), "ap-1")
    target = Path(os.readlink(place.host / "data"))
    target.parent.rename(target.parent.with_name("lost"))
    assert not (place.host / "data/x").exists()
    place.links.provide((layer,), "ap-1")
    assert (place.host / "data/x").read_text() == "a"


def test_a_recorded_link_that_was_never_made_is_no_trouble(place: Place) -> None:
    place.state.mkdir()
    target = str(place.state / "trees/none")
    record = {f"{place.host}/data": {"target": target, "owners": ["ap-1"]}}
    (place.state / "links.json").write_text(json.dumps(record))
    links = Links(place.state, place.host)
    links.provide((place.layer("a", data__x="a"),), "ap-1")
    assert (place.host / "data/x").read_text() == "a"
    links.release("ap-1")
    assert place.found() == []


def test_no_permission_is_named(place: Place) -> None:
    if os.geteuid() == 0:
        with pytest.raises(InvalidRequest, match="/proc/sys/data"):
            Links(place.state, Path("/proc/sys")).provide((place.layer("a", data="x"),), "ap-1")
        return
    (place.host / "opt").chmod(0o555)
    with pytest.raises(InvalidRequest, match=f"{place.host}/opt/m: no permission"):
        place.links.provide((place.layer("a", opt__m="x"),), "ap-1")


def test_writing_through_a_link_does_not_reach_the_layer(place: Place) -> None:
    layer = place.layer("a", data__x="a")
    place.links.provide((layer,), "ap-1")
    (place.host / "data/x").write_text("changed")
    (place.host / "data/y").write_text("more")
    assert (layer / "data/x").read_text() == "a"
    assert os.listdir(layer / "data") == ["x"]
