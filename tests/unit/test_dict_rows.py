"""Dicts as rows against a model: values, time without use, files of large values."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ionian.state import dicts, objects
from ionian.state.database import Tx
from ionian.state.dicts import Entry
from tests.unit.test_queue_rows import Rows

KEYS = [b"a", b"b", b"c", b"d"]
KEY = st.sampled_from(KEYS)
TTL_S = 100.0


class Dicts(RuleBasedStateMachine):
    """``model`` is a Python dict, which keeps the order of adding too; ``used``: when each entry was used last."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.rows = Rows(Path(self._folder.name))
        self.model: dict[bytes, tuple[bytes, str]] = {}
        self.used: dict[bytes, float] = {}
        self.files = 0

    @initialize()
    def begin(self) -> None:
        self.dict_id = self.rows.do(objects.create, "dict", "main", "d", "me", self.rows.now)["object_id"]

    def teardown(self) -> None:
        self.rows.database.close()
        self._folder.cleanup()

    @property
    def since(self) -> float:
        return self.rows.now - TTL_S

    def _age(self) -> None:
        for key in [key for key, at in self.used.items() if at <= self.since]:
            del self.used[key], self.model[key]

    def _entry(self, key: bytes, large: bool) -> Entry:
        self.files += 1
        if not large:
            return Entry(key, b"v%d" % self.files)
        blob = f"file{self.files}"
        self.rows.do(dicts.loosen, blob, self.rows.now)
        return Entry(key, b"", blob)

    @rule(keys=st.lists(st.tuples(KEY, st.booleans()), min_size=1, max_size=3), absent=st.booleans())
    def put(self, keys: list[tuple[bytes, bool]], absent: bool) -> None:
        self.rows.now += 0.001  # entries are listed in the order of time
        self._age()
        entries = [self._entry(key, large) for key, large in keys]
        arguments = (self.dict_id, entries, absent, self.since, self.rows.now)
        written, loose = self.rows.do(dicts.put, *arguments)
        expected = 0
        for entry in entries:
            if absent and entry.key in self.model:
                continue
            expected += 1
            self.model[entry.key] = (entry.value, entry.blob)
            self.used[entry.key] = self.rows.now
        assert written == expected
        assert set(loose) <= {row["blob"] for row in self.rows.do(lambda tx: tx.all("SELECT blob FROM loose_values"))}

    @rule(key=KEY)
    def pop(self, key: bytes) -> None:
        self._age()
        row = self.rows.do(dicts.pop, self.dict_id, key, self.since, self.rows.now)
        assert (row and (row["value"], row["blob"])) == self.model.pop(key, None)
        self.used.pop(key, None)

    @rule(key=KEY)
    def touch(self, key: bytes) -> None:
        self._age()
        if self.rows.do(dicts.has, self.dict_id, key, self.since):
            self.rows.do(dicts.touch, self.dict_id, key, self.rows.now)
            self.used[key] = self.rows.now

    @rule()
    def clear(self) -> None:
        self.rows.do(objects.clear, "dict", self.dict_id)
        self.model.clear()
        self.used.clear()

    @rule(passed=st.sampled_from([0.001, 60.0, 101.0]))
    def time(self, passed: float) -> None:
        self.rows.now += passed

    @rule()
    def keep_house(self) -> None:
        self.rows.do(dicts.expire, self.since, self.rows.now)
        while self.rows.do(objects.sweep, self.rows.now):
            pass

        def files(tx: Tx) -> tuple[set[str], set[str]]:
            named = {row["blob"] for row in tx.all("SELECT blob FROM dict_entries WHERE blob <> ''")}
            return named, {row["blob"] for row in tx.all("SELECT blob FROM loose_values")}

        named, loose = self.rows.do(files)
        assert not named & loose, "a file in use would be removed"
        self._age()
        assert named == {blob for _, blob in self.model.values() if blob}

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "dict_id"):
            return
        self._age()
        assert self.rows.do(dicts.length, self.dict_id, self.since) == len(self.model)
        keys = self.rows.do(dicts.keys, self.dict_id, self.since)
        assert sorted(keys) == sorted(self.model)
        found = {entry.key: (entry.value, entry.blob) for entry in self.rows.do(dicts.values, self.dict_id, keys)}
        assert found == self.model
        for key in KEYS:
            row = self.rows.do(dicts.get, self.dict_id, key, self.since)
            assert (row and (row["value"], row["blob"])) == self.model.get(key)


TestDicts = Dicts.TestCase
TestDicts.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_entries_are_listed_in_the_order_in_which_they_were_added(tmp_path: Path) -> None:
    rows = Rows(tmp_path)
    dict_id = rows.do(objects.create, "dict", "main", "d", "me", rows.now)["object_id"]
    for number, keys in enumerate(([b"z", b"a"], [b"m"], [b"z", b"b"])):
        entries = [Entry(key, b"%d" % number) for key in keys]
        rows.do(dicts.put, dict_id, entries, False, rows.now - TTL_S, rows.now + number)
    assert rows.do(dicts.keys, dict_id, rows.now - TTL_S) == [b"z", b"a", b"m", b"b"]
    rows.database.close()
