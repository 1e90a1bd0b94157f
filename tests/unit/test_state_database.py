"""The database when its file or its disk lets it down: said clearly, and no transaction stays open."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ionian.errors import FailedPrecondition, IonianError, ResourceExhausted
from ionian.state.database import Row, SqliteDatabase, Tx
from ionian.state.migrate import migrate
from tests.disk import files_up_to


def _put(tx: Tx, size: int) -> None:
    tx.execute("INSERT INTO things (data) VALUES (?)", b"x" * size)


def _count(tx: Tx) -> Row:
    row = tx.one("SELECT COUNT(*) AS n FROM things")
    assert row is not None
    return row


async def _with_things(path: Path) -> SqliteDatabase:
    database = SqliteDatabase(path)
    await database.write(lambda tx: tx.execute("CREATE TABLE things (data BLOB)"))
    await database.write(_put, 10)
    return database


@pytest.mark.parametrize("size", [1_000_000, 50_000_000])  # fails in its commit, and (over the cache) in the statement
async def test_a_full_disk_fails_one_write_and_not_the_next(tmp_path: Path, size: int) -> None:
    database = await _with_things(tmp_path / "test.db")
    with files_up_to(200_000), pytest.raises(ResourceExhausted, match=r"test\.db: .*disk"):
        await database.write(_put, size)
    await database.write(_put, size)
    assert await database.read(_count) == {"n": 2}
    database.close()


async def test_an_error_of_the_function_is_its_own_and_nothing_is_written(tmp_path: Path) -> None:
    database = await _with_things(tmp_path / "test.db")

    def put_and_fail(tx: Tx) -> None:
        _put(tx, 1)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await database.write(put_and_fail)
    with pytest.raises(sqlite3.OperationalError, match="nothing"):
        await database.write(lambda tx: tx.execute("SELECT * FROM nothing"))
    assert await database.read(_count) == {"n": 1}
    database.close()


@pytest.mark.parametrize("damage", ["cut", "overwritten", "directory"])
async def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "test.db"
    database = SqliteDatabase(path)
    await migrate(database)
    database.close()
    if damage == "cut":
        with open(path, "r+b") as file:
            file.truncate(path.stat().st_size // 2)
    elif damage == "overwritten":
        path.write_bytes(b"\xff" * 100_000)
    else:
        path.unlink()
        path.mkdir()

    async def start() -> None:
        opened = SqliteDatabase(path)
        try:
            await migrate(opened)
        finally:
            opened.close()

    with pytest.raises(FailedPrecondition, match=r"test\.db: .*(move it away to begin anew|read and write)") as caught:
        await start()
    assert isinstance(caught.value, IonianError)
