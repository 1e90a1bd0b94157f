"""The journal of calls: accepted once, one output each, nothing lost over a restart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ionian.errors import FailedPrecondition, NotFound
from ionian.model import JournalEntries, OutputRecord, Status, new_id_at
from ionian.state import calls
from ionian.state.calls import NewCall, NewInput
from ionian.state.database import SqliteDatabase, Tx
from tests.unit.state_tables import add_function, new_app, publish


def _call(tx: Tx, inputs: int, key: str = "") -> tuple[str, list[str]]:
    app_id = new_app(tx, "a")
    function_id = add_function(tx, app_id, "f")
    publish(tx, app_id, f"a-{app_id}", function_id)
    call_id, _ = calls.create(tx, NewCall(function_id, 1, 4, "", key), 1.0)
    ids, fresh = calls.accept(tx, call_id, [NewInput(n, 1, args=b"%d" % n) for n in range(inputs)], 1.0)
    assert [ref.input_id for ref in fresh] == [input_id for _, input_id in ids]
    return call_id, [input_id for _, input_id in ids]


def _output(call_id: str, input_id: str, data: bytes = b"r", status: Status = Status.SUCCESS) -> OutputRecord:
    return OutputRecord(input_id, call_id, status, 1, data)


async def test_accepted_inputs_are_open_until_they_have_an_output(database: SqliteDatabase) -> None:
    call_id, ids = await database.write(_call, 3)
    assert [ref.input_id for ref in await database.read(calls.open_inputs)] == ids
    assert await database.write(calls.record_output, _output(call_id, ids[1])) is True
    assert [ref.input_id for ref in await database.read(calls.open_inputs)] == [ids[0], ids[2]]


async def test_the_first_output_counts(database: SqliteDatabase) -> None:
    call_id, [input_id] = await database.write(_call, 1)
    assert await database.write(calls.record_output, _output(call_id, input_id, b"first")) is True
    assert await database.write(calls.record_output, _output(call_id, input_id, b"second")) is False
    assert await database.write(calls.record_output, _output(call_id, "in-unknown")) is False
    rows, left = await database.read(calls.outputs, call_id, 0, 10)
    assert [row["data"] for row in rows] == [b"first"]
    assert left == 0


async def test_outputs_come_in_order_of_arrival_behind_a_cursor(database: SqliteDatabase) -> None:
    call_id, ids = await database.write(_call, 3)
    for position in (2, 0, 1):
        await database.write(calls.record_output, _output(call_id, ids[position]))
    rows, _ = await database.read(calls.outputs, call_id, 0, 2)
    assert [row["position"] for row in rows] == [2, 0]
    rows, _ = await database.read(calls.outputs, call_id, rows[-1]["entry"], 2)
    assert [row["position"] for row in rows] == [1]
    rows, _ = await database.read(calls.outputs, call_id, 0, 10, (0, 1))
    assert [row["position"] for row in rows] == [0, 1]


async def test_a_repeated_request_makes_nothing_new(database: SqliteDatabase) -> None:
    call_id, ids = await database.write(_call, 2, "key-1")
    row = await database.read(calls.get, call_id)
    same = NewCall(row["function_id"], 1, 4, "", "key-1")
    assert await database.write(calls.create, same, 9.0, [NewInput(0, 1)]) == (call_id, ([(0, ids[0])], []))
    again, fresh = await database.write(calls.accept, call_id, [NewInput(0, 1), NewInput(1, 1), NewInput(2, 1)], 9.0)
    assert [input_id for _, input_id in again[:2]] == ids
    assert [ref.input_id for ref in fresh] == [again[2][1]]


async def test_what_was_claimed_is_known_after_a_restart(database: SqliteDatabase) -> None:
    _, ids = await database.write(_call, 2)
    done = await database.write(calls.commit, JournalEntries(claims=((ids[1], "ta-1"),)))
    assert [ref and (ref.input_id, ref.args) for ref in done.claimed] == [(ids[1], b"1")]
    assert [opened.container_id for opened in await database.read(calls.open_inputs)] == ["", "ta-1"]


async def test_what_has_ended_is_neither_claimed_nor_run_again(database: SqliteDatabase) -> None:
    call_id, [input_id] = await database.write(_call, 1)
    [opened] = await database.read(calls.open_inputs)
    again = replace(opened, attempt=1, not_before=9.0)
    assert (await database.write(calls.commit, JournalEntries(again=(again,)))).again == (True,)
    assert await database.read(calls.open_inputs) == [again]
    await database.write(calls.cancel, call_id, "stopped", 2.0)
    entries = JournalEntries(again=(again,), claims=((input_id, "ta-1"),))
    done = await database.write(calls.commit, entries)
    assert (done.again, done.claimed) == ((False,), (None,))


async def test_only_what_this_server_could_not_run_is_reopened(database: SqliteDatabase) -> None:
    call_id, ids = await database.write(_call, 2)
    await database.write(calls.record_output, _output(call_id, ids[0], status=Status.FAILURE))
    await database.write(calls.record_output, _output(call_id, ids[1], status=Status.INTERNAL_FAILURE))
    with pytest.raises(FailedPrecondition, match="retries="):
        await database.write(calls.reopen, ids[0])
    opened = await database.write(calls.reopen, ids[1])
    assert opened is not None
    assert await database.write(calls.reopen, ids[1]) is None
    rows, left = await database.read(calls.outputs, call_id, 0, 10)
    assert ([row["input_id"] for row in rows], left) == ([ids[0]], 1)
    assert await database.read(calls.counts, call_id) == calls.Counts(1, 0, 1, 0, 0)
    await database.write(calls.record_output, _output(call_id, ids[1]))
    rows, left = await database.read(calls.outputs, call_id, 1, 10)
    assert ([row["entry"] for row in rows], left) == ([3], 0)  # behind what anybody has seen


async def test_cancelling_ends_what_is_open_only(database: SqliteDatabase) -> None:
    call_id, ids = await database.write(_call, 3)
    await database.write(calls.record_output, _output(call_id, ids[0]))
    assert await database.write(calls.cancel, call_id, "stopped", 2.0) == 2
    assert await database.write(calls.cancel, call_id, "stopped", 2.0) == 0
    assert await database.read(calls.counts, call_id) == calls.Counts(0, 1, 0, 0, 2)
    assert await database.write(calls.record_output, _output(call_id, ids[1])) is False


async def test_items_are_kept_once_in_order(database: SqliteDatabase) -> None:
    call_id, _ = await database.write(_call, 1)
    for position in (1, 2, 2, 3):
        await database.write(calls.add_item, call_id, position, 1, b"%d" % position)
    rows = await database.read(calls.items, call_id, 1, 10)
    assert [row["data"] for row in rows] == [b"2", b"3"]


async def test_only_finished_old_calls_expire(database: SqliteDatabase) -> None:
    done, [input_id] = await database.write(_call, 1)
    still_open, _ = await database.write(_call, 1)
    await database.write(calls.add_item, done, 1, 1, b"item")
    await database.write(calls.record_output, _output(done, input_id))
    assert await database.write(calls.expire, 0.5) == 0
    assert await database.write(calls.expire, 2.0) == 1
    with pytest.raises(NotFound):
        await database.read(calls.get, done)
    assert (await database.read(calls.get, still_open))["call_id"] == still_open
    assert await database.read(lambda tx: tx.all("SELECT * FROM items")) == []


async def test_one_answer_carries_no_more_than_fits(database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "ANSWER_BYTES", 10)
    call_id, ids = await database.write(_call, 4)
    for input_id, size in zip(ids, (4, 5, 30, 2), strict=True):
        await database.write(calls.record_output, _output(call_id, input_id, b"x" * size))
    seen, sizes = 0, []
    while True:
        rows, _ = await database.read(calls.outputs, call_id, seen, 10)
        if not rows:
            break
        sizes.append([len(row["data"]) for row in rows])
        seen = rows[-1]["entry"]
    assert sizes == [[4, 5], [30], [2]]


def test_ids_sort_by_time() -> None:
    times = [0.0, 1.0, 1.000001, 1_700_000_000.123456, 1_700_000_000.123457, 1_800_000_000.0, 9_999_999_999.0]
    ids = [new_id_at("in", moment) for moment in times]
    assert ids == sorted(ids)
    assert {len(one) for one in ids} == {len("in-") + 22}
    assert len({new_id_at("in", 1.0) for _ in range(1000)}) == 1000
