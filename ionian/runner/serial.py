"""One call at a time, on the main thread, as user code expects: signals work there, and nothing runs beside it.

Invariant: a cancellation is raised only while its own job is in user code, and at most once.
"""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import threading
import time
from typing import Any

from . import environment
from .client import Client
from .invoke import Invoker, cancelled
from .job import Call, Job, Output
from .station import Station


class Serial:
    """Takes jobs from the link's thread and runs them, in order, where ``run`` was called."""

    def __init__(self, client: Client, invoker: Invoker, station: Station, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._invoker = invoker
        self._station = station
        self._loop = loop  # for async user code; it runs only while an async input does
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}  # by input: waiting, and the one at work
        self._inside: Job | None = None  # whose user code is on the main thread
        self._cancelling: Job | None = None
        self._task: asyncio.Task[list[Output]] | None = None

    def submit(self, job: Job) -> None:
        with self._lock:
            self._jobs.update(dict.fromkeys(job.live, job))
        self._queue.put(job)

    def stop(self) -> None:
        self._queue.put(None)

    def cancel(self, input_id: str) -> None:
        """Reach the input wherever it is. Unknown ones are finished already. On the link's thread."""
        with self._lock:
            job, task = self._jobs.get(input_id), self._task
            if job is None:
                return
            call = job.live.get(input_id)
            if call is not None and job.drop(input_id):
                del self._jobs[input_id]
                self._station.control.output(*cancelled(call, time.time()))
            elif job is self._inside and job is not self._cancelling:
                self._cancelling = job
                if task is not None:
                    self._loop.call_soon_threadsafe(task.cancel)
                else:
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    def cancel_all(self) -> None:
        for input_id in list(self._jobs):
            self.cancel(input_id)

    def run(self) -> None:
        """Work until ``stop``; on the main thread."""
        process = os.getpid()
        while True:
            job = self._queue.get()
            if job is None:
                return
            outputs = self._one(job)
            environment.flush()
            if os.getpid() != process:
                os._exit(0)  # user code forked and let the child return: the outputs are the parent's to give
            with self._lock:
                for input_id in job.live:
                    del self._jobs[input_id]
                self._station.give(job, outputs)
            job = outputs = None  # type: ignore[assignment]  # keep no user data alive while idle

    def _one(self, job: Job) -> list[Output]:
        started = time.time()
        calls: list[Call] = []
        signal.signal(signal.SIGUSR1, self._interrupt)  # each time: user code may have set its own
        try:
            with self._lock:
                calls = job.begin()
                if not calls:
                    return []
                if self._invoker.is_async(calls[0]):
                    work = self._invoker.run_async(calls, lambda: self._station.flow(calls[0]))
                    self._task = self._loop.create_task(work)
                self._cancelling, self._inside = None, job
            if self._task is not None:
                outputs = self._loop.run_until_complete(self._task)
            else:
                outputs = self._invoker.run(calls, lambda: self._station.flow(calls[0]))
            self._inside = None
        except (asyncio.CancelledError, self._client.cancellation):
            outputs = [cancelled(call, started) for call in calls]
        finally:
            self._inside = self._task = None
        return outputs

    def _interrupt(self, number: int, frame: Any) -> None:
        if self._inside is not None and self._inside is self._cancelling:
            self._inside = None
            raise self._client.cancellation("Input was cancelled by user")
