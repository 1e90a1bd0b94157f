"""The container's one socket: reads each connection's two-byte preface and hands the connection to its owner.

Web connections that arrive before the application is loaded wait, unread, until ``open_web``.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from . import frames

ProtocolFactory = Callable[[], asyncio.Protocol]


class Link:
    """Accepts on a listening unix socket. ``control`` makes a protocol per control connection."""

    def __init__(self, control: ProtocolFactory) -> None:
        self._control = control
        self._web: ProtocolFactory | None = None
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []
        self._server: asyncio.AbstractServer | None = None

    async def serve(self, listener: socket.socket) -> None:
        """Begin to accept on ``listener`` (bound and listening)."""
        listener.setblocking(False)
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: _Preface(self), sock=listener)

    def open_web(self, factory: ProtocolFactory) -> None:
        """From now on web connections are served with ``factory``; those that waited are handed over."""
        self._web = factory
        waiting, self._waiting = self._waiting, []
        for transport, rest in waiting:
            if not transport.is_closing():
                transport.resume_reading()
                attach(transport, factory(), rest)

    def close(self) -> None:
        """Stop accepting and drop web connections that still wait; served connections live on."""
        if self._server is not None:
            self._server.close()
            self._server = None
        waiting, self._waiting = self._waiting, []
        for transport, _ in waiting:
            transport.close()

    def opened(self, transport: asyncio.Transport, preface: bytes, rest: bytes) -> None:
        """A connection has said what it is. An unknown kind or version is closed."""
        if preface == frames.CONTROL_PREFACE:
            attach(transport, self._control(), rest)
        elif preface != frames.WEB_PREFACE:
            transport.close()
        elif self._web is not None:
            attach(transport, self._web(), rest)
        else:
            transport.pause_reading()
            self._waiting.append((transport, rest))


def attach(transport: asyncio.Transport, protocol: asyncio.Protocol, rest: bytes) -> None:
    """Give an open connection to ``protocol``, which sees it as new, with ``rest`` as its first bytes."""
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    if rest:
        protocol.data_received(rest)


class _Preface(asyncio.Protocol):
    """A connection until its first two bytes are here."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._data = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if len(self._data) >= 2 and self._transport is not None:
            self._link.opened(self._transport, self._data[:2], self._data[2:])
