"""Apps: created, kept alive by their client, disconnected, stopped, listed. Publishing is in ``deployments``.

An ephemeral app ends with its client, a detached one with its client and its work, a deployed one when it is stopped.
"""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from ionian.api.context import Context
from ionian.errors import NotFound
from ionian.state import apps, calls, environments
from ionian.state.apps import Layout, Release
from ionian.state.database import Row, Tx
from ionian.state.watch import call_topic, logs_topic
from ionian.wire import api_pb2

HEARTBEAT_LIMIT_S = 300.0  # clients send one every 15 s
STOPPED_SHOWN_S = 24 * 3600.0  # how long `modal app list` shows a stopped app


async def AppCreate(ctx: Context, request: api_pb2.AppCreateRequest) -> api_pb2.AppCreateResponse:
    """A new app: ephemeral, or initializing until its deploy is published."""
    row = await ctx.database.write(
        apps.create,
        request.environment_name,
        request.description,
        request.app_state or api_pb2.APP_STATE_INITIALIZING,
        ctx.caller.client_version,
        dict(request.tags),
        ctx.now,
    )
    page = ctx.services.app_url(ctx.caller.host, row["app_id"])
    return api_pb2.AppCreateResponse(app_id=row["app_id"], app_page_url=page, app_logs_url=page)


async def AppGetOrCreate(ctx: Context, request: api_pb2.AppGetOrCreateRequest) -> api_pb2.AppGetOrCreateResponse:
    """The deployed app of this name; a new empty one when the request allows it."""

    def get_or_create(tx: Tx) -> Row:
        environment = environments.get(tx, request.environment_name, ctx.now)["name"]
        row = apps.deployed(tx, environment, request.app_name)
        if row:
            return row
        if request.object_creation_type != api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING:
            raise NotFound(f"app {request.app_name!r} is not deployed in environment {environment!r}")
        version, name = ctx.caller.client_version, request.app_name
        made = apps.create(tx, environment, name, api_pb2.APP_STATE_INITIALIZING, version, {}, ctx.now)
        apps.publish(tx, made["app_id"], name, apps.DEPLOYED, Layout(), Release(version), ctx.now)
        return apps.get(tx, made["app_id"])

    row = await ctx.database.write(get_or_create)
    return api_pb2.AppGetOrCreateResponse(app_id=row["app_id"])


async def AppGetByDeploymentName(
    ctx: Context, request: api_pb2.AppGetByDeploymentNameRequest
) -> api_pb2.AppGetByDeploymentNameResponse:
    """The deployed app of this name, or the one stopped last; empty ids when there is none."""

    def look_up(tx: Tx) -> api_pb2.AppGetByDeploymentNameResponse:
        environment = environments.get(tx, request.environment_name, ctx.now)["name"]
        response = api_pb2.AppGetByDeploymentNameResponse(environment_name=environment)
        row = apps.deployed(tx, environment, request.name)
        response.app_id = row["app_id"] if row else ""
        old = row or apps.previous(tx, environment, request.name)
        if old:
            response.lifecycle.CopyFrom(_lifecycle(old))
            response.previous_app_id = "" if row else old["app_id"]
        return response

    return await ctx.database.write(look_up)  # the default environment may come into being


def _lifecycle(row: Row) -> api_pb2.AppLifecycle:
    return api_pb2.AppLifecycle(
        app_state=row["state"],
        created_at=row["created_at"],
        deployed_at=row["deployed_at"],
        version=max(row["live_version"], 0),
        stopped_at=row["stopped_at"],
        stopped_by=row["stopped_by"],
    )


async def AppGetLifecycle(ctx: Context, request: api_pb2.AppGetLifecycleRequest) -> api_pb2.AppGetLifecycleResponse:
    """How far an app is."""
    row = await ctx.database.read(apps.get, request.app_id)
    return api_pb2.AppGetLifecycleResponse(lifecycle=_lifecycle(row))


async def AppHeartbeat(ctx: Context, request: api_pb2.AppHeartbeatRequest) -> Empty:
    """The client of this app is alive."""
    await ctx.database.write(apps.heartbeat, request.app_id, ctx.now)
    return Empty()


async def AppClientDisconnect(ctx: Context, request: api_pb2.AppClientDisconnectRequest) -> Empty:
    """The client has left: an ephemeral app ends, a deployed one goes on, a detached one while it has work."""
    if await ctx.database.write(apps.disconnect, request.app_id, ctx.now):
        await ended(ctx, [request.app_id])
    return Empty()


async def AppStop(ctx: Context, request: api_pb2.AppStopRequest) -> Empty:
    """The app ends for good; its containers stop, its open calls end as terminated."""
    if await ctx.database.write(apps.stop, request.app_id, ctx.config.workspace, ctx.now):
        await ended(ctx, [request.app_id])
    return Empty()


async def end_lost_apps(ctx: Context) -> list[str]:
    """End the apps that have outlived their client (five minutes of silence count as gone). Returns their ids."""
    app_ids = await ctx.database.read(apps.lost, ctx.now - HEARTBEAT_LIMIT_S)
    for app_id in app_ids:
        await ctx.database.write(apps.stop, app_id, "", ctx.now)
    if app_ids:
        await ended(ctx, app_ids)
    return app_ids


async def ended(ctx: Context, app_ids: list[str]) -> None:
    """After the rows of these apps say that they have stopped: end what runs of them."""
    for app_id in app_ids:
        for call_id in await ctx.database.write(calls.cancel_app, app_id, "the app was stopped", ctx.now):
            ctx.services.cancel(call_id, True)
            ctx.watch.notify(call_topic(call_id))
    await ctx.services.reload()
    for app_id in app_ids:
        await ctx.services.release(app_id)
        ctx.watch.notify(logs_topic(app_id))


async def AppList(ctx: Context, request: api_pb2.AppListRequest) -> api_pb2.AppListResponse:
    """Apps that run or stopped within a day."""

    def rows(tx: Tx) -> list[Row]:
        environment = environments.get(tx, request.environment_name, ctx.now)["name"]
        return apps.every(tx, environment, ctx.now - STOPPED_SHOWN_S)

    running = [container.app_id for container in ctx.services.containers()]
    response = api_pb2.AppListResponse()
    for row in await ctx.database.write(rows):
        response.apps.add(
            app_id=row["app_id"],
            description=row["name"] or row["description"],
            name=row["name"],
            state=row["state"],
            created_at=row["created_at"],
            stopped_at=row["stopped_at"],
            n_running_tasks=running.count(row["app_id"]),
        )
    return response
