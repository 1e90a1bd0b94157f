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


def _nothing() -> None:
    """For jobs without a generator."""


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
    release: Callable[[], None] = _nothing  # cancelled: its generator must not wait for readers
    chunks: int = 0  # index of the last one that came: an RPC may come twice
    body: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(8))  # of a web request: Asgi messages


class Desk:
    """Calls waiting for the entrypoint, and jobs it has. A call has one job, or those of a batch."""

    def __init__(self, repeats: bool = True) -> None:
        self._repeats = repeats  # the entrypoint acts once on a cancellation, and misses one that comes too early
        self.asked = asyncio.Event()  # the entrypoint has asked for its first input: it is loaded
        self._waiting: collections.deque[dict[str, Job]] = collections.deque()
        self._running: dict[str, Job] = {}
        self._calls: dict[str, dict[str, Job]] = {}  # of running jobs: those of the same call that are not over
        self._cancelling: list[str] = []
        self._changed = asyncio.Event()
        self._cancelled = asyncio.Event()
        self._stopping = False

    def submit(self, *jobs: Job) -> None:
        """Jobs of one call."""
        self._waiting.append({job.input_id: job for job in jobs})
        self._changed.set()

    def stop(self) -> None:
        """When nothing waits any more the entrypoint is told to finish."""
        self._stopping = True
        self._changed.set()

    def cancel(self, input_id: str) -> None:
        """Drop a waiting job, or one whose batch goes on without it; else tell the entrypoint with its heartbeat."""
        waiting = next((call for call in self._waiting if input_id in call), None)
        call = self._calls.get(input_id, {}) if waiting is None else waiting
        if input_id not in call:
            return
        if waiting is not None or len(call) > 1:
            call.pop(input_id).dropped()
            self._running.pop(input_id, None)
            self._calls.pop(input_id, None)
        else:
            call[input_id].release()
            self._cancelling = list(dict.fromkeys([*self._cancelling, input_id]))
            self._cancelled.set()

    def cancel_all(self) -> None:
        for input_id in [input_id for call in self._waiting for input_id in call] + list(self._running):
            self.cancel(input_id)

    async def next(self) -> list[Job]:
        """The jobs of the next call; none when the entrypoint shall fetch no more."""
        self.asked.set()
        while True:
            while self._waiting and not self._waiting[0]:
                self._waiting.popleft()
            if self._waiting:
                break
            if self._stopping:
                return []
            self._changed.clear()
            await self._changed.wait()
        call = self._waiting.popleft()
        self._running.update(call)
        self._calls.update(dict.fromkeys(call, call))
        return list(call.values())

    async def cancellations(self) -> list[str]:
        """Running jobs to cancel. Waits for some, but no longer than a heartbeat may take."""
        if not any(input_id in self._running for input_id in self._cancelling):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._cancelled.wait(), HOLD_HEARTBEAT_S)
        self._cancelled.clear()
        found = [input_id for input_id in self._cancelling if input_id in self._running]
        self._cancelling = list(found) if self._repeats else []
        return found

    async def finish(self, item: Any) -> None:
        """The entrypoint has ended a job. One that is gone already was answered before: a repeated RPC."""
        job = self._running.pop(item.input_id, None)
        if job is not None:
            self._calls.pop(item.input_id).pop(item.input_id, None)
            await job.output(item)

    def by_call(self, call_id: str) -> Job | None:
        """The running job of a call. Only generators and web requests are looked up, and their calls have one input."""
        return next((job for job in self._running.values() if job.call_id == call_id), None)
