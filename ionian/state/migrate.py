"""Brings a database to this version's schema: numbered .sql files, applied in order, each in its own transaction.

The history only grows: a file that was released is never edited. A home of a newer Ionian is refused, never touched.
"""

from __future__ import annotations

import sqlite3
from importlib import resources

from ionian.errors import FailedPrecondition
from ionian.state.database import Database, Tx


def migrations() -> list[tuple[int, str]]:
    """Every known migration as ``(version, sql)``, in order."""
    folder = resources.files("ionian.state") / "migrations"
    files = sorted((entry.name, entry) for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name.split("_")[0]), entry.read_text()) for name, entry in files]


async def migrate(database: Database) -> int:
    """Apply what is missing; returns the schema version. Raises FailedPrecondition for a home of a newer version."""
    await database.write(_prepare)
    current = await database.read(version)
    known = migrations()
    newest = known[-1][0]
    if current > newest:
        raise FailedPrecondition(
            f"this home was written by a newer Ionian (schema {current}, this one knows {newest}): "
            "upgrade Ionian, or give another --home"
        )
    for number, sql in known:
        if number > current:
            await database.write(_apply, number, sql)
    return newest


def version(tx: Tx) -> int:
    """The schema version of this database; 0 when it is empty."""
    row = tx.one("SELECT MAX(version) AS version FROM schema_versions")
    return int(row["version"] or 0) if row else 0


def _prepare(tx: Tx) -> None:
    tx.execute("CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT PRIMARY KEY)")


def _apply(tx: Tx, number: int, sql: str) -> None:
    for statement in statements(sql):
        tx.execute(statement)
    tx.execute("INSERT INTO schema_versions (version) VALUES (?)", number)


def statements(sql: str) -> list[str]:
    """The statements of a script, one by one (a transaction cannot span ``executescript``)."""
    found: list[str] = []
    pending = ""
    for line in sql.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            found.append(pending.strip())
            pending = ""
    return found
