"""A token is asked for once; wrong, deleted and unknown ones are never taken for right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ionian.api import known
from ionian.api.known import KnownTokens
from ionian.state import tokens
from ionian.state.database import SqliteDatabase
from ionian.state.migrate import migrate


class Counted(SqliteDatabase):
    reads = 0

    async def read(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        self.reads += 1
        return await super().read(function, *args, **kwargs)


@pytest.fixture
async def database(tmp_path: Path) -> Any:
    made = Counted(tmp_path / "tokens.db")
    await migrate(made)
    await made.write(tokens.ensure, "ak-1", "right", "one", 1.0)
    made.reads = 0
    yield made
    made.close()


async def test_a_right_token_is_read_once(database: Counted) -> None:
    found = KnownTokens()
    assert [await found.right(database, "ak-1", "right") for _ in range(5)] == [True] * 5
    assert database.reads == 1


async def test_a_wrong_secret_is_refused_before_and_after_the_right_one_is_known(database: Counted) -> None:
    found = KnownTokens()
    assert not await found.right(database, "ak-1", "wrong")
    assert await found.right(database, "ak-1", "right")
    assert not await found.right(database, "ak-1", "wrong")
    assert not await found.right(database, "ak-1", "")


async def test_an_unknown_token_is_refused_and_good_once_it_exists(database: Counted) -> None:
    found = KnownTokens()
    assert not await found.right(database, "ak-2", "later")
    assert not await found.right(database, "", "")
    await database.write(tokens.ensure, "ak-2", "later", "two", 2.0)
    assert await found.right(database, "ak-2", "later")


async def test_a_deleted_token_is_refused_even_if_it_was_shown_while_it_was_being_deleted(database: Counted) -> None:
    found = KnownTokens()
    assert await found.right(database, "ak-1", "right")
    found.doubt("ak-1")
    assert await found.right(database, "ak-1", "right")  # its row is still there, and it must not be kept
    await database.write(tokens.delete, "ak-1")
    assert not await found.right(database, "ak-1", "right")


async def test_it_keeps_no_more_than_it_may(database: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MOST", 2)
    found = KnownTokens()
    for name in ("ak-1", "ak-2", "ak-3"):
        await database.write(tokens.ensure, name, "right", name, 1.0)
        assert await found.right(database, name, "right")
    database.reads = 0
    assert await found.right(database, "ak-3", "right")
    assert database.reads == 0
    assert await found.right(database, "ak-1", "right")
    assert database.reads == 1
