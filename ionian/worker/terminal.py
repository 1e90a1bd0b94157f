"""The terminal of an interactive container: what it shows becomes log records at once, what a person types goes in.

It lives in the worker: when the worker ends, the terminal hangs up, and the container ends with it.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import fcntl
import os
import struct
import termios
from collections.abc import Callable

from ionian.errors import FailedPrecondition, ResourceExhausted
from ionian.logs import STDOUT, TERMINAL
from ionian.model import Interactive
from ionian.runner import frames

CHUNK = 65536  # bytes a read
FULL_S = 5.0  # how long what is typed may wait for a program that does not read
OPENED, CLOSED = "opened", "closed"  # the texts of its TERMINAL records


class Terminal:
    """``emit`` gets (stream, text) pairs in order. A shell begins when the program asks for somebody to type."""

    def __init__(self, size: Interactive, emit: Callable[[list[tuple[int, str]]], None]) -> None:
        self._emit = emit
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._master, self._slave = os.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, 0, 0))
        os.set_blocking(self._master, False)
        asyncio.get_running_loop().add_reader(self._master, self._readable)
        self._typing = asyncio.Lock()
        self._typed = 0  # number of the last piece
        self._rest = ""  # the first half of a mark
        self._opened = self._claimed = False

    def take_slave(self) -> int:
        """The program's end (the caller closes it)."""
        slave, self._slave = self._slave, -1
        return slave

    def claim(self) -> bool:
        """Whether the caller is the first that wants to type for a program that has asked for it."""
        first = self._opened and not self._claimed and self._master >= 0
        self._claimed = self._claimed or first
        return first

    async def type(self, number: int, data: bytes) -> None:
        """What a person typed. Pieces are numbered from 1; one that comes again is dropped.

        Raises FailedPrecondition (the program has ended), ResourceExhausted (it does not read).
        """
        async with self._typing:
            if number <= self._typed:
                return
            self._typed = number
            deadline = asyncio.get_running_loop().time() + FULL_S
            while data:
                if self._master < 0:
                    raise FailedPrecondition("the program at this terminal has ended")
                try:
                    data = data[os.write(self._master, data) :]
                except BlockingIOError:
                    if asyncio.get_running_loop().time() > deadline:
                        raise ResourceExhausted("the program at this terminal does not read what is typed") from None
                    await asyncio.sleep(0.02)
                except OSError:
                    raise FailedPrecondition("the program at this terminal has ended") from None

    def _readable(self) -> None:
        data = self._read()
        if data:
            self._show(self._decode(data))
        elif data is not None:
            asyncio.get_running_loop().remove_reader(self._master)

    def _read(self) -> bytes | None:
        """What the program has written; None: nothing at the moment; empty: nobody has its end open any more."""
        try:
            return os.read(self._master, CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _show(self, text: str) -> None:
        text, self._rest = self._rest + text, ""
        if text.endswith("\0"):
            text, self._rest = text[:-1], "\0"
        shown, mark, after = text.partition(frames.TERMINAL_WANTED.decode())
        found = [(STDOUT, shown)] if shown else []
        if mark and not self._opened:
            self._opened = True
            found.append((TERMINAL, OPENED))
        if found:
            self._emit(found)
        if after:
            self._show(after)

    def close(self) -> None:
        """Take what is still to be shown, then hang up."""
        if self._master < 0:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        while data := self._read():
            self._show(self._decode(data))
        self._show(self._decode(b"", True))
        if self._opened:
            self._emit([(TERMINAL, CLOSED)])
        for descriptor in (self._master, self._slave):
            if descriptor >= 0:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        self._master = self._slave = -1
