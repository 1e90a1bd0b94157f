"""Migrations: applied in order, once; a newer home is refused; what fails leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from ionian.errors import FailedPrecondition, IonianError
from ionian.state import environments, migrate
from ionian.state.database import SqliteDatabase, Tx


async def test_a_fresh_database_gets_every_migration_and_then_none(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "x.db")
    newest = migrate.migrations()[-1][0]
    assert await migrate.migrate(database) == newest
    assert await migrate.migrate(database) == newest
    assert await database.read(migrate.version) == newest
    database.close()


async def test_migrations_are_numbered_without_a_gap() -> None:
    assert [number for number, _ in migrate.migrations()] == list(range(1, len(migrate.migrations()) + 1))


async def test_a_home_of_a_newer_version_is_refused_untouched(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "x.db")
    await migrate.migrate(database)

    def advance(tx: Tx) -> None:
        tx.execute("INSERT INTO schema_versions (version) VALUES (999)")

    await database.write(advance)
    with pytest.raises(FailedPrecondition, match="newer Ionian"):
        await migrate.migrate(database)
    assert await database.read(migrate.version) == 999
    database.close()


async def test_a_migration_that_fails_leaves_the_schema_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = SqliteDatabase(tmp_path / "x.db")
    await migrate.migrate(database)
    broken = [*migrate.migrations(), (2000, "CREATE TABLE fine (a TEXT);\nCREATE TABLE fine (a TEXT);\n")]
    monkeypatch.setattr(migrate, "migrations", lambda: broken)
    with pytest.raises(Exception, match="fine"):
        await migrate.migrate(database)
    assert await database.read(migrate.version) == broken[-2][0]
    with pytest.raises(Exception, match="no such table"):
        await database.read(lambda tx: tx.all("SELECT * FROM fine"))
    database.close()


async def test_a_write_that_raises_changes_nothing(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "x.db")
    await migrate.migrate(database)

    def half(tx: Tx) -> None:
        environments.create(tx, "half", 1.0)
        raise IonianError("no")

    with pytest.raises(IonianError):
        await database.write(half)
    assert await database.read(environments.every) == []
    database.close()
