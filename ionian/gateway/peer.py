"""Asks the kernel whether the other side of a TCP connection is still there, without reading from it."""

from __future__ import annotations

import asyncio
import socket

_UNREAD_CLOSED = (7, 8)  # TCP_CLOSE, TCP_CLOSE_WAIT


def peer_closed(transport: asyncio.Transport) -> bool:
    """Whether the peer has closed or reset the connection. Needed where reading is paused: nothing else would tell."""
    sock = transport.get_extra_info("socket")
    if sock is None or not hasattr(socket, "TCP_INFO"):
        return False
    try:
        state: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    except OSError:
        return False
    return state[0] in _UNREAD_CLOSED
