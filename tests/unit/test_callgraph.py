"""The tree of calls, from rows: found from any of its calls, cut where it is too large or has expired."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ionian.errors import NotFound
from ionian.model import OutputRecord, Status
from ionian.state import callgraph, calls
from ionian.state.calls import NewCall, NewInput
from ionian.state.database import SqliteDatabase, Tx
from tests.unit.state_tables import add_function, new_app, open_tables


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    made = open_tables(tmp_path)
    yield made
    made.close()


def _call(tx: Tx, function_id: str, parent: str = "", inputs: int = 1, now: float = 5.0) -> tuple[str, list[str]]:
    call_id = calls.create(tx, NewCall(function_id, 1, 1, parent), now)[0]
    news = [NewInput(position, 1, "", b"") for position in range(inputs)]
    return call_id, [input_id for _, input_id in calls.accept(tx, call_id, news, now)[0]]


async def test_the_whole_tree_from_any_of_its_calls(database: SqliteDatabase) -> None:
    def build(tx: Tx) -> list[str]:
        function_id = add_function(tx, new_app(tx, "app"), "f")
        top, (root,) = _call(tx, function_id)
        middle, (first, second) = _call(tx, function_id, root, 2)
        leaf, (last,) = _call(tx, function_id, second)
        _call(tx, function_id)  # another tree
        calls.record_output(tx, OutputRecord(first, middle, Status.SUCCESS, 1, container_id="ta-1"))
        return [top, middle, leaf, root, first, second, last]

    top, middle, leaf, *inputs = await database.write(build)
    for call_id in (top, middle, leaf):
        graph = await database.read(callgraph.tree, call_id, 100)
        assert [row["call_id"] for row in graph.calls] == [top, middle, leaf]
        assert [row["input_id"] for row in graph.inputs] == inputs
        assert [row["status"] for row in graph.inputs] == [0, Status.SUCCESS, 0, 0]
        assert graph.inputs[1]["container_id"] == "ta-1"
        assert not graph.truncated


async def test_a_large_tree_is_cut_and_says_so(database: SqliteDatabase) -> None:
    def build(tx: Tx) -> str:
        function_id = add_function(tx, new_app(tx, "app"), "f")
        top, (root,) = _call(tx, function_id)
        _call(tx, function_id, root, 300)
        for _ in range(5):
            _call(tx, function_id, root)
        return top

    top = await database.write(build)
    graph = await database.read(callgraph.tree, top, 303)
    assert graph.truncated
    assert len(graph.inputs) == 303
    assert {row["call_id"] for row in graph.calls} == {row["call_id"] for row in graph.inputs}
    assert not (await database.read(callgraph.tree, top, 306)).truncated


async def test_where_the_parent_has_expired_the_tree_begins_below(database: SqliteDatabase) -> None:
    call_id = await database.write(
        lambda tx: _call(tx, add_function(tx, new_app(tx, "app"), "f"), "in-that-was-long-ago")[0]
    )
    graph = await database.read(callgraph.tree, call_id, 10)
    assert [row["parent_input_id"] for row in graph.calls] == [""]
    with pytest.raises(NotFound):
        await database.read(callgraph.tree, "fc-unknown", 10)
