"""Log segments: what containers print, kept on disk per app in append-only files. One writer (the worker), any readers.

A segment is ``<first record's time, 20 digits of nanoseconds>.log``, one JSON record a line, so the sorted names are
the time index: nothing before a segment is as new as its name, also when the clock was set back. A cursor is a segment
name and a byte offset: it stays valid while the file grows and after a restart. A half-written last line (power loss)
is never returned; a new writer begins a new segment.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ionian.errors import DISK_FULL

_LONGEST_RECORD = 1024**2  # bytes, and more than a line of output can have
STDOUT, STDERR, SYSTEM = 1, 2, 3  # the client's FileDescriptor numbers: stdout, stderr, info
TERMINAL = 16  # not output: somebody is wanted at a container's terminal (``opened``), or no more (``closed``)


@dataclass(frozen=True, slots=True)
class Record:
    """One piece of output, normally a line with its newline."""

    time_ns: int  # unix nanoseconds when the worker read it
    container_id: str
    function_id: str
    stream: int
    text: str


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place between two records. The empty segment name is the beginning."""

    segment: str = ""
    offset: int = 0

    def encode(self) -> str:
        """The form that travels to clients as an entry id."""
        return f"{self.segment}:{self.offset}"

    @staticmethod
    def decode(text: str) -> Cursor:
        """Inverse of ``encode``; anything else is the beginning."""
        segment, _, offset = text.partition(":")
        return Cursor(segment, int(offset)) if offset.isdigit() else Cursor()


class Writer:
    """Appends records of one app. ``append`` reaches the kernel before it returns (survives a killed worker)."""

    def __init__(self, directory: Path, segment_bytes: int) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._file: BinaryIO | None = None
        self._size = 0
        self._newest = 0
        self._lost = 0  # records for which there was no room

    def append(self, records: list[Record]) -> None:
        if not records:
            return
        if self._file is None or self._size >= self._segment_bytes:
            try:
                self._open(records[0].time_ns)
            except OSError as error:
                if error.errno not in DISK_FULL:
                    raise
                self._lost += len(records)
                return
        notice = [self._notice(records[0])] if self._lost else []
        if self._write(b"".join(_encode(record) for record in [*notice, *records])):
            self._newest = max(self._newest, *(record.time_ns for record in records))
            self._lost = 0
        else:
            self._lost += len(records)

    def _write(self, data: bytes) -> bool:
        """All of it, or nothing where the disk is full."""
        assert self._file is not None
        try:
            whole = self._file.write(data) == len(data)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            whole = False
        if whole:
            self._size += len(data)
        else:
            self._file.truncate(self._size)
        return whole

    def _notice(self, after: Record) -> Record:
        text = f"{self._lost} lines of output were not kept: there was no room on the disk\n"
        return Record(after.time_ns, after.container_id, after.function_id, SYSTEM, text)

    def _open(self, time_ns: int) -> None:
        self.close()
        self._directory.mkdir(parents=True, exist_ok=True)
        names = segments(self._directory)
        if names:
            self._newest = max(self._newest, int(names[-1][:20]), _last_time(self._directory / names[-1]))
        first = max(time_ns, self._newest + 1)
        self._file = open(self._directory / f"{first:020d}.log", "ab", buffering=0)  # noqa: SIM115 - lives with the writer
        self._size = 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _encode(record: Record) -> bytes:
    fields = [record.time_ns, record.container_id, record.function_id, record.stream, record.text]
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n"


def _last_time(path: Path) -> int:
    """The time of the last whole record of a segment; 0 without one."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - _LONGEST_RECORD))
        whole = [line for line in file.read().splitlines(keepends=True)[1:] or [b""] if line.endswith(b"\n")]
    return _decode(whole[-1]).time_ns if whole else 0


def segments(directory: Path) -> list[str]:
    """Segment names of an app, oldest first."""
    try:
        return sorted(name for name in os.listdir(directory) if name.endswith(".log"))
    except FileNotFoundError:
        return []


def read(directory: Path, cursor: Cursor, limit: int = 1000) -> tuple[list[Record], Cursor]:
    """Up to ``limit`` records after ``cursor``, and the cursor behind them."""
    records: list[Record] = []
    for name in segments(directory):
        if name < cursor.segment:
            continue
        offset = cursor.offset if name == cursor.segment else 0
        with open(directory / name, "rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n") or len(records) >= limit:
                    break
                records.append(_decode(line))
                offset += len(line)
        cursor = Cursor(name, offset)
        if len(records) >= limit:
            break
    return records, cursor


def end(directory: Path) -> Cursor:
    """The cursor behind the newest record."""
    names = segments(directory)
    return Cursor(names[-1], os.path.getsize(directory / names[-1])) if names else Cursor()


def since(directory: Path, time_ns: int) -> Cursor:
    """A cursor at or before the first record of ``time_ns`` (readers still filter by time)."""
    earlier = [name for name in segments(directory) if int(name[:20]) <= time_ns]
    return Cursor(earlier[-1], 0) if earlier else Cursor()


def tail(directory: Path, count: int) -> tuple[list[Record], Cursor]:
    """The last ``count`` records and the cursor behind them."""
    found: list[Record] = []
    last = end(directory)
    for name in reversed(segments(directory)):
        with open(directory / name, "rb") as file:
            lines = [line for line in file if line.endswith(b"\n")]
        found = [_decode(line) for line in lines[-(count - len(found)) :]] + found
        if len(found) >= count:
            break
    return found, last


def _decode(line: bytes) -> Record:
    time_ns, container_id, function_id, stream, text = json.loads(line)
    return Record(time_ns, container_id, function_id, stream, text)
