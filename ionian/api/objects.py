"""What dicts and queues have in common: names, ephemeral ones that end with their client, and keeping house."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ionian.api import values
from ionian.api.context import Context
from ionian.errors import InvalidRequest, NotFound
from ionian.state import answers, dicts, environments, objects, queues
from ionian.state.database import Row, Tx
from ionian.wire import api_pb2

LOST_S = 660.0  # an ephemeral object whose client was not heard of for so long ends; clients speak every 300 s
PAGE = 100
_CREATES = (api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING, api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS)
_COMMANDS = {objects.DICT: "modal dict create", objects.QUEUE: "modal queue create"}


def get_or_create(tx: Tx, ctx: Context, kind: str, request: Any) -> tuple[Row, bool]:
    """The object that a request names, and whether it is new. Raises NotFound, AlreadyExists, InvalidRequest."""
    creation, name = request.object_creation_type, request.deployment_name
    environment = environments.get(tx, request.environment_name, ctx.now)["name"]
    by = ctx.config.workspace
    if creation == api_pb2.OBJECT_CREATION_TYPE_EPHEMERAL:
        return objects.create(tx, kind, environment, "", by, ctx.now), True
    if not name:
        raise InvalidRequest(f"a {kind} needs a name, or is made by {kind.capitalize()}.ephemeral()")
    if creation not in (api_pb2.OBJECT_CREATION_TYPE_UNSPECIFIED, *_CREATES):
        raise InvalidRequest(f"a {kind} cannot be made in way {creation}; use {kind.capitalize()}.from_name()")
    found = objects.named(tx, kind, environment, name)
    if creation == api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS or (found is None and creation in _CREATES):
        return objects.create(tx, kind, environment, name, by, ctx.now), True  # raises AlreadyExists
    if found is None:
        raise NotFound(
            f"{kind} {name!r} not found in environment {environment!r}; create_if_missing=True makes it, "
            f"and so does: {_COMMANDS[kind]} {name}"
        )
    return found, False


def page(tx: Tx, ctx: Context, kind: str, request: Any) -> tuple[str, list[Row]]:
    """The environment's name and a page of its named objects, newest first."""
    environment = environments.get(tx, request.environment_name, ctx.now)["name"]
    before = request.pagination.created_before or float("inf")
    limit = request.pagination.max_objects or PAGE
    return environment, objects.listing(tx, kind, environment, before, min(limit, PAGE))


def describe(row: Row, metadata: Any) -> None:
    """Fill the metadata of a handle."""
    metadata.name = row["name"]
    metadata.creation_info.created_at = row["created_at"]
    metadata.creation_info.created_by = row["created_by"]


async def sweep(ctx: Context) -> None:
    """Remove what was cleared or deleted, piece by piece: other requests are served between two pieces."""
    await _until_done(ctx, objects.sweep, ctx.now)


async def _until_done(ctx: Context, piece: Callable[..., bool], *args: Any) -> None:
    while await ctx.database.write(piece, *args):
        pass


async def delete(ctx: Context, kind: str, object_id: str) -> None:
    """Remove an object and what it holds; whoever waits for its items is told. Raises NotFound."""
    await ctx.database.write(objects.delete, kind, object_id)
    for place in ctx.lines.waiting(object_id):
        ctx.lines.serve(place)
    await sweep(ctx)


async def forgotten(ctx: Context, object_ids: list[str]) -> None:
    """The rows of these are gone: whoever waits for their items is told, what they held is removed."""
    for place in (place for object_id in object_ids for place in ctx.lines.waiting(object_id)):
        ctx.lines.serve(place)
    await sweep(ctx)


async def began(ctx: Context) -> None:
    """The server has started: nobody could be heard until now."""
    await ctx.database.write(objects.all_heard, ctx.now)


async def keep_house(ctx: Context, moved_s: float) -> None:
    """End what has outlived its client or its time. ``moved_s``: how far the clock was set meanwhile."""
    if moved_s:
        await ctx.database.write(objects.move_heartbeats, moved_s)
    for object_id in await ctx.database.read(objects.lost, ctx.now - LOST_S):
        kind = objects.DICT if object_id.startswith("di-") else objects.QUEUE
        await delete(ctx, kind, object_id)
    await _until_done(ctx, dicts.expire, ctx.now - ctx.config.dict_entry_ttl_s, ctx.now)
    await _until_done(ctx, queues.expire, ctx.now)
    await _until_done(ctx, answers.forget, ctx.now - answers.SPAN_S * answers.SPANS)
    await sweep(ctx)
    await values.sweep(ctx)
