"""Connections to containers: one exchange at a time each, kept and used again.

An ``Upstream`` owns its slot from ``send`` until the container says DONE or the connection ends: exactly one release,
also when the client went away long before. A container that keeps it long after the request's time is replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import Protocol, cast

from ionian.gateway.acquire import Slot
from ionian.runner import frames

_GRACE_S = 2.0  # after its time is over, how long an application may take to return before its container is replaced
_IDLE_S = 60.0  # an unused connection is closed
_BUSY_RETRIES = 400  # a full accept queue is tried again every 10 ms
_unpack = frames.HEADER.unpack_from


Kill = Callable[[str, str], None]  # ends a container (its id) at once, for a reason


class Receiver(Protocol):
    """The exchange, as its upstream sees it."""

    def head(self, payload: bytes) -> None: ...

    def piece(self, payload: bytes) -> None: ...

    def last(self, payload: bytes) -> None: ...

    def taken(self) -> None:
        """Everything that one read brought has been delivered."""

    def broken(self, reason: str) -> None:
        """The container or its connection failed before the response was complete."""

    def overdue(self) -> None:
        """The time allowed is over."""

    def choke(self, full: bool) -> None:
        """The container is slow to take the request body, or has caught up."""


class Pool:
    """All connections to containers, by socket path."""

    def __init__(self, loop: asyncio.AbstractEventLoop, kill: Kill) -> None:
        self.loop = loop
        self._kill = kill
        self.every: set[Upstream] = set()
        self._idle: dict[str, list[Upstream]] = {}

    def take(self, path: str) -> Upstream | None:
        """An idle connection, the most recently used first."""
        idle = self._idle.get(path)
        while idle:
            upstream = idle.pop()
            if not upstream.closed:
                return upstream
        return None

    def give(self, upstream: Upstream) -> None:
        """The connection may be used again."""
        upstream.deadline = self.loop.time() + _IDLE_S
        idle = self._idle.get(upstream.path)
        if idle is None:
            self._idle[upstream.path] = [upstream]
        else:
            idle.append(upstream)

    def forget(self, upstream: Upstream) -> None:
        """The connection is closed."""
        self.every.discard(upstream)
        idle = self._idle.get(upstream.path)
        if idle is not None:
            if upstream in idle:
                idle.remove(upstream)
            if not idle:
                del self._idle[upstream.path]

    def hung(self, container_id: str) -> None:
        """A container works on a request that is over, and does not end; it gets no new ones. Others may finish."""
        if not any(upstream.works_in(container_id) for upstream in self.every):
            self._kill(container_id, "a request ran past its timeout and did not end")

    async def connect(self, path: str) -> Upstream:
        """A new connection. Raises ``OSError``; a container whose accept queue is full is asked again for a while."""
        for attempt in range(_BUSY_RETRIES):
            try:
                _, upstream = await self.loop.create_unix_connection(lambda: Upstream(self, path), path)
                return upstream
            except BlockingIOError:
                if attempt == _BUSY_RETRIES - 1:
                    raise
                await asyncio.sleep(0.01)
        raise AssertionError

    def close(self) -> None:
        """Drop every connection at once."""
        for upstream in list(self.every):
            upstream.transport.abort()


class Upstream(asyncio.Protocol):
    """One connection to one container."""

    def __init__(self, pool: Pool, path: str) -> None:
        self.pool = pool
        self.path = path
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.deadline = inf
        self.closed = False
        self._slot: Slot | None = None
        self._receiver: Receiver | None = None
        self._open = False  # LAST or ABORT is still to be sent
        self._cancelled = False  # the application has been told that its time is over
        self._rest = b""
        self._reading = True
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.pool.every.add(self)
        self.deadline = self.pool.loop.time() + _IDLE_S  # in case whoever asked for it has gone meanwhile
        self.transport.write(frames.WEB_PREFACE)

    # From the exchange

    def send(self, receiver: Receiver, slot: Slot, deadline: float, data: bytes, last: bool) -> None:
        """Begin an exchange with the frames in ``data``. The slot is now ours to release."""
        self._slot = slot
        self._receiver = receiver
        self._cancelled = False
        self._open = True
        self.deadline = deadline
        self.write(data, last)
        if self._full:
            receiver.choke(True)

    def write(self, data: bytes, last: bool) -> None:
        """More frames of the request; ``last``: LAST is among them."""
        if self._open and not self.closed:
            self._open = not last
            self.transport.write(data)

    def works_in(self, container_id: str) -> bool:
        """Whether a request of this connection holds a slot there."""
        return self._slot is not None and self._slot.container_id == container_id

    def abandon(self) -> None:
        """Nobody waits for the response. The slot stays taken until the application has returned."""
        self._receiver = None
        self.resume_reading()
        self._abort(b"")

    def _abort(self, payload: bytes) -> None:
        self._open = False
        if not self.closed:
            self.transport.write(frames.frame(frames.ABORT, payload))

    def pause_reading(self) -> None:
        if self._reading and not self.closed:
            self._reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading and not self.closed:
            self._reading = True
            self.transport.resume_reading()

    # From the container

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
            self._rest = b""
        at, size = 0, len(data)
        last: bytes | None = None  # delivered after DONE, which often comes with it: the slot is free a little earlier
        receiver = self._receiver
        wrong = ""
        while size - at >= 5 and not wrong:
            length, kind = _unpack(data, at)
            end = at + 5 + length
            if end > size:
                wrong = f"a frame of {length} bytes" if length > frames.WEB_MAX_PAYLOAD else ""
                break
            payload = data[at + 5 : end]
            at = end
            if self._slot is None:
                wrong = "a frame that belongs to no request"
            elif kind == frames.DONE:
                self._done(payload)
            elif kind == frames.LAST:
                last = payload if last is None else last
                self._receiver = None
            elif self._receiver is None:
                continue
            elif kind == frames.RESPONSE:
                self._receiver.head(payload)
            elif kind == frames.BODY:
                self._receiver.piece(payload)
            else:
                wrong = f"a frame of unknown type {kind}"
        self._rest = data[at:]
        if receiver is not None and last is not None:
            self.resume_reading()
            receiver.last(last)
        elif receiver is not None and self._receiver is receiver:
            receiver.taken()
        if wrong:
            self._end(f"sent {wrong}")
            self.transport.abort()

    def _done(self, error: bytes) -> None:
        """The application has returned: the slot is free, and so is this connection."""
        slot, self._slot = self._slot, None
        receiver, self._receiver = self._receiver, None
        if self._open:
            self._abort(b"")
        self.resume_reading()
        self.pool.give(self)
        if slot is not None:
            slot.release()
        if receiver is not None:
            receiver.broken("ended its response too early: " + (error.decode("utf-8", "replace") or "no reason given"))

    def _end(self, reason: str) -> None:
        """This connection is of no use any more."""
        self.closed = True
        slot, self._slot = self._slot, None
        receiver, self._receiver = self._receiver, None
        self.pool.forget(self)
        if slot is not None:
            slot.release(True)
        if receiver is not None:
            receiver.broken(reason)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("closed its connection before it had answered; it may have crashed")

    def pause_writing(self) -> None:
        self._full = True
        if self._receiver is not None:
            self._receiver.choke(True)

    def resume_writing(self) -> None:
        self._full = False
        if self._receiver is not None:
            self._receiver.choke(False)

    def expire(self, now: float) -> None:
        """Called about once a second."""
        if now < self.deadline:
            return
        if self._slot is None:
            self.transport.abort()
            return
        if self._cancelled:
            container_id = self._slot.container_id
            self._end("did not end its work in time")
            self.transport.abort()
            self.pool.hung(container_id)
            return
        self._cancelled = True
        self.deadline = now + _GRACE_S
        self._abort(frames.ABORT_CANCEL)
        receiver, self._receiver = self._receiver, None
        self.resume_reading()
        if receiver is not None:
            receiver.overdue()
