"""Environments: namespaces of apps within the workspace. ``main`` always exists."""

from __future__ import annotations

from ionian.errors import AlreadyExists, InvalidRequest, NotFound
from ionian.model import new_id
from ionian.state.database import Row, Tx
from ionian.state.labels import MAIN, slug


def get(tx: Tx, name: str, now: float) -> Row:
    """The environment of this name (empty: ``main``). Raises NotFound."""
    name = name or MAIN
    row = tx.one("SELECT * FROM environments WHERE name = ?", name)
    if row is None and name == MAIN:
        return create(tx, name, now)
    if row is None:
        raise NotFound(f"environment {name!r} not found; create it with: modal environment create {name}")
    return row


def create(tx: Tx, name: str, now: float) -> Row:
    """A new environment. Raises AlreadyExists, also when its web suffix would be another one's."""
    if not slug(name):
        raise InvalidRequest(f"environment name {name!r} needs at least one letter or digit")
    for row in every(tx):
        if row["name"] == name or slug(row["name"]) == slug(name):
            raise AlreadyExists(f"environment {row['name']!r} exists already")
    environment_id = new_id("en")
    tx.execute(
        "INSERT INTO environments (environment_id, name, created_at) VALUES (?, ?, ?)", environment_id, name, now
    )
    return {"environment_id": environment_id, "name": name, "created_at": now}


def every(tx: Tx) -> list[Row]:
    return tx.all("SELECT * FROM environments ORDER BY created_at, name")
