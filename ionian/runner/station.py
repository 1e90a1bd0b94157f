"""A container's link in a thread of its own, so that user code may keep the main thread as long as it likes."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from . import environment
from .control import Control
from .flow import Flow
from .job import Call, Job, Output
from .link import Link

ACK_WAIT_S = 3.0  # at exit: how long a finished output may wait for a server to take it
GRACE_S = 10.0  # for a SIGTERM, which names none
_LAST_WORDS_S = 2.0  # after the grace: for cancelled inputs to report


class Station:
    """Runs an event loop with the control link in a daemon thread."""

    def __init__(self, control: Control, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """``loop``: that of a link which somebody else runs; then ``start`` and ``finish`` are theirs too."""
        self.control = control
        self.loop = loop or asyncio.new_event_loop()
        self._link = Link(control.connect)
        self._generators: set[str] = set()  # inputs that have given items
        self._thread = threading.Thread(target=self._run, name="ionian-link", daemon=True)

    def start(self, listener: socket.socket) -> None:
        """Begin to accept connections."""
        self._thread.start()
        self.wait(self._link.serve(listener))

    def post(self, function: Callable[..., None], *args: Any) -> None:
        """Call on the link's loop, in order, from any thread."""
        self.loop.call_soon_threadsafe(function, *args)

    def flow(self, call: Call) -> Flow:
        """The pace of a generator's input; its items leave through it."""

        def send(index: int, data_format: int, data: bytes) -> None:
            self.post(self.control.item, call.input_id, index, data_format, data)

        self._generators.add(call.input_id)
        flow = Flow(call.window, self.control.writable, send)
        self.post(self.control.flow, call.input_id, flow)
        return flow

    def give(self, job: Job, outputs: list[Output]) -> None:
        """Report those outputs that nobody has given yet. With the job's guard held."""
        limits = {input_id: call.max_result for input_id, call in job.live.items()}
        for header, payload in job.left(outputs):
            input_id = header["id"]
            if input_id in self._generators:  # its items are on their way to the link's thread: behind them
                self._generators.discard(input_id)
                self.post(self.control.output, header, payload, limits[input_id] > 0)
            else:
                self.control.output(header, payload, limits[input_id] > 0)

    def wait(self, work: Coroutine[Any, Any, None]) -> None:
        """Run on the link's loop and wait for the end, from another thread."""
        asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def finish(self) -> None:
        """Deliver what can be delivered, then close."""
        self.wait(finish(self.control, self._link))

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


async def finish(control: Control, link: Link) -> None:
    """Wait a little for acknowledgements, then close the connection and the socket."""
    try:
        await asyncio.wait_for(control.quiet(), ACK_WAIT_S)
    except asyncio.TimeoutError:  # noqa: UP041  not the same class before Python 3.11
        environment.say("ionian: leaving with outputs that no server has taken")
    link.close()
    try:
        await asyncio.wait_for(control.close(), ACK_WAIT_S)
    except asyncio.TimeoutError:  # noqa: UP041  not the same class before Python 3.11
        return


class Stopping:
    """Drain once: ``drain()`` now, ``cancel()`` when the grace is over, the end of the process soon after.

    That is for work. What is not ``busy`` any more runs its exit hooks, which have a time of their own.
    """

    def __init__(self, drain: Callable[[], None], cancel: Callable[[], None], busy: Callable[[], object]) -> None:
        self._drain = drain
        self._cancel = cancel
        self._busy = busy
        self.begun = False

    def __call__(self, grace_s: float) -> None:
        """Runs on the link's loop. A second stop changes nothing."""
        if self.begun:
            return
        self.begun = True
        loop = asyncio.get_running_loop()
        self._drain()
        loop.call_later(max(grace_s, 0.0), self._overdue, grace_s)

    def _overdue(self, grace_s: float) -> None:
        if not self._busy():
            return
        text = f"ionian: still working {grace_s:.0f} s after the stop; cancelling"
        environment.say(text)
        self._cancel()
        asyncio.get_running_loop().call_later(_LAST_WORDS_S, self._end)

    def _end(self) -> None:
        if self._busy():
            environment.flush()
            os._exit(1)
