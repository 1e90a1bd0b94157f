"""Tokens: who this one belongs to, and how a client without one gets one (``modal token new``)."""

from __future__ import annotations

import asyncio

from google.protobuf.empty_pb2 import Empty

from ionian.api import jwt
from ionian.api.context import Context
from ionian.errors import Unimplemented
from ionian.state import tokens
from ionian.wire import api_pb2

MAX_WAIT_S = 60.0  # of one TokenFlowWait; the client asks again
AUTH_TOKEN_S = 20 * 60.0  # the client asks for the next after half of it


async def TokenFlowCreate(ctx: Context, request: api_pb2.TokenFlowCreateRequest) -> api_pb2.TokenFlowCreateResponse:
    """Begin `modal token new`: the address of our page and a code, with which somebody who has a token approves it."""
    if request.expires_in_seconds:
        raise Unimplemented("--expires-in: tokens of this server do not expire yet; leave the option out")
    flow = ctx.flows.begin(ctx.now)
    return api_pb2.TokenFlowCreateResponse(
        token_flow_id=flow.flow_id,
        web_url=ctx.services.token_url(ctx.caller.host, flow.flow_id),
        code=flow.code,
        wait_secret=flow.wait_secret,
    )


async def TokenFlowWait(ctx: Context, request: api_pb2.TokenFlowWaitRequest) -> api_pb2.TokenFlowWaitResponse:
    """Wait until it is approved, then hand out a fresh token; the same one again when the answer was lost."""
    flow = ctx.flows.waiting(request.token_flow_id, request.wait_secret, ctx.now)
    try:
        await asyncio.wait_for(flow.approved.wait(), min(max(request.timeout, 0.0), MAX_WAIT_S))
    except TimeoutError:
        return api_pb2.TokenFlowWaitResponse(timeout=True)
    if flow.token is None:
        flow.token = tokens.mint()
    name = f"token new, approved by {flow.approver}"
    await ctx.database.write(tokens.ensure, *flow.token, name, ctx.now)
    return api_pb2.TokenFlowWaitResponse(
        token_id=flow.token[0], token_secret=flow.token[1], workspace_username=ctx.config.workspace
    )


async def TokenDelete(ctx: Context, request: api_pb2.TokenDeleteRequest) -> Empty:
    """Delete a token, the caller's own when none is named: from now on nobody gets in with it. The home's own stays."""
    token_id = request.token_id or ctx.caller.token_id
    await ctx.database.read(tokens.removable, token_id)
    ctx.known.doubt(token_id)
    await ctx.database.write(tokens.delete, token_id)
    return Empty()


async def TokenDisable(ctx: Context, request: api_pb2.TokenDisableRequest) -> Empty:
    """From now on nobody gets in with these, until they are enabled."""
    for token_id in request.token_ids:
        ctx.known.doubt(token_id)
    await ctx.database.write(tokens.disable, tuple(request.token_ids), True)
    return Empty()


async def TokenEnable(ctx: Context, request: api_pb2.TokenEnableRequest) -> Empty:
    """Take disabled tokens again."""
    await ctx.database.write(tokens.disable, tuple(request.token_ids), False)
    return Empty()


async def TokensList(ctx: Context, request: Empty) -> api_pb2.TokensListResponse:
    """Every token of the workspace, which has one member."""
    workspace = ctx.config.workspace
    response = api_pb2.TokensListResponse()
    for row in await ctx.database.read(tokens.every):
        response.tokens.add(
            token_id=row["token_id"],
            name=row["name"],
            created_at=row["created_at"],
            disabled=bool(row["disabled"]),
            workspace_id=workspace,
            user_id=workspace,
            member_id=workspace,
            member_displayname=workspace,
        )
    return response


async def TokenInfoGet(ctx: Context, request: Empty) -> api_pb2.TokenInfoGetResponse:
    """Whose token this is."""
    row = await ctx.database.read(tokens.get, ctx.caller.token_id)
    response = api_pb2.TokenInfoGetResponse(
        token_id=row["token_id"],
        workspace_id=ctx.config.workspace,
        workspace_name=ctx.config.workspace,
        token_name=row["name"],
    )
    response.created_at.FromSeconds(int(row["created_at"]))
    return response


async def AuthTokenGet(ctx: Context, request: api_pb2.AuthTokenGetRequest) -> api_pb2.AuthTokenGetResponse:
    """A token that expires, in the form of a JWT: the JavaScript client sends one along with the token id and secret.

    These two are what counts here: nothing accepts the JWT in their place.
    """
    key = ctx.caller.token_id  # of a container, whose secret is stored nowhere
    if ctx.caller.inside is None:
        key = (await ctx.database.read(tokens.get, ctx.caller.token_id))["secret_sha256"]
    claims: dict[str, str | int] = {"iss": "ionian", "sub": ctx.caller.token_id, "exp": int(ctx.now + AUTH_TOKEN_S)}
    return api_pb2.AuthTokenGetResponse(token=jwt.sign(claims, key.encode()))
