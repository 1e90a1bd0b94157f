"""Environments of the workspace: made, listed, renamed, deleted with all that lies in them."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from ionian import wire
from ionian.api import apps, objects
from ionian.api.context import Context
from ionian.errors import InvalidRequest, Unimplemented
from ionian.state import apps as app_rows
from ionian.state import environments, functions, labels, secrets
from ionian.state import objects as object_rows
from ionian.state.database import Row, Tx
from ionian.wire import api_pb2

_REFUSED = {
    "max_concurrent_tasks": "limits of an environment",
    "max_concurrent_gpus": "limits of an environment",
    "block_unauthenticated_resources": "proxy tokens",
    "image_builder_version": "an image builder version of an environment's own (the client's version decides)",
}


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
        image_builder_version=wire.builder_version(ctx.caller.client_version), webhook_suffix=row["web_suffix"]
    )
    return api_pb2.EnvironmentGetOrCreateResponse(
        environment_id=row["environment_id"],
        metadata=api_pb2.EnvironmentMetadata(name=row["name"], settings=settings),
    )


async def EnvironmentCreate(ctx: Context, request: api_pb2.EnvironmentCreateRequest) -> Empty:
    """A new environment."""
    if request.is_managed or request.default_member_role_str or request.default_member_role:
        raise Unimplemented("restricted environments are not built in this server yet: there are no members or roles")
    if request.environment_type == api_pb2.ENVIRONMENT_TYPE_PUBLIC:
        raise Unimplemented("public environments are not built in this server yet")
    await ctx.database.write(environments.create, request.name, ctx.now)
    return Empty()


async def EnvironmentList(ctx: Context, request: Empty) -> api_pb2.EnvironmentListResponse:
    """Every environment; main comes into being with the first look."""

    def rows(tx: Tx) -> list[Row]:
        environments.get(tx, labels.MAIN, ctx.now)
        return environments.every(tx)

    return api_pb2.EnvironmentListResponse(items=[_item(ctx, row) for row in await ctx.database.write(rows)])


def _item(ctx: Context, row: Row) -> api_pb2.EnvironmentListItem:
    return api_pb2.EnvironmentListItem(
        name=row["name"],
        webhook_suffix=row["web_suffix"],
        created_at=row["created_at"],
        default=row["name"] == labels.MAIN,
        environment_id=row["environment_id"],
        image_builder_version=wire.builder_version(ctx.caller.client_version),
    )


async def EnvironmentUpdate(ctx: Context, request: api_pb2.EnvironmentUpdateRequest) -> api_pb2.EnvironmentListItem:
    """Another name, another web suffix. Web functions answer at their new addresses at once."""
    for field in wire.given_fields(request):
        if field in _REFUSED:
            raise Unimplemented(f"{_REFUSED[field]} ({field}) is not built in this server yet")
    row = await ctx.database.write(_update, ctx, request)
    await ctx.services.reload()
    return _item(ctx, row)


def _update(tx: Tx, ctx: Context, request: api_pb2.EnvironmentUpdateRequest) -> Row:
    name = environments.get(tx, request.current_name, ctx.now)["name"]
    if request.HasField("web_suffix"):
        environments.set_suffix(tx, name, request.web_suffix.value, ctx.now)
        for app in _running(tx, name):
            definition_ids = app_rows.layout(tx, app["app_id"]).definition_ids.values()
            functions.claim_labels(tx, app["app_id"], ctx.config.workspace, definition_ids)
            _check_lengths(tx, app)
    if request.HasField("name"):
        environments.rename(tx, name, request.name.value, ctx.now)
        name = request.name.value
    return environments.get(tx, name, ctx.now)


def _check_lengths(tx: Tx, app: Row) -> None:
    """Labels were cut to fit behind the suffix that was. Raises InvalidRequest for one that is too long now."""
    for row in tx.all("SELECT host FROM web_labels WHERE app_id = ?", app["app_id"]):
        if len(row["host"]) > labels.DNS_LIMIT:
            raise InvalidRequest(
                f"with this web suffix the address {row['host']!r} of app {app['name']!r} would have more than "
                f"{labels.DNS_LIMIT} characters: choose a shorter one, or stop the app first"
            )


def _running(tx: Tx, environment: str) -> list[Row]:
    return app_rows.every(tx, environment, float("inf"))


async def EnvironmentDelete(ctx: Context, request: api_pb2.EnvironmentDeleteRequest) -> Empty:
    """Delete an environment: its apps stop, its secrets, dicts and queues are gone. The client has asked before."""
    app_ids, data = await ctx.database.write(_delete, ctx, request.name)
    await apps.ended(ctx, app_ids)
    await objects.forgotten(ctx, data)
    return Empty()


def _delete(tx: Tx, ctx: Context, name: str) -> tuple[list[str], list[str]]:
    """The apps that have stopped, and the dicts and queues that are gone."""
    name = environments.get(tx, name, ctx.now)["name"]
    app_ids = [app["app_id"] for app in _running(tx, name)]
    for app_id in app_ids:
        app_rows.stop(tx, app_id, ctx.config.workspace, ctx.now)
    secrets.delete_of(tx, name, ctx.now)
    data = object_rows.of_environment(tx, name)
    for kind, object_id in data:
        object_rows.delete(tx, kind, object_id)
    environments.bury(tx, name, ctx.now)
    return app_ids, [object_id for _, object_id in data]
