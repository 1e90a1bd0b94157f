"""Where inputs wait for the entrypoint to fetch them, and where its answers find their way back.

Every job leaves exactly once, by its output; only then may the server forget it. One event loop, no threads.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

TERMINATED = 3  # the client's GenericStatus
HOLD_HEARTBEAT_S = 14.5  # the client allows an answer 15.1 s, and asks again 15 s after it asked


@dataclass
class Job:
    """One input. ``output`` and ``chunk`` take what the entrypoint says of it."""

    input_id: str
    call_id: str
    method: str
    data_format: int
    args: bytes
    attempt: int
    output: Callable[[Any], Awaitable[None]]  # the FunctionPutOutputsItem
    chunk: Callable[[Any], Awaitable[None]]  # a DataChunk
    dropped: Callable[[], None]  # cancelled before the entrypoint had it
    body: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(8))  # of a web request: Asgi messages


class Desk:
    """Jobs waiting for the entrypoint, and jobs it has."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()  # the entrypoint has asked for its first input: it is loaded
        self._waiting: collections.deque[Job] = collections.deque()
        self._running: dict[str, Job] = {}
        self._cancelling: list[str] = []
        self._changed = asyncio.Event()
        self._cancelled = asyncio.Event()
        self._stopping = False

    def submit(self, job: Job) -> None:
        self._waiting.append(job)
        self._changed.set()

    def stop(self) -> None:
        """When nothing waits any more the entrypoint is told to finish."""
        self._stopping = True
        self._changed.set()

    def cancel(self, input_id: str) -> None:
        """Drop a waiting job, or tell the entrypoint with its next heartbeat."""
        for job in self._waiting:
            if job.input_id == input_id:
                self._waiting.remove(job)
                job.dropped()
                return
        if input_id in self._running:
            self._cancelling.append(input_id)
            self._cancelled.set()

    def cancel_all(self) -> None:
        for input_id in [job.input_id for job in self._waiting] + list(self._running):
            self.cancel(input_id)

    async def next(self) -> Job | None:
        """The next job; None when the entrypoint shall fetch no more."""
        self.asked.set()
        while not self._waiting:
            if self._stopping:
                return None
            self._changed.clear()
            await self._changed.wait()
        job = self._waiting.popleft()
        self._running[job.input_id] = job
        return job

    async def cancellations(self) -> list[str]:
        """Running jobs to cancel. Waits for some, but no longer than a heartbeat may take."""
        if not self._cancelling:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._cancelled.wait(), HOLD_HEARTBEAT_S)
        self._cancelled.clear()
        found, self._cancelling = self._cancelling, []
        return found

    async def finish(self, item: Any) -> None:
        """The entrypoint has ended a job. One that is gone already was answered before: a repeated RPC."""
        job = self._running.pop(item.input_id, None)
        if job is not None:
            await job.output(item)

    def by_call(self, call_id: str) -> Job | None:
        """The running job of a call. Only generators and web requests are looked up, and their calls have one input."""
        return next((job for job in self._running.values() if job.call_id == call_id), None)
