"""Another key for the secrets of a home. Killed at any moment, it leaves every secret readable.

First both keys are in the file, then one transaction seals everything with the new one, then that is made to stay (a
loss of power takes nothing back), and only then the old key goes. A start finishes what was begun.
"""

from __future__ import annotations

from pathlib import Path

from ionian import vault
from ionian.errors import FailedPrecondition
from ionian.state import secrets
from ionian.state.database import Database, Tx


async def rotate(database: Database, key_file: Path, now: float) -> tuple[int, list[str]]:
    """How many secrets have the new key; in words those that could not be opened. Raises what is wrong with the file.

    An old key that a secret still needs is kept.
    """
    await database.write(_add_key, key_file)
    return await _finish(database, key_file, now)


async def finish(database: Database, key_file: Path, now: float) -> None:
    """Finish a rotation that was cut off; nothing to do otherwise. Raises what is wrong with the file."""
    try:
        keys = vault.load(key_file)
    except vault.KeysMissing:
        return  # told to who needs it
    if len(keys) > 1:
        await _finish(database, key_file, now)


async def _finish(database: Database, key_file: Path, now: float) -> tuple[int, list[str]]:
    done, lost = await database.write(secrets.reseal, key_file, now)
    if await database.persist():
        await database.write(secrets.drop_old_keys, key_file)
    return done, lost


def _add_key(tx: Tx, key_file: Path) -> None:
    vault.store(key_file, [*vault.load(key_file), vault.mint()])


async def begin_anew(database: Database, key_file: Path) -> list[str]:
    """A new key in place of one that is lost. In words the secrets that must be created again.

    Raises FailedPrecondition when the key is not lost.
    """
    return await database.write(_begin_anew, key_file)


def _begin_anew(tx: Tx, key_file: Path) -> list[str]:
    try:
        vault.load(key_file)
    except FailedPrecondition:
        vault.set_aside(key_file)
    else:
        raise FailedPrecondition(f"{key_file} is there and whole: leave out --lost, and nothing will be lost")
    vault.store(key_file, [vault.mint()])
    rows = tx.all("SELECT * FROM secrets WHERE sealed <> ? AND name <> '' ORDER BY created_at", b"")
    return [secrets.called(row) for row in rows]
