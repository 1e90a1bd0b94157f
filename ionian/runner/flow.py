"""The pace of one generator: it goes on while a server keeps up and no more than a window of items waits to be taken.

The thread that gives items counts what is sent, the link's thread what is taken: each number has one writer.
"""

from __future__ import annotations

import asyncio
import collections
import threading
from collections.abc import Callable

WINDOW_BYTES = 8 * 1024 * 1024  # of items that wait to be taken; one item may be larger


class Flow:
    """``window``: items that may wait to be taken; 0: no limit. ``send(index, data format, data)`` hands one over."""

    def __init__(self, window: int, writable: threading.Event, send: Callable[[int, int, bytes], None]) -> None:
        self._window = window
        self._writable = writable
        self._send = send
        self._sent = self._taken = 0
        self._sent_bytes = self._taken_bytes = 0
        self._sizes: collections.deque[int] = collections.deque()  # of items sent and not taken
        self._released = False
        self._changed = threading.Event()
        self._waiters: collections.deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = collections.deque()

    def send(self, index: int, data_format: int, data: bytes) -> None:
        """Give one item away; call after ``wait`` or ``room``."""
        if self._window:
            self._sizes.append(len(data))
            self._sent_bytes += len(data)
            self._sent += 1
        self._send(index, data_format, data)

    def wait(self) -> None:
        """Return when another item may be sent."""
        while not self._open():
            self._changed.clear()
            if not self._open():
                self._changed.wait()

    async def room(self) -> None:
        """The same on an event loop."""
        while not self._open():
            loop = asyncio.get_running_loop()
            waiter = loop.create_future()
            self._waiters.append((loop, waiter))
            if not self._open():
                await waiter

    def taken(self, items: int) -> None:
        """So many items were taken in all. On the link's thread, as are the next two."""
        while self._taken < items and self._sizes:
            self._taken += 1
            self._taken_bytes += self._sizes.popleft()
        self.changed()

    def release(self) -> None:
        """The input is cancelled: whoever waits goes on."""
        self._released = True
        self.changed()

    def changed(self) -> None:
        """Look again."""
        self._changed.set()
        while self._waiters:
            loop, future = self._waiters.popleft()
            loop.call_soon_threadsafe(_wake, future)

    def _open(self) -> bool:
        if self._released:
            return True
        if not self._writable.is_set():
            return False
        few = self._sent - self._taken < self._window
        return not self._window or (few and self._sent_bytes - self._taken_bytes < WINDOW_BYTES)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
