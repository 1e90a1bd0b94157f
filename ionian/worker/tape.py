"""The streams of a command: what it writes, kept by byte offset, and what is written to it, taken by byte offset.

Invariants: a reader that comes back with the offset it has got loses nothing and gets nothing twice; a writer that
repeats itself writes once. A tape keeps at most ``AHEAD + BEHIND`` bytes and a bit; a command that nobody reads waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable

from ionian.errors import FailedPrecondition, InvalidRequest

AHEAD = 1 << 20  # bytes read from the command before anybody has asked for them
BEHIND = 16 << 20  # bytes kept after they were handed out, for a reader whose connection broke meanwhile
CHUNK = 65536  # bytes a read
MOST = 256 * 1024  # bytes handed out at once


class Tape:
    """One output stream. Owns the descriptor; without one it is at its end already."""

    def __init__(self, descriptor: int = -1, ahead: int = AHEAD, behind: int = BEHIND) -> None:
        self._descriptor = descriptor
        self._ahead, self._behind = ahead, behind
        self._data = bytearray()
        self._start = 0  # offset of the first byte kept
        self._asked = 0  # every byte before it was handed out
        self._reading = False
        self._ending = False  # the command has ended: what is in the pipe now is the rest
        self._news = asyncio.Event()
        self.used = False  # somebody has begun to read
        self.done = descriptor < 0  # its end was handed out, or nobody will ask for it
        if descriptor >= 0:
            os.set_blocking(descriptor, False)
            self._resume()

    @property
    def _end(self) -> int:
        return self._start + len(self._data)

    @property
    def waiting(self) -> bool:
        """There is something that nobody has asked for."""
        return self._end > self._asked

    def _resume(self) -> None:
        if self._descriptor >= 0 and not self._reading and self._end - self._asked < self._ahead:
            self._reading = True
            asyncio.get_running_loop().add_reader(self._descriptor, self._readable)

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            asyncio.get_running_loop().remove_reader(self._descriptor)

    def _readable(self) -> None:
        try:
            data = os.read(self._descriptor, CHUNK)
        except BlockingIOError:
            if self._ending:
                self.close()
            return
        except OSError:  # a terminal whose other end is closed
            data = b""
        self._data += data
        if not data:
            self.close()
        elif self._end - self._asked >= self._ahead:
            self._pause()
        self._news.set()

    def finish(self) -> None:
        """The command has ended. What it left running may hold the pipe, but is waited for no more."""
        self._ending = True
        while self._reading:  # until the pipe is empty, which closes the tape, or there is enough for now
            self._readable()

    def close(self) -> None:
        """Nothing more is read from the command. What was read can still be had."""
        self._pause()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._news.set()

    async def read(self, offset: int, wait_s: float) -> tuple[bytes, bool]:
        """Bytes from ``offset`` on, and whether they are the last; nothing when none came within ``wait_s`` seconds.

        Raises InvalidRequest for an offset that is not there yet, FailedPrecondition for one that is kept no more.
        """
        self.used = True
        if offset > self._end:
            raise InvalidRequest(f"offset {offset} is beyond the {self._end} bytes that the command has written")
        if offset < self._start:
            raise FailedPrecondition(
                f"the output before byte {self._start} is kept no more, and {offset} was asked for: "
                f"a reader may fall behind by {self._behind} bytes"
            )
        if offset == self._end and self._descriptor >= 0:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), wait_s)
        found = bytes(self._data[offset - self._start : offset - self._start + MOST])
        last = self._descriptor < 0 and offset + len(found) == self._end
        self._handed(offset + len(found), last)
        return found, last

    def _handed(self, offset: int, last: bool) -> None:
        self._asked = max(self._asked, offset)
        surplus = self._asked - self._behind - self._start
        if surplus > self._behind // 4:  # now and then, as it moves the rest
            del self._data[:surplus]
            self._start += surplus
        self._resume()
        if self._ending and self._reading:
            self.finish()
        self.done = self.done or last


class Feed:
    """The input stream. Owns the descriptor, unless it is a terminal's: ``hang_up`` then says that there is no more."""

    def __init__(self, descriptor: int, hang_up: Callable[[], None] | None = None) -> None:
        self._descriptor = descriptor
        self._hang_up = hang_up
        self._lock = asyncio.Lock()
        self._turn = 0  # who writes: a stream that was taken over may not go on
        self._index = 0  # of the last numbered message
        self.written = 0
        self.closed = descriptor < 0
        if descriptor >= 0:
            os.set_blocking(descriptor, False)
        self._room: asyncio.Event | None = None

    def status(self) -> tuple[int, bool, int]:
        """Bytes written, whether it is closed, and a new turn: whoever has the one before is told to stop."""
        self._turn += 1
        if self._room is not None:
            self._room.set()
        return self.written, self.closed, self._turn

    async def write(self, offset: int, data: bytes, eof: bool, turn: int | None = None, index: int = 0) -> int:
        """Write, waiting for as long as the command does not read; returns the number of bytes written in all.

        Bytes before ``offset`` that were written already are not written again. ``turn``: of ``status``; None: anybody.
        ``index``: instead of an offset, the number of the message, from 1: one that was written is not written again.
        Raises InvalidRequest (a gap), FailedPrecondition (closed, or taken over by another writer).
        """
        async with self._lock:
            if index:
                if index <= self._index:
                    return self.written
                self._index, offset = index, self.written
            if offset > self.written:
                raise InvalidRequest(f"offset {offset} leaves a gap: {self.written} bytes have been written")
            rest = memoryview(data)[self.written - offset :]
            if self.closed and rest:
                raise FailedPrecondition("the standard input of the command is closed")
            while rest:
                if turn is not None and turn != self._turn:
                    raise FailedPrecondition("another writer has taken over the standard input of the command")
                rest = rest[await self._some(rest) :]
            if eof and not self.closed:
                self._eof()
            return self.written

    async def _some(self, data: memoryview) -> int:
        try:
            count = os.write(self._descriptor, data[:CHUNK])
        except BlockingIOError:
            await self._until_room()
            return 0
        except OSError:
            self.close()
            raise FailedPrecondition("the command has closed its standard input") from None
        self.written += count
        return count

    async def _until_room(self) -> None:
        self._room = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_writer(self._descriptor, self._room.set)
        try:
            await self._room.wait()
        finally:
            if self._descriptor >= 0:
                loop.remove_writer(self._descriptor)
            self._room = None
        if self.closed:
            raise FailedPrecondition("the standard input of the command is closed")

    def _eof(self) -> None:
        if self._hang_up is not None:
            self._hang_up()
            self.closed = True
        else:
            self.close()

    def close(self) -> None:
        """No more input. A writer that waits is told."""
        if self._descriptor >= 0:
            if self._room is not None:
                asyncio.get_running_loop().remove_writer(self._descriptor)
                self._room.set()
            os.close(self._descriptor)
            self._descriptor = -1
        self.closed = True
