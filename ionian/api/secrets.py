"""Secrets: created, found by name, listed, changed, deleted. No RPC gives out a value."""

from __future__ import annotations

import json

from google.protobuf.empty_pb2 import Empty

from ionian.api.context import Context
from ionian.errors import InvalidRequest, PermissionDenied
from ionian.state import secrets
from ionian.state.database import Row
from ionian.wire import api_pb2

_WITHOUT_NAME = (api_pb2.OBJECT_CREATION_TYPE_ANONYMOUS_OWNED_BY_APP, api_pb2.OBJECT_CREATION_TYPE_EPHEMERAL)
_KINDS = {
    api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING: "keep",
    api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS: "fail",
    api_pb2.OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS: "overwrite",
}
_PAGE = 1000  # a client that asks for no number gets all, page by page of its own


async def SecretGetOrCreate(
    ctx: Context, request: api_pb2.SecretGetOrCreateRequest
) -> api_pb2.SecretGetOrCreateResponse:
    """A secret by its name, a new one with a name, or one of an app or a run without."""
    row = await _get_or_create(ctx, request)
    return api_pb2.SecretGetOrCreateResponse(secret_id=row["secret_id"], metadata=_metadata(row))


async def _get_or_create(ctx: Context, request: api_pb2.SecretGetOrCreateRequest) -> Row:
    write, file, by = ctx.database.write, ctx.config.secret_key_file, ctx.config.workspace
    kind, name, environment = request.object_creation_type, request.deployment_name, request.environment_name
    if kind in _WITHOUT_NAME:
        return await write(
            secrets.put_anonymous, file, environment, request.app_id, dict(request.env_dict), by, ctx.now
        )
    if not name:
        raise InvalidRequest("a secret needs a name")
    if kind == api_pb2.OBJECT_CREATION_TYPE_UNSPECIFIED:
        return await write(secrets.find, environment, name, tuple(request.required_keys), ctx.now)
    if kind not in _KINDS:
        raise InvalidRequest(f"object_creation_type {kind} is not known for secrets")
    if ctx.caller.inside is not None:
        raise PermissionDenied(f"secret {name!r}: a container may use secrets by name, not create or change them")
    return await write(secrets.put, file, environment, name, dict(request.env_dict), by, _KINDS[kind], ctx.now)


def _metadata(row: Row) -> api_pb2.SecretMetadata:
    return api_pb2.SecretMetadata(
        name=row["name"],
        creation_info=api_pb2.CreationInfo(created_at=row["created_at"], created_by=row["created_by"]),
        keys=json.loads(row["keys"]),
        environment_name=row["environment"],
        last_used_at=row["last_used_at"],
    )


async def SecretGetInfo(ctx: Context, request: api_pb2.SecretGetInfoRequest) -> api_pb2.SecretGetInfoResponse:
    """What is known of a secret, its values aside."""
    row = await ctx.database.read(secrets.alive, request.secret_id)
    return api_pb2.SecretGetInfoResponse(metadata=_metadata(row))


async def SecretList(ctx: Context, request: api_pb2.SecretListRequest) -> api_pb2.SecretListResponse:
    """The secrets with a name, newest first."""
    page = request.pagination
    rows = await ctx.database.write(  # the default environment may come into being
        secrets.listed, request.environment_name, page.created_before, max(page.max_objects, 0) or _PAGE, ctx.now
    )
    response = api_pb2.SecretListResponse(environment_name=request.environment_name)
    for row in rows:
        response.items.add(
            label=row["name"],
            created_at=row["created_at"],
            last_used_at=row["last_used_at"],
            environment_name=row["environment"],
            secret_id=row["secret_id"],
            metadata=_metadata(row),
        )
    return response


async def SecretUpdate(ctx: Context, request: api_pb2.SecretUpdateRequest) -> Empty:
    """Set or take out some variables. Containers that run keep what they have."""
    changes = {change.key: change.value if change.HasField("value") else None for change in request.updates}
    await ctx.database.write(secrets.update, ctx.config.secret_key_file, request.secret_id, changes, ctx.now)
    return Empty()


async def SecretDelete(ctx: Context, request: api_pb2.SecretDeleteRequest) -> Empty:
    """Delete a secret. Containers that run keep what they have; new ones of functions that need it do not start."""
    await ctx.database.write(secrets.delete, request.secret_id, ctx.now)
    return Empty()
