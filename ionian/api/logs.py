"""Logs of an app: a stream that follows it, and ranges of the past. Read from the segments that the worker writes."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path

from ionian import logs
from ionian.api import interactive
from ionian.api.context import Context
from ionian.errors import InvalidRequest, NotFound
from ionian.logs import Cursor, Record
from ionian.state import apps
from ionian.state.watch import logs_topic
from ionian.wire import api_pb2

BATCH = 500  # records in one message
FETCH_LIMIT = 20_000  # the most that one AppFetchLogs answers
LAST_WORDS_S = 10.0  # how long the stream of a stopped app waits for its containers to end

Filter = Callable[[Record], bool]


async def AppGetLogs(ctx: Context, request: api_pb2.AppGetLogsRequest) -> AsyncIterator[api_pb2.TaskLogsBatch]:
    """Log records behind an entry, then new ones as they come: for ``timeout`` seconds or to the end of what printed.

    That is the app, or the one container that is asked for.
    """
    app_id = request.app_id or _app_of(ctx, request.task_id)
    keep = _filter(request, request.file_descriptor)
    cursor = Cursor.decode(request.last_entry_id)
    until = ctx.elapsed() + request.timeout
    while True:
        ticket = ctx.watch.ticket(logs_topic(app_id))
        ended = not _lives(ctx, request.task_id) if request.task_id else await _has_ended(ctx, app_id)
        while True:
            records, cursor = logs.read(ctx.config.logs / app_id, cursor, BATCH)
            if not records:
                break
            for batch in await _told(ctx, request, records, keep, cursor):
                yield batch
        left = until - ctx.elapsed()
        if ended or left <= 0:
            ticket.cancel()
            break
        ending = bool(request.task_id) or await _is_stopped(ctx, app_id)
        await ctx.watch.wait(ticket, min(left, 1.0) if ending else left)
    if ended:
        yield api_pb2.TaskLogsBatch(app_done=True)


async def _told(
    ctx: Context, request: api_pb2.AppGetLogsRequest, records: list[Record], keep: Filter, cursor: Cursor
) -> list[api_pb2.TaskLogsBatch]:
    """Messages for these records. Whoever follows a whole app also learns what happens to terminals."""
    if not request.app_id or request.task_id or request.function_id or request.file_descriptor or request.search_text:
        return list(_batches(filter(keep, records), cursor))
    batches: list[api_pb2.TaskLogsBatch] = []
    for terminal, group in groupby(records, lambda record: record.stream == logs.TERMINAL):
        if terminal:
            changes = [await interactive.change(ctx, record) for record in group]
            batches += [batch for batch in changes if batch is not None]
        else:
            batches += _batches(filter(keep, group))
    if not batches:
        batches.append(api_pb2.TaskLogsBatch())
    batches[-1].entry_id = cursor.encode()
    return batches


async def _is_stopped(ctx: Context, app_id: str) -> bool:
    return bool((await ctx.database.read(apps.get, app_id))["state"] == apps.STOPPED)


async def _has_ended(ctx: Context, app_id: str) -> bool:
    """Stopped, and nothing of it can print any more."""
    row = await ctx.database.read(apps.get, app_id)
    if row["state"] != apps.STOPPED:
        return False
    alive = any(container.app_id == app_id for container in ctx.services.containers())
    return not alive or ctx.now > row["stopped_at"] + LAST_WORDS_S


def _lives(ctx: Context, container_id: str) -> bool:
    return any(container.container_id == container_id for container in ctx.services.containers())


def _app_of(ctx: Context, container_id: str) -> str:
    for container in ctx.services.containers():
        if container.container_id == container_id:
            return container.app_id
    raise NotFound(f"container {container_id} is not running; its logs are in: modal app logs APP")


def _filter(
    request: api_pb2.AppGetLogsRequest | api_pb2.AppFetchLogsRequest | api_pb2.AppCountLogsRequest, stream: int
) -> Filter:
    """What the client asked to see. Raises InvalidRequest for what cannot be told apart here."""
    if request.function_call_id or request.sandbox_id or request.parametrized_function_id:
        raise InvalidRequest("log records are kept per app, function and container; filter by one of these")

    def keep(record: Record) -> bool:
        return (
            record.stream != logs.TERMINAL
            and (not request.function_id or record.function_id == request.function_id)
            and (not request.task_id or record.container_id == request.task_id)
            and (not stream or record.stream == stream)
            and request.search_text in record.text
        )

    return keep


def _batches(records: Iterable[Record], cursor: Cursor | None = None) -> Iterator[api_pb2.TaskLogsBatch]:
    """Messages of one container each. The entry id is on the last: what precedes it has been sent by then."""
    batches = []
    for (container_id, function_id), group in groupby(records, lambda r: (r.container_id, r.function_id)):
        batch = api_pb2.TaskLogsBatch(task_id=container_id, function_id=function_id)
        batch.items.extend(task_log(record) for record in group)
        batches.append(batch)
    if cursor is not None:
        if not batches:
            batches.append(api_pb2.TaskLogsBatch())
        batches[-1].entry_id = cursor.encode()
    return iter(batches)


def task_log(record: Record) -> api_pb2.TaskLogs:
    """One record on the wire."""
    return api_pb2.TaskLogs(
        data=record.text,
        file_descriptor=record.stream,  # type: ignore[arg-type]
        timestamp=record.time_ns / 1e9,
        timestamp_ns=record.time_ns,
        container_id=record.container_id,
    )


async def AppFetchLogs(ctx: Context, request: api_pb2.AppFetchLogsRequest) -> api_pb2.AppFetchLogsResponse:
    """The newest ``limit`` records of a time range, oldest first."""
    app_id = request.app_id or _app_of(ctx, request.task_id)
    await ctx.database.read(apps.get, app_id)
    since, until = _range(request)
    limit = min(request.limit or FETCH_LIMIT, FETCH_LIMIT)
    keep = _filter(request, request.source)

    def newest() -> list[Record]:
        found = filter(keep, _between(ctx.config.logs / app_id, since, until))
        return list(deque(found, maxlen=limit))

    return api_pb2.AppFetchLogsResponse(batches=_batches(await asyncio.to_thread(newest)))


async def AppCountLogs(ctx: Context, request: api_pb2.AppCountLogsRequest) -> api_pb2.AppCountLogsResponse:
    """How many records each bucket of a time range has, by stream."""
    app_id = request.app_id or _app_of(ctx, request.task_id)
    await ctx.database.read(apps.get, app_id)
    since, until = _range(request)
    width = max(request.bucket_secs, 1)
    keep = _filter(request, request.source)

    def count() -> Counter[tuple[int, int]]:
        records = filter(keep, _between(ctx.config.logs / app_id, since, until))
        return Counter((record.time_ns // 10**9 // width * width, record.stream) for record in records)

    counted = await asyncio.to_thread(count)
    response = api_pb2.AppCountLogsResponse(app_id=app_id)
    for start in sorted({start for start, _ in counted}):
        bucket = response.buckets.add(
            stdout_logs=counted[start, logs.STDOUT],
            stderr_logs=counted[start, logs.STDERR],
            system_logs=counted[start, logs.SYSTEM],
        )
        bucket.bucket_start_at.FromSeconds(start)
    return response


def _range(request: api_pb2.AppFetchLogsRequest | api_pb2.AppCountLogsRequest) -> tuple[int, int]:
    """Beginning and end in unix nanoseconds; an end that is not given is never."""
    end = request.until.ToNanoseconds() if request.HasField("until") else 1 << 62
    return request.since.ToNanoseconds(), end


def _between(directory: Path, since_ns: int, until_ns: int) -> Iterator[Record]:
    cursor = logs.since(directory, since_ns)
    while True:
        records, cursor = logs.read(directory, cursor)
        if not records:
            return
        yield from (record for record in records if since_ns <= record.time_ns < until_ns)
