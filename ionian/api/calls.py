"""Calls: inputs are journalled, then dispatched; outputs are awaited on the call's topic and read from the journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from google.protobuf.empty_pb2 import Empty

from ionian import wire
from ionian.api.context import Context
from ionian.errors import FailedPrecondition, InvalidRequest, ResourceExhausted, Unimplemented
from ionian.model import InputRef, OpenInput, Status
from ionian.state import apps, bindings, blobs, calls, functions
from ionian.state.calls import NewCall, NewInput
from ionian.state.database import Row, Tx
from ionian.state.watch import call_topic, readers_topic
from ionian.wire import api_pb2

MAX_OUTSTANDING = 1000  # inputs of one .map in flight
OUTPUT_BATCH = 500
ITEM_BATCH = 100
ITEM_WAIT_S = 55.0  # the client asks again after that
LAST_ITEMS_S = 10.0  # how long the failure of a generator waits for the items before it to be read
READER_S = 2.0  # and for somebody to read them: a client asks for items and for the end at the same time
IDLE_WAIT_S = 0.25  # the same, of a call without open inputs: clients up to 0.73 ask before they know if any will come
CANCELLED = "the function call was cancelled"


async def FunctionMap(ctx: Context, request: api_pb2.FunctionMapRequest) -> api_pb2.FunctionMapResponse:
    """A new call, with its first inputs."""
    _check_room(ctx, request.function_id, len(request.pipelined_inputs))
    news = await _news(ctx, request.pipelined_inputs)
    live = await ctx.services.enlist(request.function_id)
    slot = ctx.services.reserve(request.function_id) if len(news) == 1 else None

    call = NewCall(
        request.function_id,
        request.function_call_type,
        request.function_call_invocation_type,
        request.parent_input_id,
        ctx.caller.request_key,
    )

    def accept(tx: Tx) -> tuple[str, calls.Accepted]:
        if not live:
            _check_callable(tx, request.function_id)
        return calls.create(tx, call, ctx.now, news, slot.container_id if slot else "")

    try:
        call_id, (ids, fresh) = await ctx.database.write(accept)
    except BaseException:
        if slot is not None:
            slot.release()
        raise
    if slot is not None and fresh:
        ctx.services.start(slot, fresh[0], _ref(fresh[0], news[0]))
    else:
        if slot is not None:
            slot.release()  # the same request came before
        ctx.services.submit(fresh)
    # The policy stays here: all retries are the server's (sync_client_retries_enabled is false, see docs/adr/0010).
    return api_pb2.FunctionMapResponse(
        function_call_id=call_id,
        pipelined_inputs=_accepted(ids),
        function_call_jwt=call_id,
        max_inputs_outstanding=MAX_OUTSTANDING,
    )


def _check_room(ctx: Context, function_id: str, inputs: int) -> None:
    """Raises ResourceExhausted; clients try again where the user cannot lose count (maps), others report it."""
    waiting, most = ctx.services.queued(function_id), ctx.config.max_queued_inputs
    if waiting + inputs > most:
        raise ResourceExhausted(
            f"{waiting} inputs wait for {function_id} already, and max_queued_inputs is {most}; try again later"
        )


def _ref(opened: OpenInput, new: NewInput) -> InputRef:
    return InputRef(opened.input_id, opened.call_id, new.method, new.data_format, new.args, new.args_blob)


def _check_callable(tx: Tx, function_id: str) -> None:
    """Raises FailedPrecondition, NotFound when this function cannot be called."""
    app = apps.get(tx, functions.get(tx, function_id)["app_id"])
    if app["state"] not in apps.SERVING:
        raise FailedPrecondition(f"app {app['description']!r} is not running, so its functions cannot be called")
    if bindings.base_of(tx, function_id) not in apps.layout(tx, app["app_id"]).definition_ids:
        raise FailedPrecondition(f"function {function_id} is not part of the live version of its app")


async def _news(ctx: Context, items: Iterable[api_pb2.FunctionPutInputsItem]) -> list[NewInput]:
    return [await _new(ctx, item.idx, item.input) for item in items]


async def _new(ctx: Context, position: int, given: api_pb2.FunctionInput) -> NewInput:
    data_format = given.data_format or api_pb2.DATA_FORMAT_PICKLE
    if given.WhichOneof("args_oneof") != "args_blob_id":
        return NewInput(position, data_format, given.method_name, given.args)
    row = await ctx.database.read(blobs.get, given.args_blob_id)
    return NewInput(position, data_format, given.method_name, args_blob=row["sha256"])


def _accepted(ids: Iterable[tuple[int, str]]) -> list[api_pb2.FunctionPutInputsResponseItem]:
    return [api_pb2.FunctionPutInputsResponseItem(idx=idx, input_id=i, input_jwt=i) for idx, i in ids]


async def FunctionPutInputs(
    ctx: Context, request: api_pb2.FunctionPutInputsRequest
) -> api_pb2.FunctionPutInputsResponse:
    """More inputs of a call."""
    _check_room(ctx, request.function_id, len(request.inputs))
    news = await _news(ctx, request.inputs)
    ids, fresh = await ctx.database.write(calls.accept, request.function_call_id, news, ctx.now)
    if fresh:
        ctx.services.submit(fresh)
    return api_pb2.FunctionPutInputsResponse(inputs=_accepted(ids))


async def FunctionFinishInputs(ctx: Context, request: api_pb2.FunctionFinishInputsRequest) -> Empty:
    """There are no more inputs."""
    await ctx.database.write(calls.finish_inputs, request.function_call_id, request.num_inputs)
    return Empty()


async def FunctionRetryInputs(
    ctx: Context, request: api_pb2.FunctionRetryInputsRequest
) -> api_pb2.FunctionRetryInputsResponse:
    """Inputs that this server could not run, once more (the JavaScript and Go clients ask so by themselves)."""

    def reopen(tx: Tx) -> list[OpenInput]:
        found = (calls.reopen(tx, item.input_jwt) for item in request.inputs)
        return [opened for opened in found if opened is not None]

    again = await ctx.database.write(reopen)
    if again:
        ctx.services.submit(again)
    return api_pb2.FunctionRetryInputsResponse(input_jwts=[item.input_jwt for item in request.inputs])


async def FunctionGetOutputs(
    ctx: Context, request: api_pb2.FunctionGetOutputsRequest
) -> api_pb2.FunctionGetOutputsResponse:
    """Outputs of a call, waiting up to ``timeout`` seconds for the first; not so long where nothing is open."""
    after = _entry(request.last_entry_id)
    between = (request.start_idx, request.end_idx) if request.HasField("start_idx") else None
    limit = min(request.max_values or OUTPUT_BATCH, OUTPUT_BATCH)
    asked = ctx.elapsed()
    while True:
        ticket = ctx.watch.ticket(call_topic(request.function_call_id))
        rows, left = await ctx.database.read(calls.outputs, request.function_call_id, after, limit, between)
        wait = asked + (request.timeout if left else min(request.timeout, IDLE_WAIT_S)) - ctx.elapsed()
        if rows or wait <= 0:
            ticket.cancel()
            break
        await ctx.watch.wait(ticket, wait)
    if rows and rows[0]["status"] != Status.SUCCESS:
        await _items_read(ctx, request.function_call_id)
    return api_pb2.FunctionGetOutputsResponse(
        idxs=[row["position"] for row in rows],
        outputs=[await _output(ctx, row) for row in rows],
        last_entry_id=f"{rows[-1]['entry']}-0" if rows else request.last_entry_id,
        num_unfinished_inputs=left,
    )


async def _items_read(ctx: Context, call_id: str) -> None:
    """Wait until who reads this generator now has its items: a client that hears of a failure reads no further."""
    items = await ctx.database.read(calls.last_item, call_id)
    if not items:
        return
    if not ctx.readers.reads(call_id):
        await ctx.watch.wait(ctx.watch.ticket(readers_topic(call_id)), READER_S)
    until = ctx.elapsed() + LAST_ITEMS_S
    while ctx.readers.behind(call_id, items) and (wait := until - ctx.elapsed()) > 0:
        await ctx.watch.wait(ctx.watch.ticket(readers_topic(call_id)), wait)
    if ctx.readers.reads(call_id):
        await asyncio.sleep(min(0.25 + 0.0005 * items, 3.0))  # seconds for the client to look at what it was sent


def _entry(entry_id: str) -> int:
    number = entry_id.partition("-")[0]
    if number and not number.isdigit():
        raise InvalidRequest(f"{entry_id!r} is not an entry id of this server")
    return int(number or 0)


async def _output(ctx: Context, row: Row) -> api_pb2.FunctionGetOutputsItem:
    result = api_pb2.GenericResult(
        status=row["status"],
        exception=row["exception"],
        traceback=row["traceback"],
        serialized_tb=row["serialized_tb"],
        tb_line_cache=row["tb_line_cache"],
    )
    if row["data_blob"]:
        size = ctx.blobs.path(row["data_blob"]).stat().st_size
        result.data_blob_id = await ctx.database.write(blobs.add, row["data_blob"], size, ctx.now)
    else:
        await _fill(ctx, result, row["data"])
    return api_pb2.FunctionGetOutputsItem(
        result=result,
        idx=row["position"],
        input_id=row["input_id"],
        data_format=row["data_format"],
        task_id=row["container_id"],
        input_started_at=row["started_at"],
        output_created_at=row["created_at"],
        retry_count=0,  # counts the client's own retries: it drops what does not match
    )


async def _fill(ctx: Context, target: api_pb2.GenericResult | api_pb2.DataChunk, data: bytes) -> None:
    """Data inline, or as a blob when it is large."""
    if len(data) <= wire.MAX_INLINE_BYTES:
        target.data = data
        return
    sha256 = await ctx.blobs.put(data)
    target.data_blob_id = await ctx.database.write(blobs.add, sha256, len(data), ctx.now)


async def FunctionCallGetDataOut(
    ctx: Context, request: api_pb2.FunctionCallGetDataRequest
) -> AsyncIterator[api_pb2.DataChunk]:
    """Items of a generator as they come."""
    call_id, until = request.function_call_id, ctx.elapsed() + ITEM_WAIT_S
    with ctx.readers.reading(call_id, request.last_index) as reader:
        ctx.watch.notify(readers_topic(call_id))
        while True:
            ticket = ctx.watch.ticket(call_topic(call_id))
            rows = await ctx.database.read(calls.items, call_id, reader.position, ITEM_BATCH)
            for row in rows:
                chunk = api_pb2.DataChunk(index=row["position"], data_format=row["data_format"])
                await _fill(ctx, chunk, row["data"])
                yield chunk
                reader.position = row["position"]
            if rows:
                ctx.services.taken(call_id, reader.position)
                ctx.watch.notify(readers_topic(call_id))
            wait = until - ctx.elapsed()
            if rows or wait <= 0:
                ticket.cancel()
            if wait <= 0:
                return
            if not rows:
                await ctx.watch.wait(ticket, wait)


async def FunctionCallCancel(ctx: Context, request: api_pb2.FunctionCallCancelRequest) -> Empty:
    """The open inputs of a call end as terminated; those that run are told to stop."""
    if not request.function_call_id:
        raise Unimplemented("cancelling all calls of a function is not built in this server yet")
    if await ctx.database.write(calls.cancel, request.function_call_id, CANCELLED, ctx.now):
        ctx.services.cancel(request.function_call_id, request.terminate_containers)
        ctx.watch.notify(call_topic(request.function_call_id))
    return Empty()


async def FunctionCallGetInfo(
    ctx: Context, request: api_pb2.FunctionCallGetInfoRequest
) -> api_pb2.FunctionCallGetInfoResponse:
    """How far a call is."""
    row = await ctx.database.read(calls.get, request.function_call_id)
    counts = calls.counted(row)
    info = api_pb2.FunctionCallInfo(
        function_call_id=row["call_id"], created_at=row["created_at"], total_inputs=counts.total
    )
    info.pending_inputs.total = counts.pending
    info.succeeded_inputs.total = counts.succeeded
    info.timeout_inputs.total = counts.timed_out
    info.cancelled_inputs.total = counts.cancelled
    info.failed_inputs.total = counts.failed
    return api_pb2.FunctionCallGetInfoResponse(info=info)


async def FunctionCallFromId(
    ctx: Context, request: api_pb2.FunctionCallFromIdRequest
) -> api_pb2.FunctionCallFromIdResponse:
    """A call by its id."""
    counts = await ctx.database.read(calls.counts, request.function_call_id)
    return api_pb2.FunctionCallFromIdResponse(function_call_id=request.function_call_id, num_inputs=counts.total)
