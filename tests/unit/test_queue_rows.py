"""Queues as rows against a model: order, limits, time, requests that come again, items that go back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ionian.errors import NotFound, ResourceExhausted
from ionian.state import answers, objects, queues
from ionian.state.database import SqliteDatabase, Tx
from ionian.state.queues import Given, Limits
from tests.unit.state_tables import open_tables

LIMITS = Limits(partitions=3, items=5, bytes=64)
KEYS = (b"", b"a", b"b", b"c")
KEY = st.sampled_from(KEYS)
TTL_S = 100.0


@cache
def _empty() -> bytes:
    """A database with the schema: making it takes longer than a test does."""
    with tempfile.TemporaryDirectory() as folder:
        database = open_tables(Path(folder))
        database._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        return (Path(folder) / "state.db").read_bytes()


class Rows:
    """A database whose transactions run at once."""

    def __init__(self, folder: Path) -> None:
        (folder / "state.db").write_bytes(_empty())
        self.database = SqliteDatabase(folder / "state.db")
        self.database._connection.execute("PRAGMA synchronous=OFF")
        self.now = 1_000_000.0

    def do(self, function: Any, *args: Any) -> Any:
        connection = self.database._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            found = function(self.database._tx, *args)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return found


class Queues(RuleBasedStateMachine):
    """``model``: by key, when the partition ends and what it holds. Every value is another one."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.rows = Rows(Path(self._folder.name))
        self.model: dict[bytes, tuple[float, list[bytes]]] = {}
        self.count = 0
        self.sent: list[tuple[str, bytes, Given]] = []  # answers to gets that may be asked for again, or go back

    @initialize()
    def begin(self) -> None:
        self.queue_id = self.rows.do(objects.create, "queue", "main", "q", "me", self.rows.now)["object_id"]

    def teardown(self) -> None:
        self.rows.database.close()
        self._folder.cleanup()

    def held(self, key: bytes) -> list[bytes]:
        end, items = self.model.get(key, (0.0, []))
        return items if end > self.rows.now else []

    def new_key(self) -> str:
        self.count += 1
        return f"request-{self.count}"

    @rule(key=KEY, count=st.integers(1, 4), twice=st.booleans())
    def put(self, key: bytes, count: int, twice: bool) -> None:
        values = [b"%05d" % (self.count * 10 + number) for number in range(count)]
        request_key, items = self.new_key(), self.held(key)
        full = len(items) + count > LIMITS.items
        others = {other for other in KEYS if other != key and self.held(other)}
        full = full or len(others) >= LIMITS.partitions
        arguments = (self.queue_id, key, values, TTL_S, LIMITS, request_key, self.rows.now)
        if full:
            with pytest.raises(ResourceExhausted):
                self.rows.do(queues.put, *arguments)
            return
        self.rows.do(queues.put, *arguments)
        self.model[key] = (self.rows.now + TTL_S, items + values)
        if twice:
            assert self.rows.do(answers.recall, request_key, self.rows.now) == [b""]

    @rule(key=KEY, wanted=st.lists(st.integers(1, 3), min_size=1, max_size=3))
    def take(self, key: bytes, wanted: list[int]) -> None:
        asked = [(self.new_key(), count) for count in wanted]
        given = self.rows.do(queues.take, self.queue_id, key, asked, self.rows.now)
        items, expected = list(self.held(key)), []
        for count in wanted:
            if items:
                expected.append(tuple(items[:count]))
                del items[:count]
        assert [one.values for one in given] == expected
        if expected:
            self.model[key] = (self.model[key][0], items)
        self.sent += [(request, key, one) for (request, _), one in zip(asked, given, strict=False)]

    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        if self.sent:
            request_key, _, given = self.sent.pop(data.draw(st.integers(0, len(self.sent) - 1)))
            assert self.rows.do(answers.recall, request_key, self.rows.now) == list(given.values)
            assert not self.rows.do(queues.put_back, self.queue_id, b"", given, request_key, self.rows.now)

    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        if not self.sent:
            return
        request_key, key, given = self.sent.pop(data.draw(st.integers(0, len(self.sent) - 1)))
        back = self.rows.do(queues.put_back, self.queue_id, key, given, request_key, self.rows.now)
        assert self.rows.do(answers.recall, request_key, self.rows.now) is None
        if back:
            end, items = self.model[key]
            assert end > self.rows.now
            self.model[key] = (end, [*given.values, *items])

    @rule(key=KEY)
    def clear(self, key: bytes) -> None:
        self.rows.do(queues.clear, self.queue_id, key)
        if key in self.model:
            self.model[key] = (self.model[key][0], [])

    @rule()
    def clear_all(self) -> None:
        self.rows.do(objects.clear, "queue", self.queue_id)
        self.model.clear()

    @rule(passed=st.sampled_from([0.001, 30.0, 99.0, 101.0]))
    def time(self, passed: float) -> None:
        self.rows.now += passed
        if passed > 1:
            self.sent = []  # their answers are forgotten in time

    @rule()
    def keep_house(self) -> None:
        self.rows.do(queues.expire, self.rows.now)
        while self.rows.do(objects.sweep, self.rows.now):
            pass
        assert self.rows.do(lambda tx: tx.all("SELECT * FROM dropped_stores")) == []

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "queue_id"):
            return
        total = 0
        for key in KEYS:
            found = self.rows.do(queues.following, self.queue_id, key, -(2**62), 100, self.rows.now)
            assert [row["value"] for row in found] == self.held(key)
            assert self.rows.do(queues.length, self.queue_id, key, self.rows.now) == len(found)
            total += len(found)
        assert self.rows.do(queues.total, self.queue_id, self.rows.now)[1] == total


TestQueues = Queues.TestCase
TestQueues.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    made = Rows(tmp_path)
    yield made
    made.database.close()


def _queue(rows: Rows) -> str:
    return str(rows.do(objects.create, "queue", "main", "q", "me", rows.now)["object_id"])


def test_a_partition_holds_so_many_bytes_and_no_more(rows: Rows) -> None:
    queue_id = _queue(rows)
    rows.do(queues.put, queue_id, b"", [b"x" * 60], TTL_S, LIMITS, "", rows.now)
    with pytest.raises(ResourceExhausted, match="queue_partition_bytes"):
        rows.do(queues.put, queue_id, b"", [b"x" * 5], TTL_S, LIMITS, "", rows.now)
    rows.do(queues.take, queue_id, b"", [("", 1)], rows.now)
    rows.do(queues.put, queue_id, b"", [b"x" * 64], TTL_S, LIMITS, "", rows.now)


def test_positions_only_grow_also_when_a_partition_begins_anew(rows: Rows) -> None:
    """An iterator that has seen one item never sees it again, and misses none that comes after."""
    queue_id, after = _queue(rows), -(2**62)
    for again in range(4):
        rows.do(queues.put, queue_id, b"", [b"x"], TTL_S, LIMITS, "", rows.now)
        found = rows.do(queues.following, queue_id, b"", after, 10, rows.now)
        assert [row["value"] for row in found] == [b"x"]
        after = found[-1]["position"]
        if again == 1:
            rows.do(objects.clear, "queue", queue_id)
        rows.now += 0.001 if again < 2 else TTL_S + 1
        if again == 0:
            rows.do(queues.take, queue_id, b"", [("", 1)], rows.now)


def test_what_was_deleted_leaves_no_rows(rows: Rows) -> None:
    queue_id = _queue(rows)
    for number in range(3):
        rows.do(queues.put, queue_id, b"%d" % number, [b"x"] * 5, TTL_S, LIMITS, "", rows.now)
    rows.do(objects.delete, "queue", queue_id)
    with pytest.raises(NotFound):
        rows.do(queues.length, queue_id, b"0", rows.now)
    while rows.do(objects.sweep, rows.now):
        pass

    def left(tx: Tx) -> list[object]:
        tables = ("data_objects", "queue_partitions", "queue_items", "dropped_stores")
        return [row for table in tables for row in tx.all(f"SELECT * FROM {table}")]

    assert rows.do(left) == []
