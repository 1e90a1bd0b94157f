"""The first bytes of a connection decide what it is: gRPC (HTTP/2), TLS, or HTTP/1.1."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from ionian.gateway.cork import Cork
from ionian.gateway.http import HttpConnection

if TYPE_CHECKING:
    from ionian.gateway.server import Gateway

_PREFACE = b"PRI * HTTP/2.0"
_TLS_HANDSHAKE = 0x16
_TLS_ALERT = b"\x15\x03\x01\x00\x02\x02\x46"  # fatal, protocol_version: "I do not speak TLS", in TLS


class Door(asyncio.Protocol):
    """A connection whose kind is not known yet."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._data = b""
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.deadline = gateway.loop.time() + gateway.config.header_timeout_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._gateway.counters.accepted += 1
        self._gateway.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gateway.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        data = self._data + data
        if data[:1] == b"P" and len(data) < len(_PREFACE) and _PREFACE.startswith(data):
            self._data = data  # POST, PUT, PATCH or HTTP/2: too short to tell
            return
        self._gateway.connections.discard(self)
        if data.startswith(_PREFACE):
            self._gateway.counters.grpc += 1
            corked = Cork(self.transport, self._gateway.loop)
            self._gateway.grpc_transports.add(corked)
            self._enter(self._gateway.grpc(), corked, data)
        elif data[0] == _TLS_HANDSHAKE:
            self.transport.write(_TLS_ALERT)
            self.transport.close()
        else:
            self._enter(HttpConnection(self._gateway), self.transport, data)

    def _enter(self, protocol: asyncio.Protocol, transport: asyncio.Transport, data: bytes) -> None:
        self.transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)

    def expire(self, now: float) -> None:
        if now >= self.deadline:
            self.transport.close()

    @property
    def idle(self) -> bool:
        return True
