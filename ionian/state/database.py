"""SEAM Database: runs plain functions of a transaction, all or nothing. Implementation here: SQLite in WAL mode.

State functions take a ``Tx`` first and are ordinary synchronous code: ``def create_app(tx, name, ...)``.
``await database.write(create_app, ...)`` runs one atomically and returns after the commit.
SQL stays in the subset that SQLite and PostgreSQL share: ``?`` placeholders, TEXT, BIGINT, DOUBLE PRECISION, BYTEA/BLOB
written as BLOB, ``INSERT .. ON CONFLICT .. DO UPDATE``, ``RETURNING``; no rowid, INSERT OR REPLACE or PRAGMA elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from ionian.errors import FailedPrecondition, IonianError, ResourceExhausted, Unavailable

P = ParamSpec("P")
T = TypeVar("T")
Row = dict[str, Any]

_LOOK_EVERY = 64  # commits between looks at the size of the log
_LOG_BYTES = 4 * 1024 * 1024
_LOG_COMMITS = 1024
log = logging.getLogger("ionian.state")


class Tx(Protocol):
    """One open transaction."""

    def execute(self, sql: str, *params: object) -> int:
        """Run a statement; returns the number of rows it changed."""

    def one(self, sql: str, *params: object) -> Row | None: ...

    def all(self, sql: str, *params: object) -> list[Row]: ...

    def many(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None: ...


class Database(Protocol):
    async def write(self, function: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T: ...

    async def read(self, function: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T: ...

    async def persist(self) -> bool:
        """Make all that was committed outlast a loss of power. False: it could not be done now."""
        ...

    def close(self) -> None: ...


class _SqliteTx:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, *params: object) -> int:
        return self._connection.execute(sql, params).rowcount

    def one(self, sql: str, *params: object) -> Row | None:
        row: Row | None = self._connection.execute(sql, params).fetchone()
        return row

    def all(self, sql: str, *params: object) -> list[Row]:
        return self._connection.execute(sql, params).fetchall()

    def many(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._connection.executemany(sql, rows)


def _line(text: str) -> str:
    return " ".join(text.split())[:300]


_NEW = "restore a copy of it, or move it away to begin anew (apps must then be deployed again)"
_ADVICE: dict[int, tuple[type[IonianError], str]] = {
    sqlite3.SQLITE_CORRUPT: (FailedPrecondition, _NEW),
    sqlite3.SQLITE_NOTADB: (FailedPrecondition, _NEW),
    sqlite3.SQLITE_CANTOPEN: (FailedPrecondition, "is it a file that this user may read and write?"),
    sqlite3.SQLITE_READONLY: (FailedPrecondition, "is it a file that this user may read and write?"),
    sqlite3.SQLITE_FULL: (ResourceExhausted, "make room on its disk and try again"),
    sqlite3.SQLITE_IOERR: (ResourceExhausted, "is its disk full or failing?"),
    sqlite3.SQLITE_BUSY: (Unavailable, "another program holds it locked; try again"),
}


def _as_dict(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> Row:
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}


@dataclass(slots=True)
class _Write:
    """A function that waits for the next transaction."""

    function: Callable[[Tx], Any]
    done: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None
    settled: bool = False

    async def outcome(self) -> Any:
        """Its result, or what it raised.

        Whoever waits and is cancelled meanwhile gets both: first the result, so that what must follow a commit at once
        does follow it, then the cancellation, where it next waits.
        """
        task: asyncio.Task[Any] | None = None  # set when it was cancelled
        while not self.settled:
            try:
                await self.done
            except asyncio.CancelledError:
                task = asyncio.current_task()
                assert task is not None
                task.uncancel()
                self.done = asyncio.get_running_loop().create_future()
        if task is not None:
            task.cancel()
        if self.error is not None:
            raise self.error
        return self.result


def _moved(done: asyncio.Future[None]) -> bool:
    """Whether a checkpoint went well."""
    if done.cancelled():
        return False
    if done.exception() is not None:
        log.warning("the database's log could not be moved into it: %s", done.exception())
    return done.exception() is None


class SqliteDatabase:
    """Used from one event loop. All writes of one turn of the loop share a transaction and its commit (group commit).

    Each write is still all or nothing by itself: one that raises is undone alone. With synchronous FULL the commit
    waits for the disk in a thread, and what is written meanwhile is in the next group. A commit with NORMAL costs about
    0.01 ms, less than to change threads.
    """

    def __init__(self, path: Path, synchronous: str = "NORMAL") -> None:
        if synchronous not in ("NORMAL", "FULL"):
            raise IonianError(f"synchronous must be NORMAL or FULL, not {synchronous!r}")
        self._path = path
        self._waits_for_disk = synchronous == "FULL"
        with self._explained():
            self._connection = self._open(synchronous)
            self._reader = self._open(synchronous)
        self._tx = _SqliteTx(self._connection)
        self._read_tx = _SqliteTx(self._reader)
        self._group: list[_Write] = []
        self._busy = False  # a flush is on its way, or waits for the disk
        self._commits = 0  # since the last checkpoint
        self._log_bytes = 0  # the log file then; it is written anew from its start, and never shrinks
        self._checkpointing: asyncio.Future[None] | None = None
        self._held = False  # writes wait for the end of a checkpoint

    def _open(self, synchronous: str) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, cached_statements=512)
        connection.row_factory = _as_dict
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA busy_timeout=5000")
        connection.execute("PRAGMA wal_autocheckpoint=0")  # see _checkpoint
        return connection

    async def write(self, function: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        write = _Write(lambda tx: function(tx, *args, **kwargs), loop.create_future())
        self._group.append(write)
        if not self._busy and not self._held:
            self._busy = True
            loop.call_soon(self._flush)
        result: T = await write.outcome()
        return result

    def _flush(self) -> None:
        """Run and commit what waits."""
        group, self._group = self._group, []
        loop = asyncio.get_running_loop()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._run(group)
            if self._waits_for_disk:
                commit = loop.run_in_executor(None, self._connection.execute, "COMMIT")
                commit.add_done_callback(lambda ended: self._settle(group, ended.exception()))
                return
            self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001  whoever wrote gets it
            self._settle(group, error)
        else:
            self._settle(group, None)

    def _run(self, group: list[_Write]) -> None:
        """Each function in a savepoint of its own. Raises when the transaction itself is lost, as on a full disk."""
        for write in group:
            if len(group) > 1:
                self._connection.execute("SAVEPOINT one")
            try:
                write.result = write.function(self._tx)
            except Exception as error:
                if len(group) == 1 or not self._connection.in_transaction:
                    raise
                self._connection.execute("ROLLBACK TO one")
                write.error = error
            if len(group) > 1:
                self._connection.execute("RELEASE one")

    def _settle(self, group: list[_Write], error: BaseException | None) -> None:
        """Tell those who wrote, and begin the next group."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        for write in group:
            failure = error or write.error
            write.error = None if failure is None else self._named(failure)
            write.settled = True
            if not write.done.done():
                write.done.set_result(None)
        self._busy = bool(self._group) and not self._held
        if self._busy:
            asyncio.get_running_loop().call_soon(self._flush)
        self._commits += 1
        if self._commits % _LOOK_EVERY == 0 and self._checkpointing is None:
            self._checkpoint_if_long()

    def _checkpoint_if_long(self) -> None:
        """Move the log into the database in a thread: SQLite itself would do it in a commit, which then takes long."""
        with contextlib.suppress(OSError):
            size = os.stat(f"{self._path}-wal").st_size
            if size - self._log_bytes < _LOG_BYTES and self._commits < _LOG_COMMITS:
                return
            self._commits, self._log_bytes = 0, size
            self._checkpointing = asyncio.get_running_loop().run_in_executor(None, self._checkpoint)
            self._checkpointing.add_done_callback(self._checkpointed)

    def _checkpoint(self) -> None:
        with contextlib.closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    async def persist(self) -> bool:
        """Whatever ``synchronous`` is: the whole log moves into the database, both synced by SQLite."""
        return await asyncio.get_running_loop().run_in_executor(None, self._persist)

    def _persist(self) -> bool:
        with self._explained(), contextlib.closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            connection.execute("PRAGMA busy_timeout=5000")
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
            return not busy

    def _checkpointed(self, done: asyncio.Future[None]) -> None:
        """Most of the log is moved. What came meanwhile follows while writes wait: only a log that is moved whole is
        written anew from its start, and without that it would grow for as long as somebody writes."""
        if not _moved(done):
            self._checkpointing = None
            return
        self._held = True
        self._checkpointing = asyncio.get_running_loop().run_in_executor(None, self._checkpoint)
        self._checkpointing.add_done_callback(self._released)

    def _released(self, done: asyncio.Future[None]) -> None:
        _moved(done)
        self._checkpointing, self._held = None, False
        if self._group and not self._busy:
            self._busy = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _named(self, failure: BaseException) -> BaseException:
        try:
            with self._explained():
                raise failure
        except BaseException as named:  # noqa: BLE001  it is handed on
            return named

    async def read(self, function: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._explained():
            self._reader.execute("BEGIN")
            try:
                return function(self._read_tx, *args, **kwargs)
            finally:
                if self._reader.in_transaction:
                    self._reader.execute("ROLLBACK")

    def check(self, limit_s: float) -> bool:
        """Look through the whole file for damage. False: the time was over before the end.

        Raises FailedPrecondition naming what is wrong. Content that was changed and still has its form is not noticed.
        """
        end = time.monotonic() + limit_s
        self._reader.set_progress_handler(lambda: time.monotonic() > end, 10_000)
        try:
            with self._explained():
                found = [str(next(iter(row.values()))) for row in self._reader.execute("PRAGMA quick_check(3)")]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                return False
            raise
        finally:
            self._reader.set_progress_handler(None, 0)
        if found != ["ok"]:
            raise FailedPrecondition(f"{self._path} is damaged: {_line('; '.join(found))}; {_NEW}")
        return True

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What keeps a database from working at all, said with what to do. Other errors pass: they are bugs."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            kind, advice = _ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, (None, ""))
            if kind is None:
                raise
            raise kind(f"{self._path}: {error}; {advice}") from error

    def close(self) -> None:
        self._reader.close()
        self._connection.close()
