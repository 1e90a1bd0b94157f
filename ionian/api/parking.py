"""Answers that come later. A request that waits keeps only its HTTP/2 stream and a future: about 3 KB instead of 17.

The library keeps a task, three frames, buffers and all headers for each open request. Once the request is read and its
answer must wait, all that goes; it is made anew when the answer is there. Where the connection is not one of ours (a
plain server of the library), the request waits in its task as any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from grpclib.protocol import H2Protocol
from grpclib.server import Server as GrpcServer
from grpclib.server import Stream
from grpclib.utils import Wrapper

_OWNER = "ionian_protocol"  # the attribute of the library's Connection that leads to the protocol


class Later:
    """An answer that is not there yet. ``done`` ends when it is, and is cancelled when the client goes."""

    __slots__ = ("done",)

    def __init__(self, done: asyncio.Future[Any]) -> None:
        self.done = done

    def message(self) -> Any:
        """The answer, when ``done`` is. Raises what went wrong."""
        raise NotImplementedError

    def undo(self) -> None:
        """The client has gone, and the answer (if there is one) was not sent."""
        raise NotImplementedError


class _Ignored:
    """Stands for the parts of a parked stream that the library touches when frames come for it."""

    __slots__ = ()

    def set(self) -> None:
        pass

    def add(self, data: bytes, ack_size: int) -> None:
        pass

    def unacked_size(self) -> int:
        return 0


class _Parked:
    """In place of a stream, while it waits."""

    __slots__ = ("_finish", "id", "later", "protocol")
    window_updated = buffer = _Ignored()
    data_received = 0

    def __init__(self, stream_id: int, protocol: Any, later: Later, finish: Finish) -> None:
        self.id = stream_id
        self.protocol = protocol
        self.later = later
        self._finish = finish

    def __ended__(self) -> None:
        pass

    def __terminated__(self, reason: str) -> None:
        self.later.done.cancel()  # undone when the loop comes by

    def enter(self, stream: Any) -> None:
        """The library has let go of the stream, but for its list of tasks, which it clears only now and then."""
        self.protocol.handler._tasks.pop(stream, None)
        h2 = self.protocol.connection._connection.streams.get(self.id)
        if h2 is None or h2.closed or self.protocol.handler.closing:
            self.later.done.cancel()
        else:
            self.protocol.processor.streams[self.id] = self
            self.protocol.handler._tasks[self] = self.later.done
        self.later.done.add_done_callback(self.wake)

    def wake(self, done: asyncio.Future[Any]) -> None:
        processor, handler = self.protocol.processor, self.protocol.handler
        here = processor.streams.pop(self.id, None) is self
        handler._tasks.pop(self, None)
        if done.cancelled() or not here or handler.closing:
            self.later.undo()
            return
        stream = self.protocol.connection.create_stream(stream_id=self.id, wrapper=Wrapper())
        release = processor.register(stream)
        handler._tasks[stream] = handler.loop.create_task(self._answer(stream, release))

    async def _answer(self, inner: Any, release: Callable[[], None]) -> None:
        try:
            async with self._finish.stream(inner) as stream:
                with inner.wrapper:
                    await self._finish.send(stream, self.later)
        finally:
            release()
            self.protocol.handler._tasks.pop(inner, None)


class Finish:
    """Of one RPC: remembers what the library needs to answer on a stream."""

    def __init__(self, stream: Any, send: Callable[[Any, Later], Awaitable[None]]) -> None:
        self._arguments = (stream._method_name, stream._cardinality, stream._recv_type, stream._send_type)
        self._options = {
            "codec": stream._codec,
            "status_details_codec": stream._status_details_codec,
            "dispatch": stream._dispatch,
        }
        self._send = send

    def stream(self, inner: Any) -> Stream[Any, Any]:
        return Stream(inner, *self._arguments, **self._options)

    async def send(self, stream: Stream[Any, Any], later: Later) -> None:
        await self._send(stream, later)


def park(stream: Any, later: Later, finish: Finish) -> bool:
    """Let go of the stream of a request until its answer is there. False: it cannot be, so wait for ``later.done``."""
    protocol = getattr(stream._stream.connection, _OWNER, None)
    if protocol is None:
        return False
    parked = _Parked(stream._stream.id, protocol, later, finish)
    stream._cancel_done = True  # the library then leaves without a word
    asyncio.get_running_loop().call_soon(parked.enter, stream._stream)
    return True


class ParkingProtocol(H2Protocol):
    """A connection whose requests can be parked."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        setattr(self.connection, _OWNER, self)


def protocols(service: GrpcServer) -> Callable[[], asyncio.Protocol]:
    """Makes protocols for connections that the library did not accept itself."""

    def make() -> asyncio.Protocol:
        made = service._protocol_factory()
        return ParkingProtocol(made.handler, made.config, made.h2_config)

    return make
