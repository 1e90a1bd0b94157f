"""The workspace and the first words between a client and this server."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from ionian import wire
from ionian.api.context import Context
from ionian.errors import Unimplemented
from ionian.state import environments, labels
from ionian.wire import api_pb2


async def ClientHello(ctx: Context, request: Empty) -> api_pb2.ClientHelloResponse:
    """Checks the token (the guard did); old clients read the image builder version here."""
    return api_pb2.ClientHelloResponse(image_builder_version=wire.builder_version(ctx.caller.client_version))


async def WorkspaceNameLookup(ctx: Context, request: Empty) -> api_pb2.WorkspaceNameLookupResponse:
    """The name that ``modal token set`` gives the profile, and ``modal profile current`` shows."""
    return api_pb2.WorkspaceNameLookupResponse(workspace_name=ctx.config.workspace, username=ctx.config.workspace)


async def WorkspaceMembersList(ctx: Context, request: Empty) -> api_pb2.WorkspaceMembersListResponse:
    """The one member: whoever runs the server."""
    environments_ = await ctx.database.read(environments.every)
    name, since = ctx.config.workspace, min((row["created_at"] for row in environments_), default=0.0)
    owner = api_pb2.WorkspaceMembersListItem(
        member_id=name, user_id=name, member_displayname=name, member_role=api_pb2.MEMBER_ROLE_OWNER, joined_at=since
    )
    return api_pb2.WorkspaceMembersListResponse(members=[owner])


async def WorkspaceSettings(ctx: Context, request: Empty) -> api_pb2.WorkspaceSettingsResponse:
    """What holds where nothing is named."""
    return api_pb2.WorkspaceSettingsResponse(
        default_environment_name=labels.MAIN, image_builder_version=wire.builder_version(ctx.caller.client_version)
    )


async def WorkspaceSetDefaultEnvironment(ctx: Context, request: api_pb2.WorkspaceSetDefaultEnvironmentRequest) -> Empty:
    """The default is fixed; a client chooses its own."""
    if request.environment_name != labels.MAIN:
        raise Unimplemented(
            f"another default environment than {labels.MAIN!r} is not built in this server yet; each client chooses "
            f"its own with: modal config set-environment {request.environment_name}"
        )
    return Empty()


async def WorkspaceSetImageBuilderVersion(
    ctx: Context, request: api_pb2.WorkspaceSetImageBuilderVersionRequest
) -> api_pb2.WorkspaceSetImageBuilderVersionResponse:
    """The client's version decides which one it gets."""
    fixed = wire.builder_version(ctx.caller.client_version)
    if request.new_image_builder_version != fixed:
        raise Unimplemented(f"the image builder version is the one of the client's version, here {fixed}")
    return api_pb2.WorkspaceSetImageBuilderVersionResponse(image_builder_version=fixed)
