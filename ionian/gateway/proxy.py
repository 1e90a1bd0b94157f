"""One proxied request: waits for a slot, sends the request to the container, translates the response.

A slot that this object holds (while it connects) is handed to an ``Upstream`` or released, never both.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

from ionian.errors import DeadlineExceeded, IonianError, ResourceExhausted, Unavailable
from ionian.gateway.acquire import Slot
from ionian.gateway.head import Head
from ionian.gateway.router import Target
from ionian.gateway.translate import translate
from ionian.gateway.upstream import Upstream
from ionian.runner import frames

if TYPE_CHECKING:
    from ionian.gateway.http import HttpConnection
    from ionian.gateway.server import Gateway

_HELD = 64 * 1024  # bytes of request body taken from a client whose request has no container yet
_RETRY_AFTER = (b"retry-after: 1",)


class Proxied:
    """See the module. An ``http.Exchange`` towards the client, an ``upstream.Receiver`` towards the container."""

    __slots__ = (
        "_conn",
        "_container",
        "_finished",
        "_gateway",
        "_gone",
        "_held",
        "_length",
        "_lines",
        "_out",
        "_paused",
        "_size",
        "_slot",
        "_status",
        "_target",
        "_task",
        "_upstream",
    )

    def __init__(self, gateway: Gateway, conn: HttpConnection, head: Head, target: Target) -> None:
        self._gateway = gateway
        self._conn = conn
        self._target = target
        self._upstream: Upstream | None = None
        self._task: asyncio.Task[None] | None = None
        self._slot: Slot | None = None  # while it is ours: on the way to a container
        self._container = ""
        self._gone = False  # nobody waits for an answer
        self._held: bytes | None = None  # the newest piece of the request body: it may turn out to be the last
        self._size = 0  # bytes of request body seen
        self._finished = False  # all of the request body has come
        self._paused = False  # the client does not take the response
        self._status = 0  # of a response head that is not written yet
        self._lines: list[bytes] = []
        self._length: int | None = None
        fields = head.fields
        fields += conn.forwarded
        fields += (b"x-forwarded-host", head.host or b"", b"x-ionian-request-id", conn.request_id)
        if target.function.class_method:
            fields += (frames.METHOD_HEADER, target.function.class_method.encode())
        payload = frames.request_head(
            head.method,
            head.version,
            b"http",
            target.path,
            head.query,
            target.root_path,
            conn.client,
            conn.server,
            fields,
        )
        if payload.count(b"\0") != frames.REQUEST_FIELDS - 1 + len(fields):
            raise AssertionError("a NUL byte came through the parser")
        self._out = [frames.frame(frames.REQUEST, payload)]  # what waits for an upstream

    def begin(self) -> None:
        try:
            slot = self._gateway.acquirer.try_acquire(self._target.function.function_id)
        except IonianError as error:
            self._end(error.http, str(error))
            return
        if slot is not None:
            upstream = self._gateway.pool.take(slot.socket)
            if upstream is not None:
                self._send(upstream, slot)
                return
            self._slot = slot
        self._task = self._gateway.loop.create_task(self._reach())
        self._task.add_done_callback(self._reached)  # not a finally: a task cancelled before its first step runs none

    # From the client

    def body(self, piece: bytes) -> None:
        if self._held is not None:
            self._emit(frames.frame(frames.BODY, self._held), False)
        self._held = piece
        self._size += len(piece)

    def complete(self) -> None:
        self._finished = True
        held, self._held = self._held, None
        self._emit(frames.frame(frames.LAST, held or b""), True)

    def flush(self) -> None:
        if self._upstream is None:
            if self._size > _HELD and not self._finished:
                self._conn.pause_reading()
        elif self._held is not None:
            held, self._held = self._held, None
            self._emit(frames.frame(frames.BODY, held), False)

    def _emit(self, data: bytes, last: bool) -> None:
        if self._upstream is None:
            self._out.append(data)
        else:
            self._upstream.write(data, last)

    def gone(self) -> None:
        self._gone = True
        if self._upstream is not None:
            self._upstream.abandon()
            self._upstream = None
        elif self._task is not None:
            self._task.cancel()

    def pause(self) -> None:
        self._paused = True
        if self._upstream is not None:
            self._upstream.pause_reading()

    def resume(self) -> None:
        self._paused = False
        if self._upstream is not None:
            self._upstream.resume_reading()

    # From the container

    def head(self, payload: bytes) -> None:
        try:
            if self._status or self._conn.started:
                raise ValueError("a second response head")
            self._status, self._lines, self._length = translate(payload, self._gateway.date)
        except ValueError as error:
            self._reject(f"sent an invalid response: {error}")

    def piece(self, payload: bytes) -> None:
        if self._status:
            self._start(payload, False)
        elif self._conn.started:
            self._conn.write(payload)
        else:
            self._reject("sent a body without a head")

    def last(self, payload: bytes) -> None:
        self._upstream = None
        if self._status:
            self._start(payload, True)
        elif self._conn.started:
            self._conn.end(payload)
        else:
            self._reject("ended a response that it had not begun")

    def taken(self) -> None:
        if self._status:
            self._start(b"", False)

    def _start(self, body: bytes, last: bool) -> None:
        status, self._status = self._status, 0
        self._conn.begin(status, self._lines, self._length, body, last)

    def broken(self, reason: str) -> None:
        self._upstream = None
        self._conn.fail(502, self._blame(self._container, reason))

    def overdue(self) -> None:
        self._upstream = None
        function = self._target.function
        self._conn.fail(
            504,
            f"function {function.name!r} did not answer within its timeout of {function.timeout_s:g} s "
            f"(container {self._container}); see: ionian logs {function.app}",
        )

    def choke(self, full: bool) -> None:
        if full:
            self._conn.pause_reading()
        elif not self._finished:
            self._conn.resume_reading()

    def _reject(self, what: str) -> None:
        """The container's response makes no sense: the client gets an error, the container may end in peace."""
        if self._upstream is not None:
            self._upstream.abandon()
        self.broken(what)

    # On the way to a container

    async def _reach(self) -> None:
        """The slow way: queue for a slot, connect, and try one more slot when a container cannot be reached."""
        try:
            for retry in (True, False):
                slot = self._slot = self._slot or await self._queue()
                try:
                    upstream = self._gateway.pool.take(slot.socket) or await self._gateway.pool.connect(slot.socket)
                except OSError as error:
                    self._slot = None
                    slot.release(True)
                    if not retry:
                        self._end(
                            502, self._blame(slot.container_id, f"could not be reached: {error.strerror or error}")
                        )
                    continue
                self._slot = self._task = None
                self._send(upstream, slot)
                self.flush()
                return
        except (ResourceExhausted, Unavailable) as error:
            self._end(error.http, str(error), _RETRY_AFTER)
        except DeadlineExceeded as error:
            self._end(503, str(error), _RETRY_AFTER)
        except IonianError as error:
            self._end(error.http, str(error))

    def _reached(self, task: asyncio.Task[None]) -> None:
        """The slow way is over, one way or the other: a slot that it did not hand on goes back."""
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.release()
        if not task.cancelled() and task.exception() is not None:
            self._gateway.loop.call_exception_handler({"message": "request failed", "exception": task.exception()})
            self._end(500, "internal error; the server's own log has the request id")

    async def _queue(self) -> Slot:
        counters = self._gateway.counters
        counters.queued += 1
        try:
            return await self._gateway.acquirer.acquire(
                self._target.function.function_id, self._gateway.config.queue_wait_s
            )
        finally:
            counters.queued -= 1

    def _send(self, upstream: Upstream, slot: Slot) -> None:
        """Hand the request, as far as it is here, to the container."""
        self._upstream = upstream
        self._container = slot.container_id
        timeout_s = self._target.function.timeout_s
        deadline = self._gateway.loop.time() + timeout_s if timeout_s else inf
        if not self._finished:
            self._conn.resume_reading()
        out, self._out = self._out, []
        upstream.send(self, slot, deadline, out[0] if len(out) == 1 else b"".join(out), self._finished)
        if self._paused:
            upstream.pause_reading()
        self._conn.proceed()

    def _blame(self, container: str, what: str) -> str:
        return f"container {container} {what}; see: ionian logs {self._target.function.app}"

    def _end(self, status: int, detail: str, extra: tuple[bytes, ...] = ()) -> None:
        self._task = None
        if not self._gone:
            self._conn.fail(status, detail, extra)
