"""Environments of the workspace."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from ionian import wire
from ionian.api.context import Context
from ionian.state import environments, labels
from ionian.state.database import Row, Tx
from ionian.wire import api_pb2


async def EnvironmentGetOrCreate(
    ctx: Context, request: api_pb2.EnvironmentGetOrCreateRequest
) -> api_pb2.EnvironmentGetOrCreateResponse:
    """An environment (empty name: main) with the image builder version that this client understands."""

    def get_or_create(tx: Tx) -> Row:
        name = request.deployment_name
        missing = bool(name) and all(row["name"] != name for row in environments.every(tx))
        if missing and request.object_creation_type == api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING:
            return environments.create(tx, name, ctx.now)
        return environments.get(tx, name, ctx.now)

    row = await ctx.database.write(get_or_create)
    settings = api_pb2.EnvironmentSettings(
        image_builder_version=wire.builder_version(ctx.caller.client_version), webhook_suffix=_suffix(row["name"])
    )
    return api_pb2.EnvironmentGetOrCreateResponse(
        environment_id=row["environment_id"],
        metadata=api_pb2.EnvironmentMetadata(name=row["name"], settings=settings),
    )


def _suffix(name: str) -> str:
    return "" if name == labels.MAIN else labels.slug(name)


async def EnvironmentCreate(ctx: Context, request: api_pb2.EnvironmentCreateRequest) -> Empty:
    """A new environment."""
    await ctx.database.write(environments.create, request.name, ctx.now)
    return Empty()


async def EnvironmentList(ctx: Context, request: Empty) -> api_pb2.EnvironmentListResponse:
    """Every environment; main comes into being with the first look."""

    def rows(tx: Tx) -> list[Row]:
        environments.get(tx, labels.MAIN, ctx.now)
        return environments.every(tx)

    response = api_pb2.EnvironmentListResponse()
    for row in await ctx.database.write(rows):
        response.items.add(
            name=row["name"],
            webhook_suffix=_suffix(row["name"]),
            created_at=row["created_at"],
            default=row["name"] == labels.MAIN,
            environment_id=row["environment_id"],
            image_builder_version=wire.builder_version(ctx.caller.client_version),
        )
    return response
