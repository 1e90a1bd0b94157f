"""A transport for gRPC that writes once per turn of the loop, in order, what was written to it in pieces.

The library writes head, message and trailer of a response one by one, and uvloop sends each at once: three system
calls, and three times the client wakes up to read a part.
"""

from __future__ import annotations

import asyncio
from typing import Any

FULL = 64 * 1024  # bytes that wait no longer, so that the real transport can say when it has enough


class Cork(asyncio.Transport):
    """Around a real transport. Nothing is written after ``abort``; ``close`` writes what waits first."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(bytes(data))  # a copy: the writer may use its buffer again
        self._size += len(self._waiting[-1])
        if self._size >= FULL:
            self._flush()

    def _flush(self) -> None:
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._size = 0
        if data and not self._transport.is_closing():  # it may have been lost since
            self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._waiting.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)
