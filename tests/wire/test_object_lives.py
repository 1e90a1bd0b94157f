"""How long dicts and queues live: ephemeral ones with their client, entries while they are used, files with entries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ionian.api import dicts, objects, queues, values
from ionian.api.context import Caller, Context
from ionian.errors import NotFound
from ionian.state import answers
from ionian.state.database import Tx
from ionian.wire import api_pb2
from tests.wire.stage import Stage

EPHEMERAL, NAMED = api_pb2.OBJECT_CREATION_TYPE_EPHEMERAL, api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING
DAY_S = 24 * 3600.0


class Clock:
    now = 1_700_000_000.0


@pytest.fixture
async def world(scene: Stage) -> tuple[Context, Clock]:
    clock = Clock()
    return replace(scene.context, clock=lambda: clock.now), clock


async def _dict(ctx: Context, kind: Any = NAMED, name: str = "d") -> str:
    request = api_pb2.DictGetOrCreateRequest(object_creation_type=kind, deployment_name=name)
    return (await dicts.DictGetOrCreate(ctx, request)).dict_id


async def _put(ctx: Context, dict_id: str, key: bytes, value: bytes, request_key: str = "") -> None:
    request = api_pb2.DictUpdateRequest(dict_id=dict_id, updates=[api_pb2.DictEntry(key=key, value=value)])
    await dicts.DictUpdate(ctx.of(Caller(request_key=request_key)), request)


async def _get(ctx: Context, dict_id: str, key: bytes) -> bytes | None:
    found = await dicts.DictGet(ctx, api_pb2.DictGetRequest(dict_id=dict_id, key=key))
    return found.value if found.found else None


async def test_an_ephemeral_object_lives_while_its_client_is_heard(world: tuple[Context, Clock]) -> None:
    ctx, clock = world
    dict_id = await _dict(ctx, EPHEMERAL, "")
    request = api_pb2.QueueGetOrCreateRequest(object_creation_type=EPHEMERAL)
    queue_id = (await queues.QueueGetOrCreate(ctx, request)).queue_id
    for _ in range(5):
        clock.now += objects.LOST_S - 1
        await dicts.DictHeartbeat(ctx, api_pb2.DictHeartbeatRequest(dict_id=dict_id))
        await queues.QueueHeartbeat(ctx, api_pb2.QueueHeartbeatRequest(queue_id=queue_id))
        await objects.keep_house(ctx, 0.0)
    clock.now += objects.LOST_S - 1
    await dicts.DictHeartbeat(ctx, api_pb2.DictHeartbeatRequest(dict_id=dict_id))
    clock.now += 2
    await objects.keep_house(ctx, 0.0)
    await _put(ctx, dict_id, b"k", b"v")
    with pytest.raises(NotFound):
        await queues.QueueHeartbeat(ctx, api_pb2.QueueHeartbeatRequest(queue_id=queue_id))


async def test_neither_a_restart_nor_a_moved_clock_ends_an_ephemeral_object(world: tuple[Context, Clock]) -> None:
    ctx, clock = world
    dict_id = await _dict(ctx, EPHEMERAL, "")
    clock.now += DAY_S
    await objects.began(ctx)
    await objects.keep_house(ctx, 0.0)
    clock.now += DAY_S
    await objects.keep_house(ctx, DAY_S)
    await _put(ctx, dict_id, b"k", b"v")


async def test_an_entry_ends_when_it_was_not_used_for_its_time(world: tuple[Context, Clock]) -> None:
    ctx, clock = world
    dict_id = await _dict(ctx)
    for key in (b"read", b"asked", b"left"):
        await _put(ctx, dict_id, key, b"v")
    for _ in range(3):
        clock.now += 6 * DAY_S
        assert await _get(ctx, dict_id, b"read") == b"v"
        asked = await dicts.DictContains(ctx, api_pb2.DictContainsRequest(dict_id=dict_id, key=b"asked"))
        assert asked.found
        await objects.keep_house(ctx, 0.0)
    assert await _get(ctx, dict_id, b"left") is None
    assert (await dicts.DictLen(ctx, api_pb2.DictLenRequest(dict_id=dict_id))).len == 2
    clock.now += 8 * DAY_S
    assert await _get(ctx, dict_id, b"read") is None, "before anybody has cleaned up, too"
    await objects.keep_house(ctx, 0.0)
    assert await ctx.database.read(_rows, "dict_entries") == 0


async def test_what_ended_leaves_no_rows_and_no_files(world: tuple[Context, Clock]) -> None:
    ctx, clock = world
    dict_id = await _dict(ctx)
    for number in range(3):
        await _put(ctx, dict_id, b"%d" % number, b"x" * (values.INLINE_BYTES + 1), f"r{number}")
    assert len(_files(ctx)) == 3
    await dicts.DictPop(ctx, api_pb2.DictPopRequest(dict_id=dict_id, key=b"0"))
    await dicts.DictClear(ctx, api_pb2.DictClearRequest(dict_id=dict_id))
    clock.now += values.LOOSE_S + answers.SPAN_S * (answers.SPANS + 2)
    await objects.keep_house(ctx, 0.0)
    assert _files(ctx) == []
    for table in ("dict_entries", "loose_values", "dropped_stores", "data_answers"):
        assert await ctx.database.read(_rows, table) == 0, table


async def test_a_large_value_that_is_replaced_while_it_is_read(
    world: tuple[Context, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx, _ = world
    dict_id = await _dict(ctx)
    old, new = b"o" * (values.INLINE_BYTES + 1), b"n" * (values.INLINE_BYTES + 1)
    await _put(ctx, dict_id, b"k", old)
    load = values.load

    async def slow(ctx: Context, value: bytes, blob: str) -> bytes:
        monkeypatch.setattr(values, "load", load)
        await _put(ctx, dict_id, b"k", new)
        return await load(ctx, value, blob)

    monkeypatch.setattr(values, "load", slow)
    assert await _get(ctx, dict_id, b"k") == new


def _files(ctx: Context) -> list[Any]:
    return list(ctx.config.blobs.glob("??/*"))


def _rows(tx: Tx, table: str) -> int:
    row = tx.one(f"SELECT COUNT(*) AS found FROM {table}")
    assert row is not None
    return int(row["found"])
