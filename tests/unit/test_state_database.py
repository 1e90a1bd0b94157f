"""The database when its file or its disk lets it down: said clearly, and no transaction stays open."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from ionian.errors import FailedPrecondition, IonianError, ResourceExhausted
from ionian.state.database import Row, SqliteDatabase, Tx
from ionian.state.migrate import migrate
from tests.disk import files_up_to


def _put(tx: Tx, size: int) -> None:
    tx.execute("INSERT INTO things (data) VALUES (?)", b"x" * size)


def _number(tx: Tx, number: int) -> None:
    tx.execute("INSERT INTO t VALUES (?)", number)


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


async def test_any_page_that_is_overwritten_is_found_by_a_check(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    database = await _with_things(path)
    for number in range(30):
        await database.write(_put, 100 * number)
    assert database.check(60)
    database.close()
    whole = path.read_bytes()
    for page in range(1, len(whole) // 4096):
        path.write_bytes(whole[: page * 4096] + b"\xa5" * 4096 + whole[(page + 1) * 4096 :])
        opened = SqliteDatabase(path)
        with pytest.raises(FailedPrecondition, match=r"(?s)test\.db.* (damaged|malformed).*begin anew"):
            opened.check(60)
        opened.close()


async def test_a_check_ends_when_its_time_is_over(tmp_path: Path) -> None:
    database = await _with_things(tmp_path / "test.db")

    def put_many(tx: Tx) -> None:
        tx.many("INSERT INTO things (data) VALUES (?)", [(b"x",)] * 50_000)

    await database.write(put_many)
    assert not database.check(0)
    assert database.check(60)
    assert await database.read(_count) == {"n": 50_001}
    database.close()


async def test_writes_of_one_moment_share_a_commit_and_fail_alone(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "d.db")
    try:
        await database.write(lambda tx: tx.execute("CREATE TABLE t (n BIGINT PRIMARY KEY)"))
        commits: list[str] = []
        database._connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)

        def add(tx: Tx, number: int) -> int:
            tx.execute("INSERT INTO t VALUES (?)", number)
            if number == 3:
                raise ValueError("no threes")
            return number

        results = await asyncio.gather(*(database.write(add, n) for n in range(5)), return_exceptions=True)
        assert [r if isinstance(r, int) else type(r) for r in results] == [0, 1, 2, ValueError, 4]
        assert len(commits) == 1
        rows = await database.read(lambda tx: tx.all("SELECT n FROM t ORDER BY n"))
        assert [row["n"] for row in rows] == [0, 1, 2, 4]
    finally:
        database.close()


@pytest.mark.parametrize("level", ["NORMAL", "FULL"])
async def test_what_was_answered_is_in_the_file(tmp_path: Path, level: str) -> None:
    database = SqliteDatabase(tmp_path / "d.db", level)
    try:
        await database.write(lambda tx: tx.execute("CREATE TABLE t (n BIGINT PRIMARY KEY)"))
        for first in range(0, 30, 3):
            await asyncio.gather(*(database.write(_number, n) for n in range(first, first + 3)))
            with contextlib.closing(sqlite3.connect(tmp_path / "d.db")) as other:
                assert other.execute("SELECT COUNT(*) FROM t").fetchone() == (first + 3,)
    finally:
        database.close()


async def test_a_cancelled_writer_does_what_follows_its_commit_before_it_ends(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "d.db")
    followed: list[int] = []

    async def writer() -> None:
        followed.append(await database.write(lambda tx: tx.execute("INSERT INTO t VALUES (1)")))
        await asyncio.sleep(60)
        raise AssertionError("never comes here")

    try:
        await database.write(lambda tx: tx.execute("CREATE TABLE t (n BIGINT PRIMARY KEY)"))
        gone = asyncio.ensure_future(writer())
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert followed == [1]

        async def late() -> None:
            async with asyncio.timeout(0):
                await database.write(lambda tx: tx.execute("INSERT INTO t VALUES (2)"))
                await asyncio.sleep(60)

        with pytest.raises(TimeoutError):
            await late()
        rows = await database.read(lambda tx: tx.all("SELECT n FROM t ORDER BY n"))
        assert [row["n"] for row in rows] == [1, 2]
    finally:
        database.close()


async def test_the_log_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ionian.state.database._LOG_BYTES", 256 * 1024)
    monkeypatch.setattr("ionian.state.database._LOOK_EVERY", 4)
    monkeypatch.setattr("ionian.state.database._LOG_COMMITS", 8)
    database = SqliteDatabase(tmp_path / "d.db")
    try:
        await database.write(lambda tx: tx.execute("CREATE TABLE things (data BLOB)"))

        async def writer() -> None:
            for _ in range(500):
                await database.write(_put, 20_000)

        await asyncio.gather(*(writer() for _ in range(4)))  # there is always one that writes
        assert (tmp_path / "d.db-wal").stat().st_size < 25 * 1024 * 1024  # 40 MiB were written
        assert (await database.read(_count))["n"] == 2000
    finally:
        database.close()
