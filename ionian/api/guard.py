"""Around every call: authenticate, hand over the context, map errors to a gRPC status, count, log what was unexpected.

The only place of the gRPC edge that catches everything; nothing below it knows a status code.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any

from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.exceptions import StreamClosedError

from ionian import wire
from ionian.api import inside
from ionian.api.context import Caller, Context
from ionian.api.parking import Finish, Later, park
from ionian.errors import IonianError, Unauthenticated
from ionian.model import new_id
from ionian.state import passes

UnaryRpc = Callable[[Context, Any], Awaitable[Any]]
StreamRpc = Callable[[Context, Any], AsyncIterator[Any]]

# Only what a client without a token needs to get one.
WITHOUT_TOKEN = frozenset({"TokenFlowCreate", "TokenFlowWait"})

_ENDED = "this container's token is not valid (any more): it is good only in its own container, while that lives"
_CHILD = (
    "no token given: a program that was started inside a container has none when its client is older than 1.6; "
    "call from the function itself"
)

log = logging.getLogger("ionian.api")


class Guard:
    """Wraps RPC functions into handlers of grpclib. ``calls`` and ``errors`` count by RPC name."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.calls: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._finishes: dict[str, Finish] = {}

    def unary(self, name: str, function: UnaryRpc) -> Callable[[Any], Awaitable[None]]:
        async def handle(stream: Any) -> None:
            with self._edge(name):
                context = await self._admit(name, stream)
                request = await self._received(context, stream)
                answer = await function(context, request)
                if not isinstance(answer, Later):
                    await stream.send_message(answer)
                elif answer.done.done() or not park(stream, answer, self._finish(name, stream)):
                    await _send_later(stream, answer)

        return handle

    def _finish(self, name: str, stream: Any) -> Finish:
        """How answers of this RPC that come later are sent."""

        async def send(stream: Any, answer: Later) -> None:
            with self._edge(name, counted=True):
                await _send_later(stream, answer)

        if name not in self._finishes:
            self._finishes[name] = Finish(stream, send)
        return self._finishes[name]

    def streaming(self, name: str, function: StreamRpc) -> Callable[[Any], Awaitable[None]]:
        async def handle(stream: Any) -> None:
            with self._edge(name):
                context = await self._admit(name, stream)
                request = await self._received(context, stream)
                messages = function(context, request)
                assert isinstance(messages, AsyncGenerator)
                async with aclosing(messages):
                    async for message in messages:
                        await stream.send_message(message)

        return handle

    async def _admit(self, name: str, stream: Any) -> Context:
        """The context for this caller. Raises Unauthenticated, PermissionDenied (a container, for what is not its)."""
        caller = caller_of(stream.metadata or {})
        if name in WITHOUT_TOKEN:
            return self._context.of(caller)
        secret = str((stream.metadata or {}).get(wire.TOKEN_SECRET, ""))
        if caller.token_id.startswith(passes.PREFIX):
            found = self._context.services.inside(caller.token_id, secret)
            if found is None:
                raise Unauthenticated(_ENDED)
            inside.admit(name)
            return self._context.of(replace(caller, inside=found))
        if not await self._context.known.right(self._context.database, caller.token_id, secret):
            raise Unauthenticated(_refusal(caller))
        return self._context.of(caller)

    async def _received(self, context: Context, stream: Any) -> Any:
        request = await stream.recv_message()
        if context.caller.inside is not None:
            await inside.confine(context, context.caller.inside, request)
        return request

    @contextmanager
    def _edge(self, name: str, counted: bool = False) -> Iterator[None]:
        self.calls[name] += not counted
        try:
            yield
        except GRPCError:
            self.errors[name] += 1
            raise
        except IonianError as error:
            self.errors[name] += 1
            raise GRPCError(Status[error.grpc], str(error)) from error
        except (StreamTerminatedError, ConnectionError):
            raise  # the client has gone: nobody to tell
        except StreamClosedError as error:
            raise asyncio.CancelledError from error  # it has gone too, and this task's cancellation is on its way
        except Exception as error:
            self.errors[name] += 1
            error_id = new_id("err")
            log.exception("%s failed (%s)", name, error_id)
            text = (
                f"{name} failed inside the server: {type(error).__name__} ({error_id}; the server's log has the rest)"
            )
            raise GRPCError(Status.INTERNAL, text) from error


async def _send_later(stream: Any, answer: Later) -> None:
    """Wait for an answer and send it; it is undone when the client goes before."""
    try:
        await answer.done
        await stream.send_message(answer.message())
    except BaseException:
        answer.undo()
        raise


def caller_of(metadata: Any) -> Caller:
    """Who calls, from request metadata."""
    kind = str(metadata.get(wire.CLIENT_TYPE, ""))
    return Caller(
        token_id=str(metadata.get(wire.TOKEN_ID, "")),
        client_version=str(metadata.get(wire.CLIENT_VERSION, "")),
        client_type=int(kind) if kind.isdigit() else 0,
        host=str(metadata.get(wire.CLIENT_HOST, "")),
        request_key=str(metadata.get(wire.IDEMPOTENCY_KEY, "")),
        again=metadata.get(wire.RETRY_ATTEMPT) != "0",
    )


def _refusal(caller: Caller) -> str:
    if not caller.token_id and caller.client_type == wire.CLIENT_IN_CONTAINER:
        return _CHILD
    if not caller.token_id:
        return 'no token given; run: eval "$(ionian env)"'
    return f'token {caller.token_id!r} is not valid on this server, or its secret is wrong; run: eval "$(ionian env)"'
