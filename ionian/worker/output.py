"""What a container prints: from its fifo into log segments, line by line, in order.

A fifo and not a pipe: the container holds it open for reading too, so a killed worker never breaks its writes, and the
next worker reads on.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from ionian.logs import STDERR, STDOUT, TERMINAL, Record
from ionian.model import Interactive
from ionian.runner import frames
from ionian.worker.terminal import Terminal

CHUNK = 65536  # bytes a read
LONGEST_LINE = 65536  # bytes; a longer line is cut into several records
MARKS = re.compile(b"(" + frames.STDERR_BEGINS + b"|" + frames.STDERR_ENDS + b")")
PARTIAL_S = 0.3  # seconds after which the beginning of a line is shown without its end


class Stream:
    """One fifo of one container. ``emit`` gets (stream, line) pairs in the order in which they were written."""

    def __init__(self, path: Path, stream: int, emit: Callable[[list[tuple[int, str]]], None]) -> None:
        self._emit = emit
        self._stream = stream  # of what is written outside of marks
        self._side = stream  # of what comes next
        self._rest: dict[int, bytes] = {}  # lines without their end, by stream
        self._cut = b""  # the first half of a mark
        self._timer: asyncio.TimerHandle | None = None
        self.path = path
        if not path.exists():
            os.mkfifo(path, 0o600)
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def writer(self) -> int:
        """A descriptor to hand to the container (the caller closes it)."""
        return os.open(self.path, os.O_RDWR | os.O_CLOEXEC)

    def _readable(self) -> None:
        data = self._read()
        if not data:  # no writer left
            asyncio.get_running_loop().remove_reader(self._fd)
        self._feed(data)

    def _read(self) -> bytes:
        try:
            return os.read(self._fd, CHUNK)
        except BlockingIOError:
            return b""

    def _feed(self, data: bytes) -> None:
        data, self._cut = self._cut + data, b""
        if data.endswith(b"\0"):
            data, self._cut = data[:-1], b"\0"
        found: list[tuple[int, str]] = []
        for piece in MARKS.split(data) if b"\0" in data else (data,):
            if piece == frames.STDERR_BEGINS:
                self._side = STDERR
            elif piece == frames.STDERR_ENDS:
                self._side = self._stream
            else:
                found += self._lines(self._side, piece)
        if found:
            self._emit(found)
        if any(self._rest.values()) and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PARTIAL_S, self._partial)

    def _lines(self, side: int, data: bytes) -> list[tuple[int, str]]:
        parts = (self._rest.get(side, b"") + data).splitlines(keepends=True)
        whole = not parts or parts[-1].endswith((b"\n", b"\r")) or len(parts[-1]) >= LONGEST_LINE
        self._rest[side] = b"" if whole else parts.pop()
        return [(side, part.decode("utf-8", "replace")) for part in parts]

    def _partial(self) -> None:
        self._timer = None
        rest, self._rest = self._rest, {}
        found = [(side, data.decode("utf-8", "replace")) for side, data in rest.items() if data]
        if found:
            self._emit(found)

    def close(self) -> None:
        """Take what is still in the fifo, then forget it."""
        asyncio.get_running_loop().remove_reader(self._fd)
        while data := self._read():
            self._feed(data)
        if self._timer is not None:
            self._timer.cancel()
        self._partial()
        os.close(self._fd)


class Output:
    """Both streams of one container."""

    def __init__(
        self,
        directory: Path,
        container_id: str,
        function_id: str,
        append: Callable[[list[Record]], None],
    ) -> None:
        self._container_id = container_id
        self._function_id = function_id
        self._append = append
        self.terminal: Terminal | None = None  # of an interactive container: the streams have nothing to do then
        self.last: deque[str] = deque(maxlen=20)  # for error messages
        self.stdout = Stream(directory / "stdout", STDOUT, self._emit)
        self.stderr = Stream(directory / "stderr", STDERR, self._emit)

    def open_terminal(self, size: Interactive) -> None:
        """Make a terminal of this size, in place of the streams."""
        self.terminal = Terminal(size, self._emit)

    def descriptors(self) -> tuple[int, int, int]:
        """stdin (-1: there is none), stdout and stderr for the container; the caller closes them."""
        if self.terminal is not None:
            slave = self.terminal.take_slave()
            return slave, slave, slave
        return -1, self.stdout.writer(), self.stderr.writer()

    def _emit(self, lines: list[tuple[int, str]]) -> None:
        self.last.extend(line for stream, line in lines if stream != TERMINAL)
        now = time.time_ns()
        self._append([Record(now, self._container_id, self._function_id, stream, line) for stream, line in lines])

    def close(self) -> None:
        if self.terminal is not None:
            self.terminal.close()
        self.stdout.close()
        self.stderr.close()
