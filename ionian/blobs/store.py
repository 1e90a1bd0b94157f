"""SEAM BlobStore: bytes by their SHA-256. A blob is whole or absent; a wrong digest is detected when it is read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol


class BlobStore(Protocol):
    async def put(self, data: bytes) -> str:
        """Store ``data``; returns its SHA-256 in hex. Storing twice is harmless."""

    async def put_stream(self, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        """Store a stream; returns SHA-256 and size in bytes. Nothing is left when the stream fails."""

    def has(self, sha256: str) -> bool: ...

    def path(self, sha256: str) -> Path:
        """The read-only file of a stored blob. Raises NotFound."""

    def verified(self, sha256: str) -> Path:
        """``path``, after comparing the content with the digest. A damaged blob is set aside. Raises NotFound."""

    async def get(self, sha256: str) -> bytes:
        """The bytes, checked against the digest. A damaged blob is set aside. Raises NotFound."""

    def pieces(self, sha256: str, size: int) -> AsyncIterator[bytes]:
        """The bytes in pieces of up to ``size``, checked before the first. Raises NotFound, as ``get``."""

    async def delete(self, sha256: str) -> None: ...
