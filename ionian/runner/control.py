"""The control link as the container sees it: at most one server is connected, no result is lost between two of them.

Frames of an input (items, then its output) are kept until the server acknowledges the output, and sent again to the
next server. All methods run on the link's event loop; other threads come in through ``loop.call_soon_threadsafe``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, cast

from . import environment, frames

_KEEP_BYTES = 64 * 1024 * 1024  # of one input; items beyond it are sent once only
_HIGH_WATER = 1024 * 1024  # bytes waiting in the socket buffer before generators pause


class Control:
    """Inputs in, outputs out. The runner's part: ``on_input(header, args)``, ``on_cancel(id)``, ``on_stop(s)``."""

    def __init__(
        self,
        on_input: Callable[[dict[str, Any], bytes], None],
        on_cancel: Callable[[str], None],
        on_stop: Callable[[float], None],
    ) -> None:
        self.on_input = on_input
        self.on_cancel = on_cancel
        self.on_stop = on_stop
        self.greeting: Callable[[list[str]], bytes] = lambda working: b""  # first frame for every new server
        self.writable = threading.Event()  # a server is connected and keeps up: generators may go on
        self._server: Connection | None = None
        self._stopping = False
        self._working: dict[str, None] = {}
        self._kept: dict[str, list[bytes]] = {}
        self._kept_bytes: dict[str, int] = {}
        self._quiet: list[asyncio.Future[None]] = []

    def connect(self) -> asyncio.Protocol:
        """The protocol for a new control connection; it replaces the one before."""
        return Connection(self)

    def attach(self, connection: Connection) -> None:
        if self._server is not None:
            self._server.close()
        self._server = connection
        self.writable.set()
        connection.send(self.greeting(list(self._working)))
        for kept in list(self._kept.values()):
            for frame in kept:
                connection.send(frame)

    def detach(self, connection: Connection) -> None:
        if self._server is connection:
            self._server = None
            self.writable.clear()

    def receive(self, kind: int, payload: bytes) -> None:
        header, data = frames.split_control(payload)
        if kind == frames.INPUT:
            self._accept(header, data)
        elif kind == frames.CANCEL:
            self.on_cancel(header["id"])
        elif kind == frames.ACK:
            self._kept.pop(header["id"], None)
            self._kept_bytes.pop(header["id"], None)
            self._wake()
        elif kind == frames.STOP:
            self.stop(float(header.get("grace_s", 0.0)))
        else:
            raise frames.ProtocolError(f"unexpected control frame {kind}")

    def stop(self, grace_s: float) -> None:
        """Take no more inputs (a server gives them to another container) and finish those that are here."""
        self._stopping = True
        self.on_stop(grace_s)

    def item(self, input_id: str, index: int, data_format: int, data: bytes) -> None:
        """One item of a generator. ``index`` counts from 1."""
        header = {"id": input_id, "index": index, "data_format": data_format}
        self._keep(input_id, frames.control(frames.ITEM, header, data))

    def output(self, header: dict[str, Any], data: bytes) -> None:
        """The end of an input: its OUTPUT frame."""
        self._working.pop(header["id"], None)
        self._keep(header["id"], frames.control(frames.OUTPUT, header, data), last=True)
        self._wake()

    def freed(self) -> None:
        """Tell the server that a web request of a former connection has ended."""
        if self._server is not None:
            self._server.send(frames.control(frames.FREED, {}))

    @property
    def busy(self) -> bool:
        """True while an input works or an output is not yet safe with a server."""
        return bool(self._working or self._kept)

    async def quiet(self) -> None:
        """Wait until nothing works and every output is acknowledged."""
        while self.busy:
            waiter = asyncio.get_running_loop().create_future()
            self._quiet.append(waiter)
            await waiter

    async def close(self) -> None:
        """Send what is buffered and close the connection."""
        if self._server is not None:
            connection, self._server = self._server, None
            connection.close()
            await connection.gone

    def _accept(self, header: dict[str, Any], data: bytes) -> None:
        input_id = header["id"]
        if self._stopping or input_id in self._working or input_id in self._kept:
            return  # what is here already may be offered again by a restarted server
        self._working[input_id] = None
        self.on_input(header, data)

    def _keep(self, input_id: str, frame: bytes, last: bool = False) -> None:
        size = self._kept_bytes.get(input_id, 0) + len(frame)
        if last or size <= _KEEP_BYTES:
            self._kept.setdefault(input_id, []).append(frame)
            self._kept_bytes[input_id] = size
        if self._server is not None:
            self._server.send(frame)

    def _wake(self) -> None:
        waiters, self._quiet = self._quiet, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class Connection(asyncio.Protocol):
    """One control connection."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._parser = frames.Parser()
        self._transport: asyncio.Transport | None = None
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is no subclass of asyncio's
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)
        self._control.attach(self)

    def data_received(self, data: bytes) -> None:
        try:
            for kind, payload in self._parser.feed(data):
                self._control.receive(kind, payload)
        except (frames.ProtocolError, KeyError, ValueError) as error:
            environment.say(f"ionian: closing a control connection: {error}")
            self.close()

    def send(self, frame: bytes) -> None:
        if frame and self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def pause_writing(self) -> None:
        self._control.writable.clear()

    def resume_writing(self) -> None:
        self._control.writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._control.detach(self)
        if not self.gone.done():
            self.gone.set_result(None)
