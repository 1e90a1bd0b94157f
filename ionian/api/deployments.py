"""Deployments: an app's new version goes live in one commit; until then the old one serves. History and rollback."""

from __future__ import annotations

import json
from collections.abc import Mapping

from google.protobuf.empty_pb2 import Empty

from ionian import wire
from ionian.api import fields, schedules
from ionian.api.context import Context
from ionian.errors import FailedPrecondition, InvalidRequest, Unimplemented
from ionian.state import apps, bindings, functions
from ionian.state.apps import Layout, Release
from ionian.state.database import Row, Tx
from ionian.state.functions import Settings
from ionian.state.schedules import TOPIC as SCHEDULES
from ionian.wire import api_pb2


async def AppSetObjects(ctx: Context, request: api_pb2.AppSetObjectsRequest) -> Empty:
    """First step of a publish by clients up to 0.63; an ephemeral app is published by it."""
    objects = dict(request.indexed_object_ids)
    await ctx.database.write(apps.stage, request.app_id, objects)
    state = request.new_app_state
    if state in (api_pb2.APP_STATE_EPHEMERAL, api_pb2.APP_STATE_DETACHED):
        await _publish(ctx, request.app_id, "", state, _layout_of(objects), Release(ctx.caller.client_version))
    return Empty()


async def AppDeploy(ctx: Context, request: api_pb2.AppDeployRequest) -> api_pb2.AppDeployResponse:
    """Second step of a publish by clients up to 0.63."""
    row = await ctx.database.read(apps.get, request.app_id)
    layout, release = _layout_of(json.loads(row["staged"])), Release(ctx.caller.client_version, request.tag)
    await _publish(ctx, request.app_id, request.name, apps.DEPLOYED, layout, release)
    return api_pb2.AppDeployResponse(url=await _visit_url(ctx, row))


def _layout_of(objects: Mapping[str, str]) -> Layout:
    kinds = {prefix: {k: v for k, v in objects.items() if v.startswith(prefix)} for prefix in ("fu-", "cs-")}
    return Layout(kinds["fu-"], kinds["cs-"])


async def AppPublish(ctx: Context, request: api_pb2.AppPublishRequest) -> api_pb2.AppPublishResponse:
    """The new version of an app goes live, atomically. A deploy that changes nothing makes no version."""
    if request.staged:
        raise Unimplemented("staged deployments are not built in this server yet")
    layout = Layout(dict(request.function_ids), dict(request.class_ids), dict(request.definition_ids))
    release = Release(
        ctx.caller.client_version, request.deployment_tag, request.commit_info.SerializeToString(deterministic=True)
    )
    deployed_at = await _publish(ctx, request.app_id, request.name, request.app_state, layout, release)
    row = await ctx.database.read(apps.get, request.app_id)
    response = api_pb2.AppPublishResponse(url=await _visit_url(ctx, row), deployed_at=deployed_at)
    if not wire.shows_function_warnings(ctx.caller.client_version):
        for message in await ctx.database.read(_warnings, request.app_id):
            response.server_warnings.add(message=message)
    return response


def _warnings(tx: Tx, app_id: str) -> list[str]:
    """The warnings of every function in the live version."""
    rows = [
        functions.definition(tx, definition_id) for definition_id in apps.layout(tx, app_id).definition_ids.values()
    ]
    return [message for row in rows for message in fields.check(api_pb2.Function.FromString(row["definition"]))]


async def _publish(ctx: Context, app_id: str, name: str, state: int, layout: Layout, release: Release) -> float:
    """Returns the time of the deployment; 0.0 when the live version was already exactly this.

    Without a ``state`` (``modal serve`` after a change) the app keeps its own.
    """

    def commit(tx: Tx) -> float:
        wanted = state or apps.get(tx, app_id)["state"]
        if wanted not in apps.SERVING:
            raise InvalidRequest(f"an app cannot be published in state {wanted}")
        chosen = functions.definitions_of(tx, layout.function_ids.values(), dict(layout.definition_ids))
        complete = Layout(layout.function_ids, layout.class_ids, chosen)
        app = apps.get(tx, app_id)
        rescaled = bindings.forget_autoscaling(tx, app_id)
        if app["state"] == wanted == apps.DEPLOYED and apps.layout(tx, app_id) == complete and not release.tag:
            schedules.publish(tx, app_id, ctx.now)
            return app["deployed_at"] if rescaled else 0.0
        apps.publish(tx, app_id, name, wanted, complete, release, ctx.now)
        functions.claim_labels(tx, app_id, ctx.config.workspace, chosen.values())
        schedules.publish(tx, app_id, ctx.now)
        return ctx.now

    deployed_at = await ctx.database.write(commit)
    ctx.watch.notify(SCHEDULES)
    if deployed_at:
        await ctx.services.reload()
    return deployed_at


async def AppRollback(ctx: Context, request: api_pb2.AppRollbackRequest) -> api_pb2.AppRollbackResponse:
    """An older version goes live again, as a new one. Version -1 is the one before the present one."""
    versions = [row["version"] for row in await ctx.database.read(apps.history, request.app_id)]
    if request.version < 0 and len(versions) < 2:
        raise FailedPrecondition("there is no earlier version to roll back to")
    version = versions[1] if request.version < 0 else request.version
    deployed_at = await _republish(ctx, request.app_id, version, version)
    row = await ctx.database.read(apps.get, request.app_id)
    return api_pb2.AppRollbackResponse(url=await _visit_url(ctx, row), deployed_at=deployed_at)


async def AppRollover(ctx: Context, request: api_pb2.AppRolloverRequest) -> api_pb2.AppRolloverResponse:
    """The present version once more, as a new one."""
    row = await ctx.database.read(apps.get, request.app_id)
    deployed_at = await _republish(ctx, request.app_id, row["live_version"], 0)
    return api_pb2.AppRolloverResponse(url=await _visit_url(ctx, row), deployed_at=deployed_at)


async def _republish(ctx: Context, app_id: str, version: int, rollback_version: int) -> float:
    """What a version was, once more: with its tag and its commit, because they say which program this is."""

    def commit(tx: Tx) -> float:
        if apps.get(tx, app_id)["state"] != apps.DEPLOYED:
            raise FailedPrecondition(f"app {app_id} is not deployed")
        layout = apps.layout(tx, app_id, version)
        bindings.forget_autoscaling(tx, app_id)
        old = next(row for row in apps.history(tx, app_id) if row["version"] == version)
        release = Release(ctx.caller.client_version, old["tag"], old["commit_info"], rollback_version)
        functions.claim_labels(tx, app_id, ctx.config.workspace, layout.definition_ids.values())
        apps.publish(tx, app_id, "", apps.DEPLOYED, layout, release, ctx.now)
        schedules.publish(tx, app_id, ctx.now)
        return ctx.now

    deployed_at = await ctx.database.write(commit)
    await ctx.services.reload()
    return deployed_at


async def AppDeploymentHistory(
    ctx: Context, request: api_pb2.AppDeploymentHistoryRequest
) -> api_pb2.AppDeploymentHistoryResponse:
    """The versions of an app, newest first."""
    app = await ctx.database.read(apps.get, request.app_id)
    response = api_pb2.AppDeploymentHistoryResponse(production_app_version=max(app["live_version"], 0))
    for row in await ctx.database.read(apps.history, request.app_id):
        response.app_deployment_histories.add(
            app_id=row["app_id"],
            version=row["version"],
            client_version=row["client_version"],
            deployed_at=row["deployed_at"],
            deployed_by=ctx.config.workspace,
            tag=row["tag"],
            rollback_version=row["rollback_version"],
            rollback_allowed=True,
            commit_info=api_pb2.CommitInfo.FromString(row["commit_info"]),
        )
    return response


async def _visit_url(ctx: Context, app: Row) -> str:
    """What a deploy prints: the address of the first web function, else of the app's page."""

    def first(tx: Tx) -> str:
        definition_ids = apps.layout(tx, app["app_id"]).definition_ids.values()
        rows = (functions.definition(tx, definition_id) for definition_id in definition_ids)
        return next((label for row in rows for label in Settings.decode(row["settings"]).labels), "")

    label = await ctx.database.read(first)
    if label:
        return ctx.services.url(app["web_suffix"], label)
    return ctx.services.app_url(ctx.caller.host, app["app_id"])
