"""The control link to one container: connect once, learn that it is ready, send inputs, receive outputs."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol, cast

from ionian.runner import frames

ACK_DELAY_S = 0.05


class LinkEvents(Protocol):
    """Who listens to a link."""

    def link_made(self, link: ControlLink) -> None:
        """Comes before anything else of this link."""

    def link_ready(self, container_id: str, header: dict[str, Any]) -> None: ...

    def link_failed(self, container_id: str, header: dict[str, Any], payload: bytes) -> None: ...

    def link_output(self, container_id: str, header: dict[str, Any], payload: bytes) -> None: ...

    def link_item(self, container_id: str, header: dict[str, Any], payload: bytes) -> None: ...

    def link_freed(self, container_id: str) -> None: ...

    def link_lost(self, container_id: str) -> None: ...


class ControlLink(asyncio.Protocol):
    """One CONTROL connection. Writes are buffered by the transport: inputs are small, long args come piece by piece."""

    def __init__(self, container_id: str, events: LinkEvents) -> None:
        self.container_id = container_id
        self._events = events
        self._parser = frames.Parser()
        self._transport: asyncio.Transport | None = None
        self._parts: dict[str, list[bytes]] = {}  # of outputs that are still to come
        self._acks: list[bytes] = []
        self._acks_due = False
        self._drained = asyncio.Event()
        self._drained.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it
        self._transport.write(frames.CONTROL_PREFACE)
        self._events.link_made(self)

    def data_received(self, data: bytes) -> None:
        try:
            for kind, payload in self._parser.feed(data):
                self._frame(kind, payload)
        except (frames.ProtocolError, ValueError, KeyError):
            self.close()

    def _frame(self, kind: int, payload: bytes) -> None:
        header, raw = frames.split_control(payload)
        if kind == frames.OUTPUT:
            parts = self._parts.pop(header["id"], None)
            self._events.link_output(self.container_id, header, b"".join([*parts, raw]) if parts else raw)
        elif kind == frames.PART:
            self._parts.setdefault(header["id"], []).append(raw)
        elif kind == frames.ITEM:
            self._events.link_item(self.container_id, header, raw)
        elif kind == frames.READY:
            self._events.link_ready(self.container_id, header)
        elif kind == frames.FAILED:
            self._events.link_failed(self.container_id, header, raw)
        elif kind == frames.FREED:
            self._events.link_freed(self.container_id)
        else:
            raise frames.ProtocolError(f"unexpected frame {kind} from a container")

    def send(self, kind: int, header: dict[str, Any], payload: bytes = b"") -> None:
        """Send a frame. Acknowledgements wait a moment for one to travel with: alone they would wake the container."""
        frame = frames.control(kind, header, payload)
        if kind != frames.ACK:
            self._write(frame)
            return
        self._acks.append(frame)
        if not self._acks_due:
            self._acks_due = True
            asyncio.get_running_loop().call_later(ACK_DELAY_S, self._acknowledge)

    def _acknowledge(self) -> None:
        self._acks_due = False
        if self._acks:
            self._write(b"")

    def _write(self, frame: bytes) -> None:
        acks, self._acks = self._acks, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join([*acks, frame]) if acks else frame)

    async def send_part(self, input_id: str, piece: bytes, first: bool) -> None:
        """A piece of the args of an input that follows, at the pace of the container."""
        await self._drained.wait()
        self.send(frames.PART, {"id": input_id, "first": first}, piece)

    def pause_writing(self) -> None:
        self._drained.clear()

    def resume_writing(self) -> None:
        self._drained.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._drained.set()  # nobody waits for one that has gone
        self._events.link_lost(self.container_id)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def connect(container_id: str, socket: str, events: LinkEvents) -> ControlLink:
    """Connect to a container's socket (its backlog accepts before the program is ready). Raises OSError."""
    _, link = await asyncio.get_running_loop().create_unix_connection(lambda: ControlLink(container_id, events), socket)
    return link
