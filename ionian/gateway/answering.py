"""The response side of a client connection: every response is framed so that the client can tell where it ends.

A response that cannot be completed as announced breaks the connection: only that tells the client.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

from ionian.gateway import answers, headers
from ionian.gateway.head import Head

if TYPE_CHECKING:
    from ionian.gateway.server import Gateway


class Exchange(Protocol):
    """Whoever answers one request."""

    def begin(self) -> None:
        """The head is here; body and end follow."""

    def body(self, piece: bytes) -> None:
        """A piece of the request body."""

    def complete(self) -> None:
        """The request body has ended."""

    def flush(self) -> None:
        """One read from the client has been taken in."""

    def gone(self) -> None:
        """The client went away. Nothing more is asked of the exchange, and it may not answer."""

    def pause(self) -> None:
        """The client reads too slowly: send no more."""

    def resume(self) -> None:
        """The client has caught up."""


class Answering(asyncio.Protocol):
    """Base of ``HttpConnection``, which decides what comes after a response in ``_next``."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.loop = gateway.loop
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.request_id = b""
        self.head: Head | None = None  # the request being answered
        self.started = False  # its response head has been written
        self._exchange: Exchange | None = None
        self._deaf = False  # whatever still comes from the client is thrown away
        self._lost = False
        self._keep = True  # keep the connection after this response
        self._chunked = self._mute = False
        self._left: int | None = None  # bytes of response body still due

    def _next(self) -> None:
        raise NotImplementedError

    def proceed(self) -> None:
        """Tell a client that asked whether it may send its body that it may."""
        head = self.head
        if head is not None and head.expect and not head.received and not self.started and not self._lost:
            head.expect = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def begin(self, status: int, lines: list[bytes], length: int | None, body: bytes = b"", last: bool = False) -> None:
        """Write a response head and the first bytes of its body. ``lines`` are header lines without line ends.

        ``length`` is the content-length that ``lines`` has, None when there is none.
        """
        head = self.head
        assert head is not None
        self.started = True
        self._mute = head.method == b"HEAD" or status == 204 or status == 304
        self._chunked = False
        if length is None and not self._mute:
            if last:
                length = len(body)
                lines.append(b"content-length: %d" % length)
            elif head.version == b"1.1":
                self._chunked = True
                lines.append(b"transfer-encoding: chunked")
            else:
                self._keep = False
        self._left = None if self._mute else length
        if self._keep and (not head.complete or self.gateway.draining):
            self._keep = False
        if not self._keep:
            lines.append(b"connection: close")
            self._deaf = self._deaf or head.complete
        elif head.version == b"1.0":
            lines.append(b"connection: keep-alive")
        self.gateway.counters.responses[status // 100] += 1
        block = b"%b%b\r\nx-ionian-request-id: %b\r\n\r\n" % (
            headers.STATUS_LINES[status],
            b"\r\n".join(lines),
            self.request_id,
        )
        if self._chunked or self._mute or not body:
            self.transport.write(block)
            self.write(body)
        else:
            if self._left is not None:
                body = self._count(body)
            self.transport.write(block + body)
        if last:
            self.end(b"")

    def _count(self, piece: bytes) -> bytes:
        """``piece`` cut to what the content-length allows."""
        assert self._left is not None
        if len(piece) > self._left:
            piece = piece[: self._left]
            self._keep = False
        self._left -= len(piece)
        return piece

    def write(self, piece: bytes) -> None:
        """A piece of the response body."""
        if not piece or self._mute or self._lost:
            return
        if self._left is not None:
            self.transport.write(self._count(piece))
        elif self._chunked:
            self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        else:
            self.transport.write(piece)

    def end(self, piece: bytes) -> None:
        """The response is complete with ``piece``."""
        self.write(piece)
        if self._exchange is not None:
            self._exchange = None
            self.gateway.counters.in_flight -= 1
        if self._lost:
            return
        if self._left:  # promised more than came: only a broken connection tells the client
            self.transport.abort()
            return
        if self._chunked:
            self.transport.write(b"0\r\n\r\n")
        self._next()

    def fail(self, status: int, detail: str, extra: tuple[bytes, ...] = ()) -> None:
        """Answer with an error; after the response has begun, break the connection instead."""
        if self.started:
            if self._exchange is not None:
                self._exchange = None
                self.gateway.counters.in_flight -= 1
            self.transport.abort()
            return
        head = self.head
        assert head is not None
        if not head.complete:
            self._keep = False
        body = answers.error(status, detail, self.request_id)
        lines = [b"content-type: application/json", b"date: " + self.gateway.date, *extra]
        lines.append(b"content-length: %d" % len(body))
        self.begin(status, lines, len(body), body, True)
