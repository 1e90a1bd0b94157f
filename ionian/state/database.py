"""SEAM Database: runs plain functions of a transaction, all or nothing. Implementation here: SQLite in WAL mode.

State functions take a ``Tx`` first and are ordinary synchronous code: ``def create_app(tx, name, ...)``.
``await database.write(create_app, ...)`` runs one atomically and returns after the commit.
SQL stays in the subset that SQLite and PostgreSQL share: ``?`` placeholders, TEXT, BIGINT, DOUBLE PRECISION, BYTEA/BLOB
written as BLOB, ``INSERT .. ON CONFLICT .. DO UPDATE``, ``RETURNING``; no rowid, INSERT OR REPLACE or PRAGMA elsewhere.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from ionian.errors import IonianError

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


def _as_dict(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> Row:
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}


class SqliteDatabase:
    """One connection, used from one event loop. A commit in WAL mode costs about 0.01 ms with NORMAL."""

    def __init__(self, path: Path, synchronous: str = "NORMAL") -> None:
        if synchronous not in ("NORMAL", "FULL"):
            raise IonianError(f"synchronous must be NORMAL or FULL, not {synchronous!r}")
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = _as_dict
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute(f"PRAGMA synchronous={synchronous}")
        self._connection.execute("PRAGMA foreign_keys=ON")
        self._connection.execute("PRAGMA busy_timeout=5000")
        self._tx = _SqliteTx(self._connection)

    async def write(self, function: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            result = function(self._tx, *args, **kwargs)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        return result

    async def read(self, function: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._connection.execute("BEGIN")
        try:
            return function(self._tx, *args, **kwargs)
        finally:
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()
