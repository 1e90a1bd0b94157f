"""Dicts: a change is a row before it is answered; one that is sent again is not done again."""

from __future__ import annotations

from collections.abc import AsyncIterator

from google.protobuf.empty_pb2 import Empty

from ionian.api import objects, values
from ionian.api.context import Context
from ionian.errors import InvalidRequest, NotFound
from ionian.state import answers, dicts
from ionian.state import objects as rows
from ionian.state.database import Row, Tx
from ionian.state.dicts import Entry
from ionian.wire import api_pb2

PAGE = 100  # entries read at once for a listing
_TOO_LARGE = "(status = '413')"  # clients make a RequestSizeError of it
_YES, _NO = b"1", b"0"


async def DictGetOrCreate(ctx: Context, request: api_pb2.DictGetOrCreateRequest) -> api_pb2.DictGetOrCreateResponse:
    """A dict by name, or a new one; clients before 1.0 may send its first entries."""
    first = await _kept(ctx, request.data)

    def get_or_create(tx: Tx) -> Row:
        row, fresh = objects.get_or_create(tx, ctx, rows.DICT, request)
        if fresh and first:
            dicts.put(tx, row["object_id"], first, False, _since(ctx), ctx.now)
        return row

    row = await ctx.database.write(get_or_create)
    response = api_pb2.DictGetOrCreateResponse(dict_id=row["object_id"])
    objects.describe(row, response.metadata)
    return response


async def DictGetById(ctx: Context, request: api_pb2.DictGetByIdRequest) -> api_pb2.DictGetByIdResponse:
    """The handle of a dict whose id is known."""
    row = await ctx.database.read(rows.get, rows.DICT, request.dict_id)
    response = api_pb2.DictGetByIdResponse(dict_id=row["object_id"])
    objects.describe(row, response.metadata)
    return response


async def DictList(ctx: Context, request: api_pb2.DictListRequest) -> api_pb2.DictListResponse:
    """Named dicts, newest first."""
    environment, found = await ctx.database.write(objects.page, ctx, rows.DICT, request)
    response = api_pb2.DictListResponse(environment_name=environment)
    for row in found:
        info = response.dicts.add(name=row["name"], created_at=row["created_at"], dict_id=row["object_id"])
        objects.describe(row, info.metadata)
    return response


async def DictDelete(ctx: Context, request: api_pb2.DictDeleteRequest) -> Empty:
    """Remove a dict and all it holds."""
    await objects.delete(ctx, rows.DICT, request.dict_id)
    return Empty()


async def DictHeartbeat(ctx: Context, request: api_pb2.DictHeartbeatRequest) -> Empty:
    """The client of an ephemeral dict is alive."""
    await ctx.database.write(rows.heard, rows.DICT, request.dict_id, ctx.now)
    return Empty()


async def DictClear(ctx: Context, request: api_pb2.DictClearRequest) -> Empty:
    """Empty a dict, at once for all who look."""
    await ctx.database.write(rows.clear, rows.DICT, request.dict_id)
    await objects.sweep(ctx)
    return Empty()


def _since(ctx: Context) -> float:
    """Entries that were not used after this time are not there."""
    return ctx.now - ctx.config.dict_entry_ttl_s


async def _kept(ctx: Context, updates: object) -> list[Entry]:
    """Entries with large values in files already. Raises InvalidRequest for what is over the limits."""
    found = list(updates)  # type: ignore[call-overload]
    if len(found) > ctx.config.dict_update_entries:
        raise InvalidRequest(
            f"{len(found)} entries in one update, over the limit of {ctx.config.dict_update_entries} "
            f"(dict_update_entries): send them in several {_TOO_LARGE}"
        )
    largest = max((len(entry.value) for entry in found), default=0)
    if largest > ctx.config.dict_value_bytes:
        raise InvalidRequest(
            f"a value of {largest} bytes is over the limit of {ctx.config.dict_value_bytes} (dict_value_bytes); "
            f"keep it in a volume {_TOO_LARGE}"
        )
    return [
        Entry(entry.key, blob=await values.keep(ctx, entry.value))
        if len(entry.value) > values.INLINE_BYTES
        else Entry(entry.key, entry.value)
        for entry in found
    ]


async def DictUpdate(ctx: Context, request: api_pb2.DictUpdateRequest) -> api_pb2.DictUpdateResponse:
    """Add or replace entries, all or none; ``created`` is false where ``if_not_exists`` left everything as it was."""
    entries, key = await _kept(ctx, request.updates), ctx.caller.request_key

    def update(tx: Tx) -> tuple[bool, list[str]]:
        if ctx.caller.again and (answered := answers.recall(tx, key, ctx.now)):
            return answered == [_YES], [entry.blob for entry in entries if entry.blob]
        written, loose = dicts.put(tx, request.dict_id, entries, request.if_not_exists, _since(ctx), ctx.now)
        created = written > 0 or not request.if_not_exists
        answers.remember(tx, key, (_YES if created else _NO,), ctx.now)
        return created, loose

    created, loose = await ctx.database.write(update)
    if loose:
        await values.remove(ctx, loose)
    return api_pb2.DictUpdateResponse(created=created)


async def DictGet(ctx: Context, request: api_pb2.DictGetRequest) -> api_pb2.DictGetResponse:
    """A value. The entry lives on from now."""
    row = await ctx.database.read(dicts.get, request.dict_id, request.key, _since(ctx))
    if row is None:
        return api_pb2.DictGetResponse(found=False)
    await _touch(ctx, request.dict_id, request.key, row["used_at"])
    value = await _value(ctx, request.dict_id, Entry(request.key, row["value"], row["blob"]))
    return api_pb2.DictGetResponse(found=value is not None, value=value)


async def _value(ctx: Context, dict_id: str, entry: Entry) -> bytes | None:
    """The value of an entry that was just read; None when it is gone meanwhile. Raises NotFound for a lost file."""
    while True:
        try:
            return await values.load(ctx, entry.value, entry.blob)
        except NotFound:
            now = await ctx.database.read(dicts.values, dict_id, [entry.key])
            if not now:
                return None
            if now[0].blob == entry.blob:
                raise
            entry = now[0]  # it was replaced


async def _touch(ctx: Context, dict_id: str, key: bytes, used_at: float) -> None:
    if ctx.now - used_at > ctx.config.dict_entry_ttl_s / dicts.TOUCHED:
        await ctx.database.write(dicts.touch, dict_id, key, ctx.now)


async def DictContains(ctx: Context, request: api_pb2.DictContainsRequest) -> api_pb2.DictContainsResponse:
    """Whether an entry is there. It lives on from now."""
    used_at = await ctx.database.read(dicts.has, request.dict_id, request.key, _since(ctx))
    if used_at:
        await _touch(ctx, request.dict_id, request.key, used_at)
    return api_pb2.DictContainsResponse(found=bool(used_at))


async def DictPop(ctx: Context, request: api_pb2.DictPopRequest) -> api_pb2.DictPopResponse:
    """Remove an entry and return its value: to one of all who try."""
    key = ctx.caller.request_key

    def pop(tx: Tx) -> list[bytes]:
        if ctx.caller.again and (answered := answers.recall(tx, key, ctx.now)):
            return answered
        row = dicts.pop(tx, request.dict_id, request.key, _since(ctx), ctx.now)
        answer = [_YES, row["value"], row["blob"].encode()] if row else [_NO]
        answers.remember(tx, key, answer, ctx.now)
        return answer

    found = await ctx.database.write(pop)
    if found[0] == _NO:
        return api_pb2.DictPopResponse(found=False)
    return api_pb2.DictPopResponse(found=True, value=await values.load(ctx, found[1], found[2].decode()))


async def DictLen(ctx: Context, request: api_pb2.DictLenRequest) -> api_pb2.DictLenResponse:
    """How many entries there are."""
    return api_pb2.DictLenResponse(len=await ctx.database.read(dicts.length, request.dict_id, _since(ctx)))


async def DictContents(ctx: Context, request: api_pb2.DictContentsRequest) -> AsyncIterator[api_pb2.DictEntry]:
    """The keys of one moment, in the order in which they were added; values as they are when it is their turn."""
    keys = await ctx.database.read(dicts.keys, request.dict_id, _since(ctx))
    for start in range(0, len(keys), PAGE):
        if not request.values:
            for key in keys[start : start + PAGE]:
                yield api_pb2.DictEntry(key=key)
            continue
        for entry in await ctx.database.read(dicts.values, request.dict_id, keys[start : start + PAGE]):
            value = await _value(ctx, request.dict_id, entry)
            if value is not None:
                yield api_pb2.DictEntry(key=entry.key, value=value)
