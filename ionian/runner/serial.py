"""One input at a time, on the main thread, as user code expects: signals work there, and nothing runs beside it.

Invariant: a cancellation is raised only while its own input is in user code, and at most once.
"""

from __future__ import annotations

import asyncio
import queue
import signal
import threading
import time
from typing import Any

from .client import Client
from .invoke import Call, Invoker, Output, cancelled
from .station import Station


class Serial:
    """Takes calls from the link's thread and runs them, in order, where ``run`` was called."""

    def __init__(self, client: Client, invoker: Invoker, station: Station, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._invoker = invoker
        self._station = station
        self._loop = loop  # for async user code; it runs only while an async input does
        self._queue: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._dropped: set[str] = set()
        self._waiting: set[str] = set()
        self._inside = ""  # the input whose user code is on the main thread
        self._cancelling = ""
        self._task: asyncio.Task[Output] | None = None

    def submit(self, call: Call) -> None:
        self._waiting.add(call.input_id)
        self._queue.put(call)

    def stop(self) -> None:
        self._queue.put(None)

    def cancel(self, input_id: str) -> None:
        """Reach the input wherever it is. Unknown ones are finished already."""
        with self._lock:
            if input_id in self._waiting:
                self._dropped.add(input_id)
            elif input_id == self._inside:
                self._cancelling = input_id
                if self._task is not None:
                    self._loop.call_soon_threadsafe(self._task.cancel)
                else:
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    def cancel_all(self) -> None:
        for input_id in [*self._waiting, self._inside]:
            self.cancel(input_id)

    def run(self) -> None:
        """Work until ``stop``; on the main thread."""
        signal.signal(signal.SIGUSR1, self._interrupt)
        while True:
            call = self._queue.get()
            if call is None:
                return
            header, data = self._one(call)
            self._station.post(self._station.control.output, header, data)
            call = header = data = None  # type: ignore[assignment]  # keep no user data alive while idle

    def _one(self, call: Call) -> Output:
        started = time.time()
        try:
            asynchronous = self._invoker.is_async(call)
            with self._lock:
                self._waiting.discard(call.input_id)
                if call.input_id in self._dropped:
                    self._dropped.discard(call.input_id)
                    return cancelled(call, started)
                if asynchronous:
                    self._task = self._loop.create_task(self._invoker.run_async(call, self._emitter(call), self._room))
                self._inside = call.input_id
            if self._task is not None:
                output = self._loop.run_until_complete(self._task)
            else:
                output = self._invoker.run(call, self._emitter(call), self._wait)
            self._inside = ""
        except (asyncio.CancelledError, self._client.cancellation):
            output = cancelled(call, started)
        finally:
            self._inside = self._cancelling = ""
            self._task = None
        return output

    def _interrupt(self, number: int, frame: Any) -> None:
        if self._inside and self._inside == self._cancelling:
            self._inside = ""
            raise self._client.cancellation("Input was cancelled by user")

    def _emitter(self, call: Call) -> Any:
        control = self._station.control
        return lambda index, form, data: self._station.post(control.item, call.input_id, index, form, data)

    def _wait(self) -> None:
        self._station.control.writable.wait()

    async def _room(self) -> None:
        if not self._station.control.writable.is_set():
            await self._loop.run_in_executor(None, self._wait)
