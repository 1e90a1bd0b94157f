"""Environments: namespaces of apps, secrets, dicts and queues within the workspace. ``main`` always exists.

One that is deleted gives its name free: its row stays, for what has ended in it, under a name that nobody can give.
"""

from __future__ import annotations

import re

from ionian.errors import AlreadyExists, FailedPrecondition, InvalidRequest, NotFound
from ionian.model import new_id
from ionian.state.database import Row, Tx
from ionian.state.labels import LONGEST_SUFFIX, MAIN, slug, suffix

# Every table whose rows lie in an environment, which they name in a column of that name.
TABLES = ("apps", "mount_names", "secrets", "data_objects")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def get(tx: Tx, name: str, now: float) -> Row:
    """The environment of this name (empty: ``main``). Raises NotFound."""
    name = name or MAIN
    row = tx.one("SELECT * FROM environments WHERE name = ? AND deleted_at = 0", name)
    if row is None and name == MAIN:
        return create(tx, name, now)
    if row is None:
        raise NotFound(f"environment {name!r} not found; create it with: modal environment create {name}")
    return row


def create(tx: Tx, name: str, now: float) -> Row:
    """A new environment. Raises AlreadyExists, also when its web suffix would be another one's."""
    _check_name(tx, name)
    if name != MAIN:
        get(tx, MAIN, now)  # it has the address without a suffix, also when nobody has looked at it yet
    _check_suffix(tx, "", suffix(name))
    row = {"environment_id": new_id("en"), "name": name, "web_suffix": suffix(name), "created_at": now}
    _insert(tx, row)
    return {**row, "deleted_at": 0.0}


def _insert(tx: Tx, row: Row) -> None:
    tx.execute(
        "INSERT INTO environments (environment_id, name, web_suffix, created_at, deleted_at) VALUES (?, ?, ?, ?, 0)",
        row["environment_id"],
        row["name"],
        row["web_suffix"],
        row["created_at"],
    )


def _check_name(tx: Tx, name: str) -> None:
    if not _NAME.fullmatch(name) or not slug(name):
        raise InvalidRequest(
            f"environment name {name!r} must have letters, digits, '.', '-' or '_', at least one of the first two, "
            "and no more than 64 of them"
        )
    if any(row["name"] == name for row in every(tx)):
        raise AlreadyExists(f"environment {name!r} exists already")


def _check_suffix(tx: Tx, name: str, wanted: str) -> None:
    if len(wanted) > LONGEST_SUFFIX:
        raise InvalidRequest(f"web suffix {wanted!r} has {len(wanted)} characters; the limit is {LONGEST_SUFFIX}")
    for row in every(tx):
        if row["name"] != name and row["web_suffix"] == wanted:
            shown = f"web suffix {wanted!r}" if wanted else "no web suffix"
            raise AlreadyExists(
                f"environment {row['name']!r} exists already with {shown}: their addresses would be one"
            )


def every(tx: Tx) -> list[Row]:
    return tx.all("SELECT * FROM environments WHERE deleted_at = 0 ORDER BY created_at, name")


def rename(tx: Tx, name: str, new_name: str, now: float) -> None:
    """Give an environment another name; all that lies in it comes along, its web suffix stays."""
    row = get(tx, name, now)
    if name == new_name:
        return
    if name == MAIN:
        raise FailedPrecondition(
            f"environment {MAIN!r} is the default and keeps its name; create another one beside it"
        )
    _check_name(tx, new_name)
    _move(tx, row, new_name)


def _move(tx: Tx, row: Row, new_name: str) -> None:
    """Rows that refer to the name must always find one: so there are two environments for a moment."""
    _insert(tx, {**row, "environment_id": new_id("en"), "name": new_name})
    for table in TABLES:
        tx.execute(f"UPDATE {table} SET environment = ? WHERE environment = ?", new_name, row["name"])
    tx.execute("DELETE FROM environments WHERE name = ?", row["name"])
    tx.execute("UPDATE environments SET environment_id = ? WHERE name = ?", row["environment_id"], new_name)


def set_suffix(tx: Tx, name: str, wanted: str, now: float) -> None:
    """Another web suffix (empty: none). The addresses must be claimed anew: see ``functions.claim_labels``."""
    row, _ = get(tx, name, now), get(tx, MAIN, now)
    _check_suffix(tx, row["name"], slug(wanted))
    tx.execute("UPDATE environments SET web_suffix = ? WHERE name = ?", slug(wanted), row["name"])


def bury(tx: Tx, name: str, now: float) -> None:
    """The environment is gone; what is left in it has ended. Raises FailedPrecondition for the default one."""
    row = get(tx, name, now)
    if row["name"] == MAIN:
        raise FailedPrecondition(f"environment {MAIN!r} is the default and cannot be deleted")
    tomb = f"{row['name']}#{row['environment_id']}"
    _move(tx, row, tomb)
    tx.execute("UPDATE environments SET deleted_at = ?, web_suffix = ? WHERE name = ?", now, tomb, tomb)
