"""Wake whoever waits on a topic. Wakes may be lost or doubled: a waiter re-reads the rows, the topic only says when."""

from __future__ import annotations

import asyncio
from collections import defaultdict


def call_topic(call_id: str) -> str:
    """Woken when a call has a new output or item."""
    return f"call/{call_id}"


def readers_topic(call_id: str) -> str:
    """Woken when somebody begins to read a generator, and when items were handed over."""
    return f"readers/{call_id}"


def image_topic(image_id: str) -> str:
    """Woken when an image's status changes or its build has printed something."""
    return f"image/{image_id}"


def logs_topic(app_id: str) -> str:
    """Woken when an app has new log records, or has ended."""
    return f"logs/{app_id}"


def queue_topic(queue_id: str, key: bytes) -> str:
    """Woken when a partition has new items; who iterates over it waits. (Who takes them waits in a line.)"""
    return f"queue/{queue_id}/{key.hex()}"


class Watch:
    """Topics are plain strings such as ``image/im-123``. Belongs to one event loop."""

    def __init__(self) -> None:
        self._waiters: dict[str, set[asyncio.Future[None]]] = defaultdict(set)

    def notify(self, topic: str) -> None:
        """Wake every present waiter of ``topic``."""
        for waiter in self._waiters.pop(topic, ()):
            if not waiter.done():
                waiter.set_result(None)

    def ticket(self, topic: str) -> asyncio.Future[None]:
        """A future that the next ``notify`` completes. Take it BEFORE reading the rows."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[topic].add(waiter)
        waiter.add_done_callback(lambda done: self._forget(topic, done))
        return waiter

    def _forget(self, topic: str, waiter: asyncio.Future[None]) -> None:
        waiters = self._waiters.get(topic)
        if waiters is not None:
            waiters.discard(waiter)
            if not waiters:
                del self._waiters[topic]

    async def wait(self, ticket: asyncio.Future[None], timeout_s: float) -> bool:
        """Wait for a ticket; False when the time is over. The ticket is spent either way."""
        try:
            await asyncio.wait_for(ticket, timeout_s)
        except TimeoutError:
            return False
        return True
