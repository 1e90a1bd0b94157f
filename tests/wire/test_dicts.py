"""Dicts with the real client: everything it can ask, names and environments, large values, requests sent twice."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

from grpclib.client import Channel
from modal_proto.api_grpc import ModalClientStub

from ionian.state import dicts
from ionian.state.database import Tx
from ionian.wire import api_pb2
from tests.wire.stage import TOKEN, Stage

EVERY = """
import modal
d = modal.Dict.from_name("scores", create_if_missing=True)
d["ann"] = 1
d[("a", 2)] = {"nested": [1, None]}
d.put(3, b"bytes")
assert d["ann"] == 1 and d.get(("a", 2)) == {"nested": [1, None]} and d[3] == b"bytes"
assert d.get("nobody") is None and d.get("nobody", 7) == 7
assert "ann" in d and "nobody" not in d and d.contains(3) and d.len() == 3
assert list(d.keys()) == ["ann", ("a", 2), 3], list(d.keys())
assert list(d.values()) == [1, {"nested": [1, None]}, b"bytes"]
assert dict(d.items()) == {"ann": 1, ("a", 2): {"nested": [1, None]}, 3: b"bytes"}
d["ann"] = 2
d.update(ben=5, cid=6)
assert d.pop("ben") == 5
del d["cid"]
for missing in (lambda: d["nobody"], lambda: d.pop("nobody")):
    try:
        missing()
    except KeyError:
        pass
    else:
        raise AssertionError("no KeyError")
assert list(modal.Dict.from_name("scores").keys()) == ["ann", ("a", 2), 3]
d.clear()
assert d.len() == 0 and list(d.items()) == []
large = bytes(range(256)) * 8000
d["large"] = large
assert d["large"] == large and list(d.values()) == [large]
d["large"] = large + b"!"
assert d.pop("large") == large + b"!"
with modal.Dict.ephemeral() as e:
    e["x"] = 1
    assert e["x"] == 1 and e.len() == 1
try:
    modal.Dict.from_name("other").len()
except modal.exception.NotFoundError as error:
    assert "modal dict create other" in str(error), error
else:
    raise AssertionError("no NotFoundError")
print("all is well")
"""

NEW = """
import modal
modal.Dict.objects.create("one")
try:
    modal.Dict.objects.create("one")
except modal.exception.AlreadyExistsError:
    modal.Dict.objects.create("one", allow_existing=True)
else:
    raise AssertionError("no AlreadyExistsError")
modal.Dict.objects.create("two")
assert [d.name for d in modal.Dict.objects.list()] == ["two", "one"]
assert [d.name for d in modal.Dict.objects.list(max_objects=1)] == ["two"]
d = modal.Dict.from_name("one")
assert d.put("k", 1, skip_if_exists=True) is True
assert d.put("k", 2, skip_if_exists=True) is False
assert d.put("k", 3) is True and d["k"] == 3
d.update({"m": 1, "n": 2}, o=3)
assert sorted(d.keys()) == ["k", "m", "n", "o"]
assert d.pop("gone", "default") == "default"
info = d.info()
assert info.name == "one" and info.created_at.year > 2000 and info.created_by == "acme"
assert modal.Dict.from_id(d.object_id).get("k") == 3
for value in (b"x" * (modal_limit + 1),):
    try:
        d["too large"] = value
    except modal.exception.RequestSizeError as error:
        assert "too large" in str(error)
    else:
        raise AssertionError("no RequestSizeError")
modal.Dict.objects.delete("one")
modal.Dict.objects.delete("one", allow_missing=True)
try:
    d["k"]
except modal.exception.NotFoundError:
    print("all is well")
"""


async def test_everything_a_dict_can(scene: Stage, client: Path, work: Path) -> None:
    (work / "program.py").write_text(EVERY)
    assert "all is well" in (await scene.run(client / "python", "program.py", cwd=work)).ok()


async def test_managing_dicts_and_limits(scene: Stage, new_client: Path, work: Path) -> None:
    object.__setattr__(scene.context.config, "dict_value_bytes", 1 << 20)
    (work / "program.py").write_text(NEW.replace("modal_limit", str(1 << 20)))
    assert "all is well" in (await scene.run(new_client / "python", "program.py", cwd=work)).ok()


async def test_the_command_line(scene: Stage, client: Path, work: Path) -> None:
    async def modal(*words: str) -> str:
        return (await scene.run(client / "modal", "dict", *words, cwd=work)).ok()

    await modal("create", "scores")
    program = "import modal; d = modal.Dict.from_name('scores'); d['ann'] = 1; d['ben'] = [2]"
    (await scene.run(client / "python", "-c", program, cwd=work)).ok()
    assert [_field(row, "name") for row in json.loads(await modal("list", "--json"))] == ["scores"]
    assert "scores" in await modal("list")
    assert (await modal("get", "scores", "ann")).strip() == "1"
    assert "ben" in await modal("items", "scores")
    rows = json.loads(await modal("items", "scores", "--json"))
    assert [list(row.values()) for row in rows] == [["ann", 1], ["ben", [2]]]
    await modal("clear", "scores", "--yes")
    assert json.loads(await modal("items", "scores", "--json")) == []
    await modal("delete", "scores", "--yes")
    assert json.loads(await modal("list", "--json")) == []


async def test_names_are_of_one_environment(scene: Stage, new_client: Path, work: Path) -> None:
    (await scene.run(new_client / "modal", "environment", "create", "dev", cwd=work)).ok()
    program = textwrap.dedent("""
        import modal
        for name in ("main", "dev"):
            d = modal.Dict.from_name("same", environment_name=name, create_if_missing=True)
            d["where"] = name
        assert modal.Dict.from_name("same", environment_name="main")["where"] == "main"
        assert modal.Dict.from_name("same", environment_name="dev")["where"] == "dev"
        """)
    (await scene.run(new_client / "python", "-c", program, cwd=work)).ok()


def _field(row: dict[str, object], name: str) -> object:
    """Of a table as JSON: clients name their columns in one way or another."""
    return {key.lower().replace(" ", "_"): value for key, value in row.items()}[name]


def _metadata(key: str, attempt: int) -> dict[str, str]:
    return {
        "x-modal-token-id": TOKEN[0],
        "x-modal-token-secret": TOKEN[1],
        "x-idempotency-key": key,
        "x-retry-attempt": str(attempt),
    }


async def test_a_change_that_is_sent_again_is_not_made_again(scene: Stage) -> None:
    host, port = scene.url.removeprefix("http://").split(":")
    async with Channel(host, int(port)) as channel:
        stub = ModalClientStub(channel)
        made = api_pb2.DictGetOrCreateRequest(
            deployment_name="d", object_creation_type=api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING
        )
        dict_id = (await stub.DictGetOrCreate(made, metadata=_metadata("0", 0))).dict_id

        async def put(value: bytes, key: str, attempt: int, absent: bool = False) -> bool:
            entry = api_pb2.DictEntry(key=b"k", value=value)
            request = api_pb2.DictUpdateRequest(dict_id=dict_id, updates=[entry], if_not_exists=absent)
            return bool((await stub.DictUpdate(request, metadata=_metadata(key, attempt))).created)

        async def pop(key: str, attempt: int) -> bytes | None:
            request = api_pb2.DictPopRequest(dict_id=dict_id, key=b"k")
            found = await stub.DictPop(request, metadata=_metadata(key, attempt))
            return bytes(found.value) if found.found else None

        assert await put(b"first", "1", 0, absent=True)
        assert await put(b"first", "1", 1, absent=True), "it was this request that made it"
        assert not await put(b"second", "2", 0, absent=True)
        assert await pop("3", 0) == b"first"
        assert await pop("3", 1) == b"first"
        assert await pop("4", 0) is None
        await put(b"x" * 300_000, "5", 0)
        assert await pop("6", 0) == b"x" * 300_000
        assert await pop("6", 1) == b"x" * 300_000, "its file is kept for a while"
        await put(b"y" * 300_000, "7", 0)
        await put(b"newer", "8", 0)
        await put(b"y" * 300_000, "7", 1)
        assert await pop("9", 0) == b"newer"


async def test_large_values_leave_no_files_behind(scene: Stage, new_client: Path, work: Path) -> None:
    program = textwrap.dedent("""
        import modal
        d = modal.Dict.from_name("d", create_if_missing=True)
        for number in range(3):
            d["k"] = bytes([number]) * 1_000_000
            d[number] = b"z" * 1_000_000
        d.pop(0)
        assert d["k"] == b"\\x02" * 1_000_000
        """)
    (await scene.run(new_client / "python", "-c", program, cwd=work)).ok()

    def named(tx: Tx) -> set[str]:
        rows = tx.all("SELECT blob FROM dict_entries UNION SELECT blob FROM loose_values")
        return {row["blob"] for row in rows}

    files = {path.name for path in scene.context.config.blobs.glob("??/*")}
    assert files == await scene.database.read(named)
    assert len(files) == 4, "three values in use, and one popped, whose answer may be asked for again"
    assert len(await scene.database.read(dicts.loose, 1e12)) == 1
