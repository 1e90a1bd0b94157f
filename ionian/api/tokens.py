"""Tokens. They are made by the server at its first start; the web flow is refused with what to do instead."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from ionian.api.context import Context
from ionian.errors import Unimplemented
from ionian.state import tokens
from ionian.wire import api_pb2

_INSTEAD = 'this server hands out its token on its own machine; run: eval "$(ionian env)"'


async def TokenFlowCreate(ctx: Context, request: api_pb2.TokenFlowCreateRequest) -> api_pb2.TokenFlowCreateResponse:
    """``modal token new`` wants a browser login, which does not exist here yet."""
    raise Unimplemented(f"RPC TokenFlowCreate (modal token new) is not built in this server yet; {_INSTEAD}")


async def TokenFlowWait(ctx: Context, request: api_pb2.TokenFlowWaitRequest) -> api_pb2.TokenFlowWaitResponse:
    """See TokenFlowCreate."""
    raise Unimplemented(f"RPC TokenFlowWait (modal token new) is not built in this server yet; {_INSTEAD}")


async def TokenInfoGet(ctx: Context, request: Empty) -> api_pb2.TokenInfoGetResponse:
    """Whose token this is."""
    row = await ctx.database.read(tokens.get, ctx.caller.token_id)
    response = api_pb2.TokenInfoGetResponse(
        token_id=row["token_id"], workspace_name=ctx.config.workspace, token_name=row["name"]
    )
    response.created_at.FromSeconds(int(row["created_at"]))
    return response
