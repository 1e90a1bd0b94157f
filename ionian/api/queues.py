"""Queues: put is a row before it is answered; an item goes to one get, in order, and one that waits is handed it.

A request that is sent again, after a lost connection or a killed server, gets the answer it had (``state/answers.py``).
"""

from __future__ import annotations

import asyncio
from typing import Any

from google.protobuf.empty_pb2 import Empty

from ionian.api import objects
from ionian.api.context import Context
from ionian.api.parking import Later
from ionian.errors import InvalidRequest
from ionian.state import answers, queues
from ionian.state import objects as rows
from ionian.state.database import Row, Tx
from ionian.state.lines import Place
from ionian.state.queues import Limits
from ionian.state.watch import queue_topic
from ionian.wire import api_pb2

KEY_BYTES = 64  # of a partition
WAIT_S = 60.0  # the longest wait of one request; clients ask again, after 50 s
ITERATED = 100  # items in one answer to an iterator
_TOO_LARGE = "(status = '413')"  # clients make a RequestSizeError of it


async def QueueGetOrCreate(ctx: Context, request: api_pb2.QueueGetOrCreateRequest) -> api_pb2.QueueGetOrCreateResponse:
    """A queue by name, or a new one."""
    row, _ = await ctx.database.write(objects.get_or_create, ctx, rows.QUEUE, request)
    response = api_pb2.QueueGetOrCreateResponse(queue_id=row["object_id"])
    objects.describe(row, response.metadata)
    return response


async def QueueGetById(ctx: Context, request: api_pb2.QueueGetByIdRequest) -> api_pb2.QueueGetByIdResponse:
    """The handle of a queue whose id is known."""
    row = await ctx.database.read(rows.get, rows.QUEUE, request.queue_id)
    response = api_pb2.QueueGetByIdResponse(queue_id=row["object_id"])
    objects.describe(row, response.metadata)
    return response


async def QueueList(ctx: Context, request: api_pb2.QueueListRequest) -> api_pb2.QueueListResponse:
    """Named queues, newest first, with how much they hold (``total_size_limit``: clients need not know beyond)."""

    def found(tx: Tx) -> tuple[str, list[tuple[Row, tuple[int, int]]]]:
        environment, page = objects.page(tx, ctx, rows.QUEUE, request)
        return environment, [(row, queues.total(tx, row["object_id"], ctx.now)) for row in page]

    environment, listed = await ctx.database.write(found)
    response = api_pb2.QueueListResponse(environment_name=environment)
    for row, (partitions, items) in listed:
        info = response.queues.add(
            name=row["name"],
            created_at=row["created_at"],
            num_partitions=partitions,
            total_size=min(items, request.total_size_limit) if request.total_size_limit else items,
            queue_id=row["object_id"],
        )
        objects.describe(row, info.metadata)
    return response


async def QueueDelete(ctx: Context, request: api_pb2.QueueDeleteRequest) -> Empty:
    """Remove a queue and all it holds; gets that wait end with NotFound."""
    await objects.delete(ctx, rows.QUEUE, request.queue_id)
    return Empty()


async def QueueHeartbeat(ctx: Context, request: api_pb2.QueueHeartbeatRequest) -> Empty:
    """The client of an ephemeral queue is alive."""
    await ctx.database.write(rows.heard, rows.QUEUE, request.queue_id, ctx.now)
    return Empty()


async def QueueClear(ctx: Context, request: api_pb2.QueueClearRequest) -> Empty:
    """Empty a partition, or all of them, at once for all who look."""
    if request.all_partitions:
        await ctx.database.write(rows.clear, rows.QUEUE, request.queue_id)
    else:
        await ctx.database.write(queues.clear, request.queue_id, _key(request.partition_key))
    await objects.sweep(ctx)
    return Empty()


async def QueueLen(ctx: Context, request: api_pb2.QueueLenRequest) -> api_pb2.QueueLenResponse:
    """Items in a partition, or in all."""
    if request.total:
        return api_pb2.QueueLenResponse(len=(await ctx.database.read(queues.total, request.queue_id, ctx.now))[1])
    found = await ctx.database.read(queues.length, request.queue_id, _key(request.partition_key), ctx.now)
    return api_pb2.QueueLenResponse(len=found)


def _key(key: bytes) -> bytes:
    if len(key) > KEY_BYTES:
        raise InvalidRequest(f"a partition key of {len(key)} bytes is over the limit of {KEY_BYTES}")
    return key


def _check_values(ctx: Context, request: api_pb2.QueuePutRequest) -> None:
    """Raises InvalidRequest for what would never fit. (A client that waits for room tries again for ever.)"""
    config = ctx.config
    largest = max(map(len, request.values), default=0)
    if largest > config.queue_item_bytes:
        raise InvalidRequest(
            f"an item of {largest} bytes is over the limit of {config.queue_item_bytes} (queue_item_bytes); "
            f"put it in a dict or a volume, and its key in the queue {_TOO_LARGE}"
        )
    if len(request.values) > config.queue_partition_items:
        raise InvalidRequest(
            f"{len(request.values)} items never fit a partition, which may hold {config.queue_partition_items} "
            f"(queue_partition_items) {_TOO_LARGE}"
        )
    if sum(map(len, request.values)) > config.queue_partition_bytes:
        raise InvalidRequest(
            f"these items never fit a partition, which may hold {config.queue_partition_bytes} bytes "
            f"(queue_partition_bytes) {_TOO_LARGE}"
        )
    if request.partition_ttl_seconds < 0:
        raise InvalidRequest(f"partition_ttl={request.partition_ttl_seconds} is negative")


async def QueuePut(ctx: Context, request: api_pb2.QueuePutRequest) -> Empty:
    """Add items at the end, all or none. ResourceExhausted when there is no room: clients wait, or raise Full."""
    _check_values(ctx, request)
    config, caller, now = ctx.config, ctx.caller, ctx.now
    key = _key(request.partition_key)
    ttl_s = min(request.partition_ttl_seconds or config.queue_ttl_s, config.queue_ttl_s)
    limits = Limits(config.queue_partitions, config.queue_partition_items, config.queue_partition_bytes)

    def put(tx: Tx) -> None:
        if not (caller.again and answers.recall(tx, caller.request_key, now)):
            queues.put(tx, request.queue_id, key, request.values, ttl_s, limits, caller.request_key, now)

    if request.values:
        await ctx.database.write(put)
        ctx.lines.serve((request.queue_id, key))
        ctx.watch.notify(queue_topic(request.queue_id, key))
    return Empty()


class _Get(Later):
    """A get that waits: nothing of its request is kept but its place in the line."""

    __slots__ = ("_waiter",)

    def __init__(self, waiter: Any) -> None:
        super().__init__(waiter.done)
        self._waiter = waiter

    def message(self) -> api_pb2.QueueGetResponse:
        return api_pb2.QueueGetResponse(values=self.done.result().values)

    def undo(self) -> None:
        self._waiter.give_up()


async def QueueGet(ctx: Context, request: api_pb2.QueueGetRequest) -> api_pb2.QueueGetResponse | Later:
    """Up to ``n_values`` items from the front, for this request alone; empty when there are none within ``timeout``."""
    place: Place = (request.queue_id, _key(request.partition_key))
    if request.n_values < 1:
        raise InvalidRequest(f"n_values={request.n_values}: ask for one item or more")
    again = ctx.caller.again
    if again and (found := await ctx.database.write(answers.recall, ctx.caller.request_key, ctx.now)) is not None:
        return api_pb2.QueueGetResponse(values=found)
    timeout_s = min(request.timeout, WAIT_S)
    waiter = ctx.lines.join(place, request.n_values, ctx.caller.request_key, timeout_s, again)
    if not waiter.waits:
        try:
            await waiter.done
        except asyncio.CancelledError:
            waiter.give_up()
            raise
    return _Get(waiter)


async def QueueNextItems(ctx: Context, request: api_pb2.QueueNextItemsRequest) -> api_pb2.QueueNextItemsResponse:
    """Items behind one that the client has seen, left where they are; waits for the first."""
    key = _key(request.partition_key)
    if request.last_entry_id and not request.last_entry_id.lstrip("-").isdigit():
        raise InvalidRequest(f"last_entry_id {request.last_entry_id!r} was not given by this server")
    after = int(request.last_entry_id) if request.last_entry_id else -(2**62)
    end = ctx.elapsed() + min(request.item_poll_timeout, WAIT_S)
    while True:
        ticket = ctx.watch.ticket(queue_topic(request.queue_id, key))
        try:
            found = await ctx.database.read(queues.following, request.queue_id, key, after, ITERATED, ctx.now)
            left_s = end - ctx.elapsed()
            if found or left_s <= 0:
                break
            await ctx.watch.wait(ticket, left_s)
        finally:
            ticket.cancel()
    items = [api_pb2.QueueItem(value=row["value"], entry_id=str(row["position"])) for row in found]
    return api_pb2.QueueNextItemsResponse(items=items)
