"""The workspace and the first words between a client and this server."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from ionian import wire
from ionian.api.context import Context
from ionian.wire import api_pb2


async def ClientHello(ctx: Context, request: Empty) -> api_pb2.ClientHelloResponse:
    """Checks the token (the guard did); old clients read the image builder version here."""
    return api_pb2.ClientHelloResponse(image_builder_version=wire.builder_version(ctx.caller.client_version))


async def WorkspaceNameLookup(ctx: Context, request: Empty) -> api_pb2.WorkspaceNameLookupResponse:
    """The name that ``modal token set`` gives the profile, and ``modal profile current`` shows."""
    return api_pb2.WorkspaceNameLookupResponse(workspace_name=ctx.config.workspace, username=ctx.config.workspace)
