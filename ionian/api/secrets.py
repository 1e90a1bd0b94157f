"""Secrets with a name are a later part: the refusal names it. Those of one run are kept in memory, for sandboxes."""

from __future__ import annotations

from ionian.api.context import Context
from ionian.errors import NotFound, Unimplemented
from ionian.state import labels
from ionian.wire import api_pb2

_WITHOUT_NAME = (api_pb2.OBJECT_CREATION_TYPE_ANONYMOUS_OWNED_BY_APP, api_pb2.OBJECT_CREATION_TYPE_EPHEMERAL)


async def SecretGetOrCreate(
    ctx: Context, request: api_pb2.SecretGetOrCreateRequest
) -> api_pb2.SecretGetOrCreateResponse:
    """No secret with a name exists, and making one is refused; one without a name lives as long as the server."""
    kind = request.object_creation_type
    if kind in _WITHOUT_NAME:
        return api_pb2.SecretGetOrCreateResponse(secret_id=ctx.anonymous.add(request.env_dict))
    if kind == api_pb2.OBJECT_CREATION_TYPE_UNSPECIFIED and request.deployment_name:
        environment = request.environment_name or labels.MAIN
        raise NotFound(
            f"secret {request.deployment_name!r} not found in environment {environment!r}: "
            "secrets are not built in this server yet; until then set plain values with Image.env(). Later, "
            f"`modal secret create {request.deployment_name} NAME=value` makes it"
        )
    raise Unimplemented(
        "secrets with a name are not built in this server yet; until then set plain values with Image.env()"
    )
