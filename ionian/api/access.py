"""Access to the command router: a token that is good for one container, for a while, and for who asked for it.

The router is the second gRPC service on the port. Its clients send nothing but this token.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from ionian import wire
from ionian.api import jwt
from ionian.api.context import Caller, Context
from ionian.api.guard import Guard
from ionian.errors import FailedPrecondition, NotFound, Unauthenticated
from ionian.state import tokens

LIFE_S = 15 * 60.0  # seconds; the client then asks for the next
_AUDIENCE = "command-router"
_NEAR = frozenset({"localhost", "127.0.0.1", "::1"})

CollectingRpc = Callable[[Context, AsyncIterator[Any]], Awaitable[Any]]


async def grant(ctx: Context, container_id: str) -> tuple[str, str]:
    """Address of the router and a token for this container.

    Raises NotFound (it is not running), FailedPrecondition (the client would not go there without TLS).
    """
    if not any(container.container_id == container_id for container in ctx.services.containers()):
        raise NotFound(gone(container_id))
    url = ctx.services.router_url(ctx.caller.host)
    name = urllib.parse.urlsplit(url).hostname
    if not wire.routes_without_tls(ctx.caller.client_version):
        raise FailedPrecondition("this client speaks to a command router over TLS only, which is not built here yet")
    if name not in _NEAR:
        raise FailedPrecondition(
            f"the client runs commands in containers over TLS only, unless it dials localhost, and it dialled {name}: "
            "run it on the server's machine, or through `ssh -L`, with MODAL_SERVER_URL=http://127.0.0.1:PORT"
        )
    row = await ctx.database.read(tokens.get, ctx.caller.token_id)
    claims = {"aud": _AUDIENCE, "sub": row["token_id"], "task": container_id, "exp": int(ctx.now + LIFE_S)}
    return url, jwt.sign(claims, row["secret_sha256"].encode())


def gone(container_id: str) -> str:
    """What is said of a container that is not running."""
    return f"container {container_id} is not running; `modal container list` shows what is, `modal app logs` what was"


class RouterGuard(Guard):
    """Wraps RPCs of the router: the token must be right, young, and for the container of the request."""

    def collecting(self, name: str, function: CollectingRpc) -> Callable[[Any], Awaitable[None]]:
        """For an RPC to which the client sends a stream."""

        async def handle(stream: Any) -> None:
            with self._edge(name):
                context = await self._admit(name, stream)

                async def messages() -> AsyncIterator[Any]:
                    async for message in stream:
                        if message.HasField("start"):
                            _check_bound(context, message.start)
                        yield message

                await stream.send_message(await function(context, messages()))

        return handle

    async def _admit(self, name: str, stream: Any) -> Context:
        """The context of whoever has this token, bound to its container. Raises Unauthenticated."""
        scheme, _, token = str((stream.metadata or {}).get("authorization", "")).partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("the command router takes a token from TaskGetCommandRouterAccess as authorization")
        try:
            claims = jwt.claims_of(token)
            row = await self._context.database.read(tokens.valid, str(claims.get("sub", "")))
        except (ValueError, NotFound):
            raise Unauthenticated("this token for the command router is not valid on this server") from None
        if claims.get("aud") != _AUDIENCE or not jwt.is_signed(token, row["secret_sha256"].encode()):
            raise Unauthenticated("this token for the command router is not valid on this server")
        if float(claims.get("exp", 0)) <= self._context.now:
            raise Unauthenticated("this token for the command router has expired; ask for the next")
        return self._context.of(Caller(token_id=row["token_id"], bound_to=str(claims["task"])))

    async def _received(self, context: Context, stream: Any) -> Any:
        request = await stream.recv_message()
        if request is not None:
            _check_bound(context, request)
        return request


def _check_bound(context: Context, request: Any) -> None:
    """Raises Unauthenticated for a request about another container."""
    task = context.caller.bound_to
    if request.task_id != task:
        raise Unauthenticated(f"this token is for container {task}, not for {request.task_id or 'none'}")
