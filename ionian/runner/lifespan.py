"""The ASGI lifespan protocol: one task that starts with the container and ends with it."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

from . import environment


class StartupFailed(Exception):
    """The application said that it cannot start. The message is the application's own."""


class Lifespan:
    """Runs an app's lifespan. An app that does not support it is fine; one that fails to start is not."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.state: dict[str, Any] = {}
        self._task: asyncio.Task[None] | None = None
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._started: asyncio.Future[None] | None = None
        self._stopped: asyncio.Future[None] | None = None

    async def startup(self) -> None:
        """Wait until the app is ready. Raises ``StartupFailed`` with the app's message."""
        loop = asyncio.get_running_loop()
        self._started, self._stopped = loop.create_future(), loop.create_future()
        self._inbox.put_nowait({"type": "lifespan.startup"})
        self._task = loop.create_task(self._run())
        await self._started

    async def shutdown(self) -> None:
        """Let the app clean up. A failure is printed: nothing can be done about it any more."""
        if self._task is None or self._stopped is None:
            return
        if not self._task.done():
            self._inbox.put_nowait({"type": "lifespan.shutdown"})
            await self._stopped
            await asyncio.wait([self._task])
        self._task = None

    async def _run(self) -> None:
        assert self._started is not None
        assert self._stopped is not None
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._inbox.get, self._send)
        except Exception:  # noqa: BLE001 - the edge to user code
            ready = self._started.done() and self._started.exception() is None
            if ready and not self._stopped.done():  # before "ready" it means that lifespan is not supported
                environment.say(traceback.format_exc().removesuffix("\n"))
        for future in (self._started, self._stopped):
            if not future.done():
                future.set_result(None)

    async def _send(self, message: dict[str, Any]) -> None:
        assert self._started is not None
        assert self._stopped is not None
        kind = message["type"]
        if kind == "lifespan.startup.complete" and not self._started.done():
            self._started.set_result(None)
        elif kind == "lifespan.startup.failed" and not self._started.done():
            self._started.set_exception(StartupFailed(message.get("message") or "the application failed to start"))
        elif kind == "lifespan.shutdown.failed":
            environment.say(message.get("message", ""))
        if kind.startswith("lifespan.shutdown") and not self._stopped.done():
            self._stopped.set_result(None)
