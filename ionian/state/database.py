"""SEAM Database: runs plain functions of a transaction, all or nothing. Implementation here: SQLite in WAL mode.

State functions take a ``Tx`` first and are ordinary synchronous code: ``def create_app(tx, name, ...)``.
``await database.write(create_app, ...)`` runs one atomically and returns after the commit.
SQL stays in the subset that SQLite and PostgreSQL share: ``?`` placeholders, TEXT, BIGINT, DOUBLE PRECISION, BYTEA/BLOB
written as BLOB, ``INSERT .. ON CONFLICT .. DO UPDATE``, ``RETURNING``; no rowid, INSERT OR REPLACE or PRAGMA elsewhere.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from ionian.errors import FailedPrecondition, IonianError, ResourceExhausted, Unavailable

P = ParamSpec("P")
T = TypeVar("T")
Row = dict[str, Any]


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


class SqliteDatabase:
    """One connection, used from one event loop. A commit in WAL mode costs about 0.01 ms with NORMAL."""

    def __init__(self, path: Path, synchronous: str = "NORMAL") -> None:
        if synchronous not in ("NORMAL", "FULL"):
            raise IonianError(f"synchronous must be NORMAL or FULL, not {synchronous!r}")
        self._path = path
        with self._explained():
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.row_factory = _as_dict
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute(f"PRAGMA synchronous={synchronous}")
            self._connection.execute("PRAGMA foreign_keys=ON")
            self._connection.execute("PRAGMA busy_timeout=5000")
        self._tx = _SqliteTx(self._connection)

    async def write(self, function: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                result = function(self._tx, *args, **kwargs)
                self._connection.execute("COMMIT")
            finally:
                self._end()
        return result

    async def read(self, function: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._explained():
            self._connection.execute("BEGIN")
            try:
                return function(self._tx, *args, **kwargs)
            finally:
                self._end()

    def _end(self) -> None:
        """Leave no transaction open: a full disk may have ended it already, or have stopped it in its commit."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

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
        self._connection.close()
