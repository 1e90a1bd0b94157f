"""Where the entrypoint puts what it thinks too large for a message: PUT to a loopback port, kept in memory until taken.

Addresses hold a secret of the container, for the port may be visible to other programs of the machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import secrets

_MAX_HEAD = 64 * 1024  # bytes
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
        return blob_id, f"http://127.0.0.1:{self._port}/{self._secret}/{blob_id}"

    def take(self, blob_id: str) -> bytes:
        """The bytes of an uploaded blob, once. Raises KeyError when there are none."""
        data = self._held.pop(blob_id)
        if data is None:
            raise KeyError(blob_id)
        return data

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            writer.write(await self._put(head, reader))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # a broken upload: the client tries again
        finally:
            writer.close()

    async def _put(self, head: list[str], reader: asyncio.StreamReader) -> bytes:
        words = head[0].split(" ")
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
        folder, _, blob_id = words[1].strip("/").partition("/") if len(words) == 3 else ("", "", "")
        length = fields.get("content-length", "")
        if words[0] != "PUT" or folder != self._secret or blob_id not in self._held or not length.isdigit():
            return _BAD
        data = await reader.readexactly(int(length))
        self._held[blob_id] = data
        tag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return f'HTTP/1.1 200 OK\r\netag: "{tag}"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n'.encode()
