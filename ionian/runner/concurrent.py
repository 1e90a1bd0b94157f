"""Several calls at once: async ones are tasks of one event loop on the main thread, sync ones have a thread each.

Never more than the limit run; others wait in order. Jobs belong to the main thread's loop.
"""

from __future__ import annotations

import asyncio
import collections
import ctypes
import threading
import time
from collections.abc import Callable
from typing import Any

from . import environment
from .client import Client
from .flow import Flow
from .invoke import Invoker, cancelled
from .job import Call, Job, Output
from .station import Station


class Concurrent:
    """Takes jobs from the link's thread and runs up to ``limit`` of them."""

    def __init__(
        self,
        client: Client,
        invoker: Invoker,
        station: Station,
        loop: asyncio.AbstractEventLoop,
        limit: int,
        ended: Callable[[], None] | None = None,
    ) -> None:
        """``ended`` is called when all is done after ``stop``; else the loop stops then."""
        self._client = client
        self._invoker = invoker
        self._station = station
        self._loop = loop
        self._limit = limit
        self._pending: collections.deque[Job] = collections.deque()
        self._jobs: dict[str, Job] = {}  # by input: pending, and those at work
        self._running: dict[Job, Callable[[], Any]] = {}  # what interrupts it
        self._stopping = False
        self._ended = ended or loop.stop

    def submit(self, job: Job) -> None:
        self._loop.call_soon_threadsafe(self._take, job)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop)

    def cancel(self, input_id: str) -> None:
        """Reach the input wherever it is. Unknown ones are finished already."""
        self._loop.call_soon_threadsafe(self._cancel, input_id)

    def cancel_all(self) -> None:
        self._loop.call_soon_threadsafe(self._cancel_running)

    def run(self) -> None:
        """Work until ``stop``; on the main thread."""
        self._loop.run_forever()

    def _take(self, job: Job) -> None:
        self._jobs.update(dict.fromkeys(job.live, job))
        self._pending.append(job)
        self._next()

    def _next(self) -> None:
        while self._pending and len(self._running) < self._limit:
            job = self._pending.popleft()
            calls = job.begin()
            if calls:
                self._begin(job, calls)
        if self._stopping and not self._running and not self._pending:
            self._ended()

    def _begin(self, job: Job, calls: list[Call]) -> None:
        if self._invoker.is_async(calls[0]):
            task = self._loop.create_task(self._invoker.run_async(calls, lambda: self._station.flow(calls[0])))
            self._running[job] = task.cancel
            task.add_done_callback(lambda task: self._async_end(job, calls, task))
        else:
            worker = _Worker(self, calls)
            self._running[job] = worker.interrupt
            worker.start(lambda outputs: self._loop.call_soon_threadsafe(self._end, job, outputs))

    def work(self, calls: list[Call], flow: Callable[[], Flow]) -> list[Output]:
        """Run sync code where this is called."""
        return self._invoker.run(calls, flow)

    def flow(self, call: Call) -> Flow:
        """The pace of a generator."""
        return self._station.flow(call)

    @property
    def cancellation(self) -> Any:
        return self._client.cancellation

    def _async_end(self, job: Job, calls: list[Call], task: asyncio.Task[list[Output]]) -> None:
        """A task that was cancelled before its first step has no outputs of its own."""
        self._end(job, [cancelled(call, time.time()) for call in calls] if task.cancelled() else task.result())

    def _end(self, job: Job, outputs: list[Output]) -> None:
        environment.flush()
        del self._running[job]
        for input_id in job.live:
            del self._jobs[input_id]
        self._station.give(job, outputs)
        self._next()

    def _cancel(self, input_id: str) -> None:
        job = self._jobs.get(input_id)
        if job is None:
            return
        call = job.live[input_id]
        if job.drop(input_id):
            del self._jobs[input_id]
            self._station.post(self._station.control.output, *cancelled(call, time.time()))
        else:
            self._running[job]()

    def _cancel_running(self) -> None:
        for input_id in list(self._jobs):
            self._cancel(input_id)

    def _stop(self) -> None:
        self._stopping = True
        self._next()


class _Worker:
    """The thread of one sync call. A cancellation is raised only between ``_open`` and its end, at most once."""

    def __init__(self, owner: Concurrent, calls: list[Call]) -> None:
        self._owner = owner
        self._calls = calls
        self._lock = threading.Lock()
        self._open = False  # the thread is where an exception is caught
        self._interrupted = False
        self._flow: Flow | None = None
        self._thread: threading.Thread | None = None

    def start(self, end: Callable[[list[Output]], Any]) -> None:
        """Run; ``end`` is called in the thread with the outputs, whatever happens."""
        self._thread = threading.Thread(target=lambda: end(self._run()), daemon=True, name=self._calls[0].input_id)
        self._thread.start()

    def interrupt(self) -> None:
        """Raise the cancellation at the thread's next bytecode; a blocking C call delays it."""
        with self._lock:
            if self._open and not self._interrupted:
                _raise_in(self._thread, self._owner.cancellation)
            self._interrupted = True
        if self._flow is not None:
            self._flow.release()

    def _run(self) -> list[Output]:
        outputs = [cancelled(call, time.time()) for call in self._calls]
        try:
            with self._lock:
                self._open = not self._interrupted
            if self._open:
                outputs = self._owner.work(self._calls, self._pace)
            self._close()
        except self._owner.cancellation:
            self._open = False
        return outputs

    def _close(self) -> None:
        with self._lock:
            self._open = False
            if self._interrupted:  # and perhaps not raised yet
                _raise_in(self._thread, None)

    def _pace(self) -> Flow:
        self._flow = self._owner.flow(self._calls[0])
        if self._interrupted:
            self._flow.release()
        return self._flow


def _raise_in(thread: threading.Thread | None, kind: Any) -> None:
    """Let a thread see an exception; None takes back one that it has not seen."""
    if thread is not None and thread.ident is not None:
        target = ctypes.py_object(kind) if kind is not None else None
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), target)
