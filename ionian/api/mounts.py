"""Mounts: files are uploaded by digest, then listed. The client's own package is provided by the server."""

from __future__ import annotations

import asyncio

from ionian.api.context import Context
from ionian.errors import FailedPrecondition, InvalidRequest
from ionian.model import MountFile
from ionian.state import blobs, environments, mounts
from ionian.state.database import Row, Tx
from ionian.wire import api_pb2


async def MountGetOrCreate(ctx: Context, request: api_pb2.MountGetOrCreateRequest) -> api_pb2.MountGetOrCreateResponse:
    """A mount by its files, or by name."""
    kind = request.object_creation_type
    if kind == api_pb2.OBJECT_CREATION_TYPE_UNSPECIFIED:
        row = await ctx.database.write(_by_name, request, ctx.now)
    else:
        files = [MountFile(file.filename, file.sha256_hex, file.mode, file.size) for file in request.files]
        missing = sorted({file.path for file in files if not ctx.blobs.has(file.sha256)})
        if missing:
            raise FailedPrecondition(f"mount lists files that were not uploaded: {', '.join(missing[:5])}")
        overwrite = kind != api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS
        row = await ctx.database.write(_by_files, request, files, overwrite, ctx.now)
    response = api_pb2.MountGetOrCreateResponse(mount_id=row["mount_id"])
    response.handle_metadata.content_checksum_sha256_hex = row["digest"]
    return response


def _by_name(tx: Tx, request: api_pb2.MountGetOrCreateRequest, now: float) -> Row:
    if request.namespace == api_pb2.DEPLOYMENT_NAMESPACE_GLOBAL:
        return mounts.provided(tx, request.deployment_name, now)
    environment = environments.get(tx, request.environment_name, now)["name"]
    return mounts.named(tx, environment, request.deployment_name)


def _by_files(
    tx: Tx, request: api_pb2.MountGetOrCreateRequest, files: list[MountFile], overwrite: bool, now: float
) -> Row:
    row = mounts.get_or_create(tx, files, now)
    if request.deployment_name:
        environment = environments.get(tx, request.environment_name, now)["name"]
        mounts.name(tx, environment, request.deployment_name, row["mount_id"], overwrite)
    return row


async def MountBatchedCheckExistence(
    ctx: Context, request: api_pb2.MountBatchedCheckExistenceRequest
) -> api_pb2.MountBatchedCheckExistenceResponse:
    """Which of these files have still to be uploaded."""
    missing = [sha256 for sha256 in request.sha256_hex_hashes if not ctx.blobs.has(sha256)]
    response = api_pb2.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)
    response.checked_at.FromNanoseconds(int(ctx.now * 1e9))
    return response


async def MountPutFile(ctx: Context, request: api_pb2.MountPutFileRequest) -> api_pb2.MountPutFileResponse:
    """Upload one file, or (without content) ask whether it is here. Content that does not fit its digest is refused."""
    given = request.WhichOneof("data_oneof")
    if given == "data":
        stored = await ctx.blobs.put(request.data)
        if stored != request.sha256_hex:
            await ctx.blobs.delete(stored)
            raise InvalidRequest(
                f"the content uploaded as {request.sha256_hex} has the digest {stored}: it was damaged"
            )
    elif given == "data_blob_id":
        row = await ctx.database.read(blobs.get, request.data_blob_id)
        if row["sha256"] != request.sha256_hex:
            raise InvalidRequest(
                f"blob {request.data_blob_id} has the digest {row['sha256']}, not {request.sha256_hex}"
            )
    here = await asyncio.to_thread(ctx.blobs.has, request.sha256_hex)
    response = api_pb2.MountPutFileResponse(exists=here)
    response.checked_at.FromNanoseconds(int(ctx.now * 1e9))
    return response
