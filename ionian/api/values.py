"""Large values of dicts as files of the blob store. Each file is one entry's own: a random head keeps equal values
apart, so it can go when its entry goes. A file that no entry names is in the rows as loose, and is removed later.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterable

from ionian.api.context import Context
from ionian.state import dicts

INLINE_BYTES = 256 * 1024  # up to this size a value is in its row
LOOSE_S = 600.0  # how long a file may be loose: an upload takes less, and so does a reader of a value just replaced
_HEAD_BYTES = 16
_PIECE_BYTES = 1 << 20


async def keep(ctx: Context, value: bytes) -> str:
    """Write a value to a file of its own; returns its SHA-256. It is loose until an entry names it."""
    head = os.urandom(_HEAD_BYTES)
    blob = await asyncio.to_thread(_digest, head, value)
    await ctx.database.write(dicts.loosen, blob, ctx.now)

    async def pieces() -> AsyncIterator[bytes]:
        yield head
        for start in range(0, len(value), _PIECE_BYTES):
            yield value[start : start + _PIECE_BYTES]

    await ctx.blobs.put_stream(pieces())
    return blob


def _digest(head: bytes, value: bytes) -> str:
    digest = hashlib.sha256(head)
    digest.update(value)
    return digest.hexdigest()


async def load(ctx: Context, value: bytes, blob: str) -> bytes:
    """A value from its row or its file. Raises NotFound when the file is gone or damaged."""
    if not blob:
        return value
    found = b"".join([piece async for piece in ctx.blobs.pieces(blob, _PIECE_BYTES)])
    return found[_HEAD_BYTES:]


async def remove(ctx: Context, blobs: Iterable[str]) -> None:
    """Remove loose files."""
    for blob in blobs:
        await ctx.blobs.delete(blob)
    await ctx.database.write(dicts.removed, blobs)


async def sweep(ctx: Context) -> None:
    """Remove what has been loose for long: of requests that failed, of servers that were killed, of popped entries."""
    while blobs := await ctx.database.read(dicts.loose, ctx.now - LOOSE_S):
        await remove(ctx, blobs)
