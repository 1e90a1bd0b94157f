"""Blobs as files, ``<root>/<first two digits>/<sha256>``: written aside, synced, renamed. Whole or absent, also after
power loss. Reads are checked against the name.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from ionian.errors import DISK_FULL, InvalidRequest, NotFound, ResourceExhausted

_SHA256 = re.compile(r"[0-9a-f]{64}")


class FileBlobStore:
    """A directory of blobs. Several processes may use it at once: a rename is atomic and content never changes."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, data: bytes) -> str:
        """Store ``data``; returns its SHA-256 in hex. Storing twice is harmless."""
        sha256 = hashlib.sha256(data).hexdigest()
        if not self.has(sha256):
            await asyncio.to_thread(self._write, sha256, data)
        return sha256

    def _write(self, sha256: str, data: bytes) -> None:
        file = self._temporary()
        try:
            with file:
                file.write(data)
                self._seal(file)
            self._publish(file.name, sha256)
        except BaseException as error:
            Path(file.name).unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise ResourceExhausted(f"no room for a blob in {self._root}: make room on its disk") from error
            raise

    async def put_stream(self, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        """Store a stream; returns SHA-256 and size in bytes. Nothing is left when the stream fails."""
        file, digest, size = self._temporary(), hashlib.sha256(), 0
        try:
            with file:
                async for chunk in chunks:
                    digest.update(chunk)
                    size += len(chunk)
                    await asyncio.to_thread(file.write, chunk)
                await asyncio.to_thread(self._seal, file)
            self._publish(file.name, digest.hexdigest())
        except BaseException as error:
            Path(file.name).unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise ResourceExhausted(f"no room for a blob in {self._root}: make room on its disk") from error
            raise
        return digest.hexdigest(), size

    def _temporary(self) -> BinaryIO:
        folder = self._root / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.NamedTemporaryFile(dir=folder, delete=False)  # type: ignore[return-value]

    @staticmethod
    def _seal(file: BinaryIO) -> None:
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), 0o444)

    def _publish(self, temporary: str, sha256: str) -> None:
        target = self._target(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, target)
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _target(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise InvalidRequest(f"{sha256!r} is not a SHA-256 in hex")
        return self._root / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        return self._target(sha256).is_file()

    def path(self, sha256: str) -> Path:
        """The read-only file of a stored blob. Raises NotFound."""
        target = self._target(sha256)
        if not target.is_file():
            raise NotFound(f"blob {sha256} is not in the store")
        return target

    def verified(self, sha256: str) -> Path:
        """``path``, after comparing the content with the digest. A damaged blob is set aside. Raises NotFound."""
        path = self.path(sha256)
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise self._set_aside(sha256)
        return path

    async def get(self, sha256: str) -> bytes:
        """The bytes, checked against the digest. A damaged blob is set aside. Raises NotFound."""
        data = await asyncio.to_thread(self.path(sha256).read_bytes)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise self._set_aside(sha256)
        return data

    async def pieces(self, sha256: str, size: int) -> AsyncIterator[bytes]:
        """The bytes in pieces of up to ``size``, checked before the first. Raises NotFound, as ``get``."""
        path = await asyncio.to_thread(self.verified, sha256)
        with open(path, "rb") as file:
            while piece := await asyncio.to_thread(file.read, size):
                yield piece

    def _set_aside(self, sha256: str) -> NotFound:
        """Out of the way, so that it can be stored again; kept, for whoever wants to see what became of it."""
        aside = self._root / "damaged" / sha256
        aside.parent.mkdir(exist_ok=True)
        os.replace(self._target(sha256), aside)
        return NotFound(f"blob {sha256} was damaged on disk; it is set aside as {aside}, send its content again")

    async def delete(self, sha256: str) -> None:
        """Remove a blob; absent is fine."""
        self._target(sha256).unlink(missing_ok=True)
