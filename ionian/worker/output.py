"""What a container prints: from its fifo into log segments, line by line, in order.

A fifo and not a pipe: the container holds it open for reading too, so a killed worker never breaks its writes, and the
next worker reads on.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from ionian.logs import STDERR, STDOUT, Record

CHUNK = 65536  # bytes a read
LONGEST_LINE = 65536  # bytes; a longer line is cut into several records
PARTIAL_S = 0.3  # seconds after which the beginning of a line is shown without its end


class Stream:
    """One fifo of one container."""

    def __init__(self, path: Path, stream: int, emit: Callable[[int, list[str]], None]) -> None:
        self._emit = emit
        self._stream = stream
        self._rest = b""
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
        self._lines(data)

    def _read(self) -> bytes:
        try:
            return os.read(self._fd, CHUNK)
        except BlockingIOError:
            return b""

    def _lines(self, data: bytes) -> None:
        parts = (self._rest + data).splitlines(keepends=True)
        self._rest = b""
        if parts and not parts[-1].endswith((b"\n", b"\r")) and len(parts[-1]) < LONGEST_LINE:
            self._rest = parts.pop()
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(PARTIAL_S, self._partial)
        if parts:
            self._emit(self._stream, [part.decode("utf-8", "replace") for part in parts])

    def _partial(self) -> None:
        self._timer = None
        if self._rest:
            rest, self._rest = self._rest, b""
            self._emit(self._stream, [rest.decode("utf-8", "replace")])

    def close(self) -> None:
        """Take what is still in the fifo, then forget it."""
        asyncio.get_running_loop().remove_reader(self._fd)
        while data := self._read():
            self._lines(data)
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
        self.last: deque[str] = deque(maxlen=20)  # for error messages
        self.stdout = Stream(directory / "stdout", STDOUT, self._emit)
        self.stderr = Stream(directory / "stderr", STDERR, self._emit)

    def _emit(self, stream: int, lines: list[str]) -> None:
        self.last.extend(lines)
        now = time.time_ns()
        self._append([Record(now, self._container_id, self._function_id, stream, line) for line in lines])

    def close(self) -> None:
        self.stdout.close()
        self.stderr.close()
