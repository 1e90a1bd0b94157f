"""One client connection: HTTP/1.1 requests in, one at a time and in order; responses out, correctly framed.

The connection knows nothing of containers. Each request gets an ``Exchange``, which is told about the body, the pace
and the end of the client, and answers through ``begin``, ``write``, ``end`` or ``fail`` of ``Answering``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from math import inf
from typing import TYPE_CHECKING, cast

import httptools

from ionian.errors import IonianError
from ionian.gateway import headers
from ionian.gateway.answering import Answering
from ionian.gateway.head import Head, Reject
from ionian.gateway.peer import peer_closed

if TYPE_CHECKING:
    from ionian.gateway.server import Gateway

_PIPELINED = 64  # requests that may wait behind the one being answered
_LINGER_S = 2.0  # how long a closing connection still reads, so that the answer is not lost to a reset
_LINGER_BYTES = 8 * 1024 * 1024


class HttpConnection(Answering):
    """See the module. Made when the first bytes of a connection are HTTP/1.1."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(gateway)
        self.deadline = inf  # when ``expire`` is due
        self.client = self.server = b"\0" + b"0"  # host NUL port
        self.forwarded: list[bytes] = []
        self._parser = httptools.HttpRequestParser(self)
        self._parsing: Head | None = None  # the request being read
        self._waiting: deque[Head] = deque()
        self._reading = True
        self._choked = False  # the client reads too slowly
        self._heard = 0.0  # loop time of the last read
        self._lingered = 0
        self._fed = 0

    # The connection itself

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername") or ("", 0)
        name = transport.get_extra_info("sockname") or ("", 0)
        self.client = f"{peer[0]}\0{peer[1]}".encode()
        self.server = f"{name[0]}\0{name[1]}".encode()
        self.forwarded = [b"x-forwarded-for", str(peer[0]).encode(), b"x-forwarded-proto", b"http"]
        self.deadline = self.loop.time() + self.gateway.config.header_timeout_s
        self.gateway.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = self._deaf = True
        self.gateway.connections.discard(self)
        self._abandon()

    def eof_received(self) -> bool:
        """The client has closed its side: like most servers we take that for going away."""
        self._deaf = True
        self._abandon()
        return False

    def _abandon(self) -> None:
        exchange, self._exchange = self._exchange, None
        self._waiting.clear()
        if exchange is not None:
            self.gateway.counters.client_gone += 1
            self.gateway.counters.in_flight -= 1
            exchange.gone()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._linger(len(data))
            return
        self._heard = self.loop.time()
        self._fed = len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if not self._deaf:  # whatever follows a "Connection: close" does not matter
                self._malformed(error)
        parsing = self._parsing
        if parsing is not None and not parsing.ready:
            self._incomplete(parsing, len(data))
        if self._exchange is not None:
            self._exchange.flush()

    def _incomplete(self, head: Head, size: int) -> None:
        """A head has begun but not ended."""
        if head.size == 0 and self.head is None:
            self.deadline = self._heard + self.gateway.config.header_timeout_s
        head.size += size
        if head.size > self.gateway.config.max_header_bytes:
            self._refuse(head, Reject(431, self._too_long()))

    def _too_long(self) -> str:
        limit = self.gateway.config.max_header_bytes
        return f"the request head is over the limit of {limit} bytes (setting max_header_bytes)"

    def _malformed(self, error: Exception) -> None:
        cause = error.__context__
        if isinstance(cause, Reject):
            reject = cause
        elif cause is not None and isinstance(error, httptools.HttpParserCallbackError):
            raise cause
        else:
            reject = Reject(400, f"this is not a valid HTTP/1.1 request: {error}")
        self._refuse(self._parsing or Head(), reject)

    def _refuse(self, head: Head, reject: Reject) -> None:
        """The parser cannot go on: answer ``reject`` when it is this request's turn, then close."""
        self._deaf = True
        self._parsing = None
        head.reject = reject
        if head is self.head:  # its head was fine, its body is not
            self._broken_body(reject)
        elif head not in self._waiting:
            self._admit(head)

    def _broken_body(self, reject: Reject) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        exchange.gone()
        self.gateway.counters.in_flight -= 1
        self.fail(reject.status, reject.detail)

    def _upgraded(self, rest: bytes) -> None:
        """An Upgrade that we do not take (such as h2c): the request counts as an ordinary one without a body."""
        if rest and not self._deaf:
            self.data_received(rest)

    # Parser callbacks

    def on_message_begin(self) -> None:
        self._parsing = Head()

    def on_url(self, url: bytes) -> None:
        head = self._parsing
        assert head is not None
        head.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        head = self._parsing
        assert head is not None
        if head.ready:
            return  # a trailer: dropped, as every proxy may
        name = name.lower()
        kind = headers.REQUEST.get(name)
        if kind is None:
            head.fields.append(name)
            head.fields.append(value)
        elif kind != headers.DROP:
            head.special(kind, value)

    def on_headers_complete(self) -> None:
        head = self._parsing
        assert head is not None
        parser = self._parser
        limit = self.gateway.config.max_header_bytes
        if self._fed + head.size > limit and len(head.url) + sum(map(len, head.fields)) > limit:
            raise Reject(431, self._too_long())
        head.check(parser.get_method(), parser.get_http_version(), self.gateway.config.max_body_bytes)
        if head.upgrade and parser.should_upgrade() and (head.length or head.encoding):
            raise Reject(501, f"an upgrade to {head.upgrade.decode('latin-1')!r} with a body is not supported")
        head.complete = not head.length and not head.encoding  # known before on_message_complete says so
        self._admit(head)

    def on_body(self, piece: bytes) -> None:
        head = self._parsing
        assert head is not None
        head.received += len(piece)
        limit = self.gateway.config.max_body_bytes
        if head.received > limit:
            raise Reject(413, f"the body is over the limit of {limit} bytes (setting max_body_bytes)")
        if head is not self.head:
            head.pieces.append(piece)
        elif self._exchange is not None:
            self._exchange.body(piece)

    def on_message_complete(self) -> None:
        head = self._parsing
        assert head is not None
        self._parsing = None
        head.complete = True
        if not head.keep_alive:
            self._deaf = True
        if head is self.head and self._exchange is not None:
            self._exchange.complete()

    # One request after the other

    def _admit(self, head: Head) -> None:
        if self.head is None and not self._waiting:
            self._begin(head)
            return
        if len(self._waiting) >= _PIPELINED:
            self._deaf = True
            self._waiting[-1].keep_alive = False
            return
        self._waiting.append(head)
        self.pause_reading()

    def _begin(self, head: Head) -> None:
        gateway = self.gateway
        self.head = head
        self.deadline = inf
        self.started = False
        self._keep = head.keep_alive
        self.request_id = gateway.next_id()
        gateway.counters.requests += 1
        if head.reject is not None:
            self.fail(head.reject.status, head.reject.detail)
            return
        try:
            exchange = gateway.exchange(self, head)
        except IonianError as error:
            self.fail(error.http, str(error))
            return
        gateway.counters.in_flight += 1
        self._exchange = exchange
        exchange.begin()
        if self._choked:
            exchange.pause()

    def _next(self) -> None:
        """The response is complete: what now?"""
        head = self.head
        assert head is not None
        self.head = None
        if self._lost:
            return
        if not self._keep:
            self._hang_up(head.complete)
        elif self._waiting:
            self.loop.call_soon(self._begin_waiting)  # not from here: a long pipeline must not become deep recursion
        else:
            self.deadline = self.loop.time() + self.gateway.config.keep_alive_s
            self.resume_reading()

    def _begin_waiting(self) -> None:
        """Turn to the next pipelined request, and give it the body that came before its turn."""
        if self.head is not None or not self._waiting or self._lost:
            return
        head = self._waiting.popleft()
        self._begin(head)
        exchange = self._exchange
        if head is not self.head or exchange is None:
            return
        for piece in head.pieces:
            exchange.body(piece)
        head.pieces.clear()
        if head.complete:
            exchange.complete()
        exchange.flush()
        if not self._waiting:
            self.resume_reading()

    # Pace and time

    def pause_reading(self) -> None:
        if self._reading and not self._lost:
            self._reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading and not self._lost:
            self._reading = True
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        self._choked = True
        if self._exchange is not None:
            self._exchange.pause()

    def resume_writing(self) -> None:
        self._choked = False
        if self._exchange is not None:
            self._exchange.resume()

    def _hang_up(self, complete: bool) -> None:
        """Close after the last answer; while the client still sends, read on for a moment first."""
        self._deaf = True
        if complete:
            self.transport.close()
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.resume_reading()
        self.deadline = self.loop.time() + _LINGER_S

    def _linger(self, size: int) -> None:
        self._lingered += size
        if self._lingered > _LINGER_BYTES and self.head is None:
            self.transport.abort()

    def expire(self, now: float) -> None:
        """Called about once a second."""
        head = self.head
        if now >= self.deadline:
            if self._parsing is not None and head is None and not self._deaf:
                self._refuse(self._parsing, Reject(408, "the request head took too long"))
            elif self._deaf:
                self.transport.abort()
            else:
                self.transport.close()
        elif head is not None and self._exchange is not None:
            if not self._reading and peer_closed(self.transport):
                self.transport.abort()
            elif not head.complete and self._reading and now - self._heard > self.gateway.config.keep_alive_s:
                self._deaf = True
                self._broken_body(Reject(408, "the request body took too long"))

    @property
    def idle(self) -> bool:
        """Between requests."""
        return self.head is None and self._parsing is None
