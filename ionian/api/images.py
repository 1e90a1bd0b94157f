"""Images: a recipe becomes one image row; the client follows its build through a stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from ionian import logs
from ionian.api.context import Context
from ionian.errors import Unimplemented
from ionian.state import images, secrets
from ionian.state.database import Row
from ionian.state.watch import image_topic
from ionian.wire import api_pb2

LOG_BATCH = 500  # records in one message
FRESH_S = 10.0  # a build that ended longer ago is not shown again (clients up to 0.64 follow every image)
REFUSED = {
    "gpu_config": "gpu= of image steps",
    "build_function": "Image.run_function",
    "volume_mounts": "volumes in image steps",
}


async def ImageGetOrCreate(ctx: Context, request: api_pb2.ImageGetOrCreateRequest) -> api_pb2.ImageGetOrCreateResponse:
    """The image of this recipe, built or about to be."""
    image = request.image
    _check(request)
    secret_ids = tuple(image.secret_ids)
    secrets_key = await ctx.database.read(secrets.identity, secret_ids)
    recipe = images.Recipe(
        dockerfile_commands=tuple(image.dockerfile_commands),
        builder_version=request.builder_version,
        bases=tuple((base.docker_tag, base.image_id) for base in image.base_images),
        context_files=tuple((file.filename, file.data) for file in image.context_files),
        context_mount_id=image.context_mount_id,
        build_args=tuple(sorted(image.build_args.items())),
        secret_ids=secret_ids,
        secrets_key=secrets_key,
    )
    force = request.force_build or request.ignore_cache
    row = await ctx.database.write(images.get_or_create, request.app_id, recipe, force, ctx.now)
    response = api_pb2.ImageGetOrCreateResponse(image_id=row["image_id"])
    if row["status"] == images.BUILT:
        response.result.CopyFrom(_result(row))
        response.metadata.CopyFrom(_metadata(row))
    elif row["status"] == images.PENDING:
        ctx.services.build()
    return response


def _check(request: api_pb2.ImageGetOrCreateRequest) -> None:
    image = request.image
    given = {
        "gpu_config": image.gpu_config.count or image.gpu_config.gpu_type,
        "build_function": request.build_function_id or image.HasField("build_function"),
        "volume_mounts": image.volume_mounts,
    }
    for name, value in given.items():
        if value:
            raise Unimplemented(f"{REFUSED[name]}: not built in this server yet")
    if image.image_registry_config.registry_auth_type or image.image_registry_config.secret_id:
        raise Unimplemented("private image registries are not built in this server yet")


def _result(row: Row) -> api_pb2.GenericResult:
    if row["status"] == images.BUILT:
        return api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)
    return api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_FAILURE, exception=row["error"])


def _metadata(row: Row) -> api_pb2.ImageMetadata:
    """What the build found out; clients show it, and decide by it what the container will have."""
    found = json.loads(row["metadata"])
    return api_pb2.ImageMetadata(
        python_version_info=str(found.get("python_version_info", "")),
        libc_version_info=str(found.get("libc_version_info", "")),
        python_packages={str(name): str(version) for name, version in found.get("python_packages", {}).items()},
        workdir=row["workdir"] or None,
        image_builder_version=images.Recipe.decode(row["recipe"]).builder_version,
    )


async def ImageJoinStreaming(
    ctx: Context, request: api_pb2.ImageJoinStreamingRequest
) -> AsyncIterator[api_pb2.ImageJoinStreamingResponse]:
    """The output of a build as it comes, then its result; without a result when the client's time is over."""
    cursor = logs.Cursor.decode(request.last_entry_id)
    directory = ctx.config.logs / request.image_id
    until = ctx.elapsed() + request.timeout
    while True:
        ticket = ctx.watch.ticket(image_topic(request.image_id))
        row = await ctx.database.read(images.get, request.image_id)
        done = row["status"] in (images.BUILT, images.FAILED)
        fresh = ctx.now - row["finished_at"] < FRESH_S
        if not done or fresh or row["status"] == images.FAILED or request.include_logs_for_finished:
            while True:
                records, cursor = logs.read(directory, cursor, LOG_BATCH)
                if not records:
                    break
                yield api_pb2.ImageJoinStreamingResponse(
                    task_logs=[_task_log(record) for record in records], entry_id=cursor.encode()
                )
        if done:
            ticket.cancel()
            yield api_pb2.ImageJoinStreamingResponse(result=_result(row), metadata=_metadata(row), eof=True)
            return
        left = until - ctx.elapsed()
        if left <= 0:
            ticket.cancel()
            return
        await ctx.watch.wait(ticket, left)


def _task_log(record: logs.Record) -> api_pb2.TaskLogs:
    return api_pb2.TaskLogs(
        data=record.text,
        file_descriptor=record.stream,  # type: ignore[arg-type]
        timestamp=record.time_ns / 1e9,
        timestamp_ns=record.time_ns,
    )


async def ImageFromId(ctx: Context, request: api_pb2.ImageFromIdRequest) -> api_pb2.ImageFromIdResponse:
    """An image by its id."""
    row = await ctx.database.read(images.get, request.image_id)
    return api_pb2.ImageFromIdResponse(image_id=row["image_id"], metadata=_metadata(row))
