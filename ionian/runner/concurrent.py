"""Several inputs at once: async ones are tasks of one event loop on the main thread, sync ones have a thread each.

Never more than the limit run; others wait in order.
"""

from __future__ import annotations

import asyncio
import collections
import ctypes
import threading
import time
from typing import Any

from .client import Client
from .invoke import Call, Invoker, Output, cancelled
from .station import Station


class _Running:
    """One input at work."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.task: asyncio.Task[Output] | None = None
        self.thread: threading.Thread | None = None
        self.lock = threading.Lock()
        self.over = False


class Concurrent:
    """Takes calls from the link's thread and runs up to ``limit`` of them. State belongs to the main thread's loop."""

    def __init__(
        self, client: Client, invoker: Invoker, station: Station, loop: asyncio.AbstractEventLoop, limit: int
    ) -> None:
        self._client = client
        self._invoker = invoker
        self._station = station
        self._loop = loop
        self._limit = limit
        self._pending: collections.deque[Call] = collections.deque()
        self._running: dict[str, _Running] = {}
        self._stopping = False

    def submit(self, call: Call) -> None:
        self._loop.call_soon_threadsafe(self._take, call)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop)

    def cancel(self, input_id: str) -> None:
        self._loop.call_soon_threadsafe(self._cancel, input_id)

    def cancel_all(self) -> None:
        self._loop.call_soon_threadsafe(self._cancel_running)

    def _cancel_running(self) -> None:
        self._pending.clear()
        for input_id in list(self._running):
            self._cancel(input_id)

    def run(self) -> None:
        """Work until ``stop``; on the main thread."""
        self._loop.run_forever()

    def _take(self, call: Call) -> None:
        self._pending.append(call)
        self._next()

    def _next(self) -> None:
        while self._pending and len(self._running) < self._limit:
            self._begin(self._pending.popleft())
        if self._stopping and not self._running:
            self._loop.stop()

    def _begin(self, call: Call) -> None:
        running = self._running[call.input_id] = _Running(call)
        if self._invoker.is_async(call):
            running.task = self._loop.create_task(self._invoker.run_async(call, self._emitter(call), self._room))
            running.task.add_done_callback(lambda task: self._async_end(running, task))
        else:
            running.thread = threading.Thread(target=self._sync, args=(running,), daemon=True, name=call.input_id)
            running.thread.start()

    def _async_end(self, running: _Running, task: asyncio.Task[Output]) -> None:
        """A task that was cancelled before its first step has no output of its own."""
        self._end(running, cancelled(running.call, time.time()) if task.cancelled() else task.result())

    def _sync(self, running: _Running) -> None:
        started = time.time()
        try:
            output = self._invoker.run(running.call, self._emitter(running.call), self._wait)
            with running.lock:
                running.over = True
        except self._client.cancellation:
            output = cancelled(running.call, started)
        self._loop.call_soon_threadsafe(self._end, running, output)

    def _end(self, running: _Running, output: Output) -> None:
        self._running.pop(running.call.input_id, None)
        self._station.post(self._station.control.output, *output)
        self._next()

    def _cancel(self, input_id: str) -> None:
        for call in self._pending:
            if call.input_id == input_id:
                self._pending.remove(call)
                self._station.post(self._station.control.output, *cancelled(call, time.time()))
                return
        running = self._running.get(input_id)
        if running is None:
            return
        if running.task is not None:
            running.task.cancel()
            return
        with running.lock:  # raised at the thread's next bytecode; a blocking C call delays it
            if not running.over and running.thread is not None and running.thread.ident is not None:
                running.over = True
                raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
                raise_in(ctypes.c_ulong(running.thread.ident), ctypes.py_object(self._client.cancellation))

    def _stop(self) -> None:
        self._stopping = True
        self._next()

    def _emitter(self, call: Call) -> Any:
        control = self._station.control
        return lambda index, form, data: self._station.post(control.item, call.input_id, index, form, data)

    def _wait(self) -> None:
        self._station.control.writable.wait()

    async def _room(self) -> None:
        if not self._station.control.writable.is_set():
            await self._loop.run_in_executor(None, self._wait)
