"""The control link as the container sees it: at most one server is connected, no result is lost between two of them.

Frames of an input (items, then its output) are kept until the server acknowledges the output, and sent again to the
next server, except items that were taken. Long outputs travel in pieces, at the pace of the server.
``output`` may be called from any thread, and writes at once where the socket takes it: to wake the link's thread for it
would cost more than the write. Never from where a cancellation may be raised: half a frame would be left. All other
methods run on the link's event loop.
"""

from __future__ import annotations

import asyncio
import collections
import os
import threading
from collections.abc import Callable
from typing import Any, cast

from . import environment, frames
from .flow import Flow

Inputs = list[tuple[dict[str, Any], bytes]]  # headers and args: of one call
_KEEP_BYTES = 64 * 1024 * 1024  # of one input; items beyond it are sent once only
_HIGH_WATER = 1024 * 1024  # bytes waiting in the socket buffer before generators pause


class Control:
    """Inputs in, outputs out. The runner's part: ``on_inputs(inputs)``, ``on_cancel(id)``, ``on_stop(s)``."""

    def __init__(
        self,
        on_inputs: Callable[[Inputs], None],
        on_cancel: Callable[[str], None],
        on_stop: Callable[[float], None],
    ) -> None:
        self.on_inputs = on_inputs
        self.on_cancel = on_cancel
        self.on_stop = on_stop
        # First frame for every new server: of these inputs an output follows, and no other was ever received.
        self.greeting: Callable[[list[str]], bytes] = lambda working: b""
        self.writable = threading.Event()  # a server is connected and keeps up: generators may go on
        self._server: Connection | None = None
        self._stopping = False
        self._working: dict[str, None] = {}
        self._kept: dict[str, _Kept] = {}
        self._flows: dict[str, Flow] = {}
        self._parts: dict[str, list[bytes]] = {}  # of inputs that are still to come
        self._quiet: list[asyncio.Future[None]] = []
        self.sending = threading.Lock()  # held for what items and outputs touch

    def connect(self) -> asyncio.Protocol:
        """The protocol for a new control connection; it replaces the one before."""
        return Connection(self)

    def attach(self, connection: Connection) -> None:
        if self._server is not None:
            self._server.close()
        self._parts.clear()
        with self.sending:
            self._server = connection
            connection.send(self.greeting(list({**self._working, **self._kept})))
            for kept in list(self._kept.values()):
                kept.send(connection)
        self.paced(True)

    def serves(self, connection: Connection) -> bool:
        """Whether this is the server of now."""
        return self._server is connection

    def detach(self, connection: Connection) -> None:
        with self.sending:
            was = self._server is connection
            if was:
                self._server = None
        if was:
            self.paced(False)

    def paced(self, keeps_up: bool) -> None:
        """A server takes what is sent, or does not."""
        if not keeps_up:
            self.writable.clear()
            return
        self.writable.set()
        for flow in self._flows.values():
            flow.changed()

    def receive(self, kind: int, payload: bytes) -> None:
        header, data = frames.split_control(payload)
        if kind == frames.INPUT:
            self._accept([(header, data)])
        elif kind == frames.BATCH:
            self._accept(_cut(header["inputs"], data))
        elif kind == frames.PART:
            if header.get("first"):
                self._parts.pop(header["id"], None)  # of an attempt to send it that was given up
            self._parts.setdefault(header["id"], []).append(data)
        elif kind == frames.CANCEL:
            self.on_cancel(header["id"])
        elif kind == frames.TAKEN:
            self._taken(header["id"], int(header["items"]))
        elif kind == frames.ACK:
            with self.sending:
                self._kept.pop(header["id"], None)
            self._wake()
        elif kind == frames.STOP:
            self.stop(float(header.get("grace_s", 0.0)))
        else:
            raise frames.ProtocolError(f"unexpected control frame {kind}")

    def flow(self, input_id: str, flow: Flow) -> None:
        """The pace of a generator that begins."""
        self._flows[input_id] = flow

    def stop(self, grace_s: float) -> None:
        """Take no more inputs (a server gives them to another container) and finish those that are here."""
        self._stopping = True
        self.on_stop(grace_s)

    def item(self, input_id: str, index: int, data_format: int, data: bytes) -> None:
        """One item of a generator. ``index`` counts from 1."""
        frame = frames.control(frames.ITEM, {"id": input_id, "index": index, "data_format": data_format}, data)
        with self.sending:
            if input_id not in self._working:
                return  # its output is given: it was cancelled
            self._kept.setdefault(input_id, _Kept(input_id)).add(index, frame)
            if self._server is not None:
                self._server.send(frame)

    def output(self, header: dict[str, Any], data: bytes, pieces: bool = False) -> None:
        """The end of an input: its OUTPUT frame, after the payload in pieces where the server takes them."""
        input_id = header["id"]
        with self.sending:
            self._working.pop(input_id, None)
            self._flows.pop(input_id, None)
            kept = self._kept.setdefault(input_id, _Kept(input_id))
            kept.end(header, data, pieces)
            if self._server is not None:
                kept.send_end(self._server)
            if self._quiet:
                self._quiet[0].get_loop().call_soon_threadsafe(self._wake)

    def freed(self) -> None:
        """Tell the server that a web request of a former connection has ended."""
        with self.sending:
            if self._server is not None:
                self._server.send(frames.control(frames.FREED, {}))

    @property
    def stopping(self) -> bool:
        """It takes no more inputs."""
        return self._stopping

    @property
    def working(self) -> bool:
        """True while an input works."""
        return bool(self._working)

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

    def _accept(self, inputs: Inputs) -> None:
        wanted: Inputs = []
        for header, data in inputs:
            input_id = header["id"]
            parts = self._parts.pop(input_id, None)
            with self.sending:
                if self._stopping or input_id in self._working or input_id in self._kept:
                    continue  # what is here already may be offered again by a restarted server
                self._working[input_id] = None
            wanted.append((header, b"".join([*parts, data]) if parts else data))
        if wanted:
            self.on_inputs(wanted)

    def _taken(self, input_id: str, items: int) -> None:
        with self.sending:
            kept, flow = self._kept.get(input_id), self._flows.get(input_id)
            if kept is not None:
                kept.forget(items)
        if flow is not None:
            flow.taken(items)

    def _wake(self) -> None:
        waiters, self._quiet = self._quiet, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def _cut(headers: list[dict[str, Any]], data: bytes) -> Inputs:
    """The inputs of a batch, each with its own args."""
    inputs, start = [], 0
    for header in headers:
        end = start + int(header["size"])
        inputs.append((header, data[start:end]))
        start = end
    if start != len(data):
        raise frames.ProtocolError(f"a batch of {len(data)} bytes whose inputs have {start}")
    return inputs


class _Kept:
    """What is sent of one input, until it is acknowledged."""

    def __init__(self, input_id: str) -> None:
        self._input_id = input_id
        self._items: collections.deque[tuple[int, bytes]] = collections.deque()
        self._bytes = 0
        self._end = b""  # the OUTPUT frame
        self._long = b""  # the payload that goes before it

    def add(self, index: int, frame: bytes) -> None:
        if self._bytes + len(frame) <= _KEEP_BYTES:
            self._items.append((index, frame))
            self._bytes += len(frame)

    def forget(self, taken: int) -> None:
        """Nobody will ask again for so many first items."""
        while self._items and self._items[0][0] <= taken:
            self._bytes -= len(self._items.popleft()[1])

    def end(self, header: dict[str, Any], data: bytes, pieces: bool) -> None:
        self._long = data if pieces and len(data) > frames.PIECE else b""
        self._end = frames.control(frames.OUTPUT, header, b"" if self._long else data)

    def send(self, connection: Connection) -> None:
        for _, frame in self._items:
            connection.send(frame)
        self.send_end(connection)

    def send_end(self, connection: Connection) -> None:
        if self._end and self._long:
            connection.send_long(self._input_id, self._long, self._end)
        else:
            connection.send(self._end)


class Connection(asyncio.Protocol):
    """One control connection."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._parser = frames.Parser()
        self._transport: asyncio.Transport | None = None
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._drained = asyncio.Event()
        self._drained.set()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._socket = -1
        self._posted = 0  # frames of other threads that the loop has still to write
        self._senders: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is no subclass of asyncio's
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)
        self._socket = self._transport.get_extra_info("socket").fileno()
        self._control.attach(self)

    def data_received(self, data: bytes) -> None:
        try:
            for kind, payload in self._parser.feed(data):
                self._control.receive(kind, payload)
        except (frames.ProtocolError, KeyError, ValueError) as error:
            environment.say(f"ionian: closing a control connection: {error}")
            self.close()

    def send(self, frame: bytes) -> None:
        """Send a frame, after all that were sent before. From other threads with the control's lock held."""
        if not frame or self._transport is None or self._transport.is_closing():
            return
        if threading.get_ident() != self._thread:
            self._send_from_outside(frame, self._transport)
        elif self._posted:
            self._post(frame)
        else:
            self._transport.write(frame)

    def _send_from_outside(self, frame: bytes, transport: asyncio.Transport) -> None:
        written = 0
        if not self._posted and not transport.get_write_buffer_size():
            try:
                written = os.write(self._socket, frame)
            except BlockingIOError:
                written = 0
            except OSError:
                return  # the loop will notice that the connection is gone
        if written < len(frame):
            self._post(frame[written:])

    def _post(self, frame: bytes) -> None:
        self._posted += 1
        self._loop.call_soon_threadsafe(self._write_posted, frame)

    def _write_posted(self, frame: bytes) -> None:
        with self._control.sending:
            self._posted -= 1
            if self._transport is not None and not self._transport.is_closing():
                self._transport.write(frame)

    def send_long(self, input_id: str, payload: bytes, frame: bytes) -> None:
        """A payload in pieces, as fast as they are taken, then the frame that ends it."""
        self._loop.call_soon_threadsafe(self._begin_pieces, input_id, payload, frame)

    def _begin_pieces(self, input_id: str, payload: bytes, frame: bytes) -> None:
        task = self._loop.create_task(self._send_pieces(input_id, payload, frame))
        self._senders.add(task)
        task.add_done_callback(self._senders.discard)

    async def _send_pieces(self, input_id: str, payload: bytes, frame: bytes) -> None:
        for start in range(0, len(payload), frames.PIECE):
            await self._drained.wait()
            self.send(frames.control(frames.PART, {"id": input_id}, payload[start : start + frames.PIECE]))
        self.send(frame)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def pause_writing(self) -> None:
        self._drained.clear()
        if self._control.serves(self):
            self._control.paced(False)

    def resume_writing(self) -> None:
        self._drained.set()
        if self._control.serves(self):
            self._control.paced(True)

    def connection_lost(self, error: Exception | None) -> None:
        with self._control.sending:
            self._transport = None  # its descriptor is closed next, and its number may be another's then
        for task in self._senders:
            task.cancel()
        self._control.detach(self)
        if not self.gone.done():
            self.gone.set_result(None)
