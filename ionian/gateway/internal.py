"""Requests that the server itself answers (blobs, pages): an async function per path prefix, streamed both ways."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ionian.errors import IonianError, ResourceExhausted, Unavailable
from ionian.gateway.head import Head

if TYPE_CHECKING:
    from ionian.gateway.http import HttpConnection

_HIGH_WATER = 256 * 1024  # bytes of request body held for a handler that reads slowly
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """``path`` and ``query`` are raw, as sent. Header names are lower case; of repeated headers the last one counts."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: AsyncIterator[bytes]
    length: int | None  # content-length
    request_id: str
    client: str  # address of the peer


@dataclass(frozen=True, slots=True)
class Response:
    """A streamed body without ``content-length`` among the headers is sent chunked."""

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | AsyncIterator[bytes] = b""


Handler = Callable[[Request], Awaitable[Response]]


class Internal:
    """One request to a handler. Implements ``http.Exchange``."""

    def __init__(self, conn: HttpConnection, head: Head, handler: Handler) -> None:
        self._conn = conn
        self._head = head
        self._handler = handler
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._finished = False
        self._task: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def begin(self) -> None:
        self._task = self._conn.loop.create_task(self._run())

    def body(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        self._arrived.set()
        if self._size > _HIGH_WATER:
            self._conn.pause_reading()

    def complete(self) -> None:
        self._finished = True
        self._arrived.set()

    def flush(self) -> None:
        """Nothing gathers here."""

    def gone(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def pause(self) -> None:
        self._writable.clear()

    def resume(self) -> None:
        self._writable.set()

    async def _run(self) -> None:
        try:
            await self._answer(await self._handler(self._request()))
        except IonianError as error:
            extra = (b"retry-after: 1",) if isinstance(error, ResourceExhausted | Unavailable) else ()
            self._conn.fail(error.http, str(error), extra)
        except Exception:
            log.exception("handler of %s failed (request %s)", self._head.path, self._conn.request_id.decode())
            self._conn.fail(500, "internal error; the server's own log has the request id")

    def _request(self) -> Request:
        head = self._head
        pairs = zip(head.fields[::2], head.fields[1::2], strict=True)
        return Request(
            method=head.method.decode("ascii"),
            path=head.path.decode("utf-8"),
            query=head.query.decode("latin-1"),
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in pairs},
            body=self._read(),
            length=head.length,
            request_id=self._conn.request_id.decode(),
            client=self._conn.client.partition(b"\0")[0].decode(),
        )

    async def _read(self) -> AsyncIterator[bytes]:
        self._conn.proceed()
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._size -= len(piece)
                if self._size <= _HIGH_WATER and not self._finished:
                    self._conn.resume_reading()
                yield piece
            if self._finished:
                return
            self._arrived.clear()
            await self._arrived.wait()

    async def _answer(self, response: Response) -> None:
        conn = self._conn
        lines = [f"{name}: {value}".encode("latin-1") for name, value in response.headers]
        if any(b"\n" in line or b"\r" in line for line in lines):
            raise ValueError("a header contains a line break")
        lines.append(b"date: " + conn.gateway.date)
        lengths = [int(value) for name, value in response.headers if name.lower() == "content-length"]
        length = lengths[0] if lengths else None
        if isinstance(response.body, bytes):
            conn.begin(response.status, lines, length, response.body, True)
            return
        conn.begin(response.status, lines, length)
        async for piece in response.body:
            conn.write(piece)
            await self._writable.wait()
        conn.end(b"")
