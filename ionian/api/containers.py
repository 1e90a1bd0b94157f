"""Containers, which clients call tasks."""

from __future__ import annotations

from ionian.api.context import Context
from ionian.errors import NotFound
from ionian.state import apps
from ionian.wire import api_pb2


async def TaskList(ctx: Context, request: api_pb2.TaskListRequest) -> api_pb2.TaskListResponse:
    """Containers alive now, of one app or of one environment."""
    response = api_pb2.TaskListResponse()
    for container in ctx.services.containers():
        app = await ctx.database.read(apps.get, container.app_id)
        if request.app_id and container.app_id != request.app_id:
            continue
        if request.environment_name and app["environment"] != request.environment_name:
            continue
        response.tasks.add(
            task_id=container.container_id,
            app_id=container.app_id,
            app_description=app["name"] or app["description"],
            started_at=container.started_at,
            enqueued_at=container.started_at,
        )
    return response


async def TaskGetInfo(ctx: Context, request: api_pb2.TaskGetInfoRequest) -> api_pb2.TaskGetInfoResponse:
    """One container that is alive."""
    for container in ctx.services.containers():
        if container.container_id == request.task_id:
            info = api_pb2.TaskInfo(
                id=container.container_id, started_at=container.started_at, enqueued_at=container.started_at
            )
            return api_pb2.TaskGetInfoResponse(app_id=container.app_id, info=info)
    raise NotFound(f"container {request.task_id} is not running; its logs are in: modal app logs APP")


async def ContainerStop(ctx: Context, request: api_pb2.ContainerStopRequest) -> api_pb2.ContainerStopResponse:
    """End a container; its inputs run again elsewhere, unless they may end first (``--graceful``)."""
    await ctx.services.stop_container(request.task_id, request.graceful)
    return api_pb2.ContainerStopResponse()
