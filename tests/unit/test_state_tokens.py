"""Tokens: only the right secret passes, and no secret is kept."""

from __future__ import annotations

from pathlib import Path

from ionian.state import tokens
from tests.unit.state_tables import open_tables


async def test_only_the_right_pair_passes(tmp_path: Path) -> None:
    database = open_tables(tmp_path)
    await database.write(tokens.ensure, "ak-1", "as-1", "first", 1.0)
    await database.write(tokens.ensure, "ak-2", "as-2", "second", 1.0)
    for token_id, secret, right in [
        ("ak-1", "as-1", True),
        ("ak-1", "as-2", False),
        ("ak-1", "", False),
        ("", "", False),
        ("ak-3", "as-1", False),
    ]:
        assert (await database.read(tokens.check, token_id, secret) is not None) is right
    await database.write(tokens.ensure, "ak-1", "as-new", "first", 2.0)
    assert await database.read(tokens.check, "ak-1", "as-1") is None
    await database.write(tokens.replace_first, "ak-4", "as-4", 3.0)
    assert await database.read(tokens.check, "ak-1", "as-new") is None
    for token_id, secret in [("ak-2", "as-2"), ("ak-4", "as-4")]:
        assert await database.read(tokens.check, token_id, secret) is not None
    database.close()
    assert b"as-2" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
