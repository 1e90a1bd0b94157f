"""What is too large for a message: PUT to a loopback port and kept in memory until taken; args the other way, by GET.

Addresses hold a secret of the container, for the port may be visible to other programs of the machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import secrets
from collections.abc import Sequence

_MAX_HEAD = 64 * 1024  # bytes
_PIECE = 1024 * 1024  # bytes
_BAD = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Blobs:
    """Created, then uploaded, then taken once."""

    def __init__(self) -> None:
        self._secret = secrets.token_urlsafe(24)
        self._number = itertools.count(1)
        self._server: asyncio.AbstractServer | None = None
        self._port = 0
        self._held: dict[str, bytes | None] = {}

    async def open(self) -> None:
        """Listen on a free loopback port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_MAX_HEAD)
        self._port = self._server.sockets[0].getsockname()[1]

    def create(self) -> tuple[str, str]:
        """A new blob's id and the address to PUT it to."""
        blob_id = f"bl-{next(self._number)}"
        self._held[blob_id] = None
        return blob_id, self.url(blob_id)

    def __contains__(self, blob_id: str) -> bool:
        return blob_id in self._held

    def hold(self, data: bytes) -> str:
        """A blob for the entrypoint to GET, once; its id."""
        blob_id, _ = self.create()
        self._held[blob_id] = data
        return blob_id

    def url(self, blob_id: str) -> str:
        """Where a blob is put or fetched."""
        return f"http://127.0.0.1:{self._port}/{self._secret}/{blob_id}"

    def take(self, blob_id: str) -> bytes:
        """The bytes of an uploaded blob, once. Raises KeyError when there are none."""
        data = self._held.pop(blob_id)
        if data is None:
            raise KeyError(blob_id)
        return data

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            for piece in await self._answer(head, reader):
                writer.write(piece)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # a broken upload: the client tries again
        finally:
            writer.close()

    async def _answer(self, head: list[str], reader: asyncio.StreamReader) -> Sequence[bytes | memoryview]:
        words = head[0].split(" ")
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
        folder, _, blob_id = words[1].strip("/").partition("/") if len(words) == 3 else ("", "", "")
        length = fields.get("content-length", "")
        if folder == self._secret and blob_id in self._held:
            if words[0] == "PUT" and length.isdigit():
                return [await self._put(blob_id, int(length), reader)]
            held = self._held[blob_id]
            if words[0] == "GET" and held is not None:
                whole = memoryview(self.take(blob_id))
                head_text = f"HTTP/1.1 200 OK\r\ncontent-length: {len(whole)}\r\nconnection: close\r\n\r\n"
                return [head_text.encode(), *(whole[at : at + _PIECE] for at in range(0, len(whole), _PIECE))]
        return [_BAD]

    async def _put(self, blob_id: str, length: int, reader: asyncio.StreamReader) -> bytes:
        data = await reader.readexactly(length)
        self._held[blob_id] = data
        tag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return f'HTTP/1.1 200 OK\r\netag: "{tag}"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n'.encode()
