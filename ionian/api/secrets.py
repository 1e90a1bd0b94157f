"""Secrets are a later part: nothing of one is stored, and the refusal names it."""

from __future__ import annotations

from ionian.api.context import Context
from ionian.errors import NotFound, Unimplemented
from ionian.state import labels
from ionian.wire import api_pb2


async def SecretGetOrCreate(
    ctx: Context, request: api_pb2.SecretGetOrCreateRequest
) -> api_pb2.SecretGetOrCreateResponse:
    """No secret exists; making one is refused."""
    kind = request.object_creation_type
    if kind == api_pb2.OBJECT_CREATION_TYPE_UNSPECIFIED and request.deployment_name:
        environment = request.environment_name or labels.MAIN
        raise NotFound(
            f"secret {request.deployment_name!r} not found in environment {environment!r}: "
            "secrets are not built in this server yet; until then set plain values with Image.env(). Later, "
            f"`modal secret create {request.deployment_name} NAME=value` makes it"
        )
    raise Unimplemented(
        "secrets (modal.Secret, env=) are not built in this server yet; until then set plain values with Image.env()"
    )
