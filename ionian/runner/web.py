"""Serves web requests inside the container: WEB links in, ASGI calls out. One request at a time per connection.

Every REQUEST is answered by exactly one DONE, sent after the application has returned: only then is the slot free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from . import alias, frames
from .exchange import Exchange
from .lifespan import Lifespan

Scope = dict[str, Any]


class Site:
    """One ASGI application.

    ``name`` (see ``alias.py``) says where it answers besides ``/``. ``cancellable`` promises that the
    application runs nothing in threads: then a request whose time is over is cancelled. Otherwise it only sees a
    disconnect, because a cancelled task returns while its thread works on, and the slot would be free too early.
    """

    def __init__(self, app: Any, name: str = "", cancellable: bool = False) -> None:
        self.app = app
        self.name = name
        self.cancellable = cancellable
        self.lifespan = Lifespan(app)


class WebServer:
    """ASGI applications and the requests they are working on: one, or one for each web method of a class.

    ``on_begin(scope)`` is called in the
    request's own task before the application; ``on_end(orphan)`` after a request ended, ``orphan`` when its
    connection was gone, so that nobody else learns that the slot is free.
    """

    def __init__(
        self,
        app: Any = None,
        *,
        name: str = "",
        cancellable: bool = False,
        on_begin: Callable[[Scope], None] | None = None,
        on_end: Callable[[bool], None] | None = None,
    ) -> None:
        self.sites: dict[str, Site] = {"": Site(app, name, cancellable)} if app is not None else {}
        self.on_begin = on_begin
        self.on_end = on_end
        self.active = 0  # requests whose application has not returned yet
        self.relative_paths = alias.paths_are_relative()
        self.connections: set[WebConnection] = set()
        self._idle: asyncio.Event | None = None

    def site(self, scope: Scope) -> Site:
        """Which application a request is for. The server says it with a last header, where there are several."""
        if "" in self.sites:
            return self.sites[""]
        name, value = scope["headers"].pop() if scope["headers"] else (b"", b"")
        if name != frames.METHOD_HEADER or value.decode() not in self.sites:
            raise frames.ProtocolError("a request for no method of this class")
        return self.sites[value.decode()]

    async def startup(self) -> None:
        """Run the applications' start-up. Raises ``lifespan.StartupFailed``."""
        for site in self.sites.values():
            await site.lifespan.startup()

    async def shutdown(self) -> None:
        """Run the applications' shut-down, after ``drain``."""
        for site in self.sites.values():
            await site.lifespan.shutdown()

    def protocol(self) -> WebConnection:
        """A protocol for one WEB connection whose preface has been read."""
        return WebConnection(self)

    async def drain(self) -> None:
        """Wait until no request is active."""
        while self.active:
            self._idle = asyncio.Event()
            await self._idle.wait()

    def close(self) -> None:
        """Close every connection. Requests that still run become orphans."""
        for connection in list(self.connections):
            connection.close()

    def begun(self) -> None:
        self.active += 1

    def ended(self, orphan: bool) -> None:
        self.active -= 1
        if not self.active and self._idle is not None:
            self._idle.set()
        if self.on_end is not None:
            self.on_end(orphan)


class WebConnection(asyncio.Protocol):
    """One WEB link. Buffers what an exchange writes and sends it in as few system calls as possible."""

    def __init__(self, server: WebServer) -> None:
        self.server = server
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.out: list[bytes] = []
        self._parser = frames.Parser()
        self._exchange: Exchange | None = None
        self._writable: asyncio.Event | None = None
        self._reading = True
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            for kind, payload in self._parser.feed(data):
                self._frame(kind, payload)
        except (frames.ProtocolError, ValueError):
            self.transport.abort()

    def _frame(self, kind: int, payload: bytes) -> None:
        exchange = self._exchange
        if kind == frames.REQUEST:
            if exchange is not None:
                raise frames.ProtocolError("a request before the previous one is done")
            self._exchange = Exchange(self, payload)
        elif exchange is None:
            return  # the rest of a request that is done
        elif kind == frames.LAST or kind == frames.BODY:
            exchange.body(payload, kind == frames.BODY)
        elif kind == frames.ABORT:
            exchange.abort(payload == frames.ABORT_CANCEL)

    def done(self, error: bytes) -> None:
        """The exchange's application has returned: say so, and be ready for the next request."""
        self._exchange = None
        self.out.append(frames.frame(frames.DONE, error))
        self.flush()
        self.resume_reading()
        self.server.ended(self._lost)

    def flush(self) -> None:
        """Send what has gathered in ``out``."""
        if self.out:
            if not self._lost:
                self.transport.write(self.out[0] if len(self.out) == 1 else b"".join(self.out))
            self.out.clear()

    async def drain(self) -> None:
        """Wait while the gateway is slow to take what was sent."""
        while self._writable is not None and not self._lost:
            await self._writable.wait()

    def pause_reading(self) -> None:
        if self._reading and not self._lost:
            self._reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading and not self._lost:
            self._reading = True
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        self._writable = asyncio.Event()

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self.server.connections.discard(self)
        self.resume_writing()
        if self._exchange is not None:
            self._exchange.abort(False)

    def close(self) -> None:
        self.transport.close()
