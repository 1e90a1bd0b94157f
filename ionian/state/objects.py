"""Dicts and queues as objects: named ones stay, ephemeral ones end with their client. Contents hang on ``store``."""

from __future__ import annotations

import secrets

from ionian.errors import AlreadyExists, NotFound
from ionian.model import new_id
from ionian.state.database import Row, Tx

DICT, QUEUE = "dict", "queue"
_PREFIXES = {DICT: "di", QUEUE: "qu"}
_SWEPT_AT_ONCE = 1000  # rows removed in one transaction


def number() -> int:
    """A fresh number for contents."""
    return secrets.randbits(62)


def get(tx: Tx, kind: str, object_id: str) -> Row:
    """Raises NotFound."""
    row = tx.one("SELECT * FROM data_objects WHERE object_id = ? AND kind = ?", object_id, kind)
    if row is None:
        raise NotFound(f"{kind} {object_id} does not exist (any more)")
    return row


def store(tx: Tx, kind: str, object_id: str) -> int:
    """The number on which the contents hang now. Raises NotFound."""
    row = tx.one("SELECT store FROM data_objects WHERE object_id = ? AND kind = ?", object_id, kind)
    if row is None:
        raise NotFound(f"{kind} {object_id} does not exist (any more)")
    return int(row["store"])


def environment(tx: Tx, object_id: str) -> str:
    """The environment of a dict or queue. Raises NotFound."""
    row = tx.one("SELECT environment FROM data_objects WHERE object_id = ?", object_id)
    if row is None:
        raise NotFound(f"{object_id} does not exist (any more)")
    return str(row["environment"])


def named(tx: Tx, kind: str, environment: str, name: str) -> Row | None:
    return tx.one("SELECT * FROM data_objects WHERE kind = ? AND environment = ? AND name = ?", kind, environment, name)


def create(tx: Tx, kind: str, environment: str, name: str, by: str, now: float) -> Row:
    """A new object; an empty name makes an ephemeral one. Raises AlreadyExists."""
    if name and named(tx, kind, environment, name):
        raise AlreadyExists(f"{kind} {name!r} exists already in environment {environment!r}")
    row = {
        "object_id": new_id(_PREFIXES[kind]),
        "kind": kind,
        "environment": environment,
        "name": name,
        "store": number(),
        "created_at": now,
        "created_by": by,
        "seen_at": now,
    }
    columns = ", ".join(row)
    tx.execute(f"INSERT INTO data_objects ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *row.values())
    return row


def listing(tx: Tx, kind: str, environment: str, before: float, limit: int) -> list[Row]:
    """Named objects made before a time, newest first."""
    return tx.all(
        "SELECT * FROM data_objects WHERE kind = ? AND environment = ? AND name <> '' AND created_at < ? "
        "ORDER BY created_at DESC, object_id LIMIT ?",
        kind,
        environment,
        before,
        limit,
    )


def of_environment(tx: Tx, environment: str) -> list[tuple[str, str]]:
    """Kind and id of everything in an environment, also what has no name."""
    rows = tx.all("SELECT kind, object_id FROM data_objects WHERE environment = ?", environment)
    return [(row["kind"], row["object_id"]) for row in rows]


def heard(tx: Tx, kind: str, object_id: str, now: float) -> None:
    """The client of an ephemeral object is alive. Raises NotFound."""
    if not tx.execute("UPDATE data_objects SET seen_at = ? WHERE object_id = ? AND kind = ?", now, object_id, kind):
        raise NotFound(f"{kind} {object_id} does not exist (any more): its client was not heard of for too long")


def all_heard(tx: Tx, now: float) -> None:
    """The server has not listened until now: every client may have been alive meanwhile."""
    tx.execute("UPDATE data_objects SET seen_at = ? WHERE name = ''", now)


def move_heartbeats(tx: Tx, by: float) -> None:
    """The clock was moved by so many seconds."""
    tx.execute("UPDATE data_objects SET seen_at = seen_at + ? WHERE name = ''", by)


def lost(tx: Tx, before: float) -> list[str]:
    """Ephemeral objects whose clients were last heard before a time."""
    rows = tx.all("SELECT object_id FROM data_objects WHERE name = '' AND seen_at < ?", before)
    return [row["object_id"] for row in rows]


def delete(tx: Tx, kind: str, object_id: str) -> None:
    """Remove an object and, in time, what it holds. Raises NotFound."""
    drop(tx, store(tx, kind, object_id))
    tx.execute("DELETE FROM data_objects WHERE object_id = ?", object_id)


def clear(tx: Tx, kind: str, object_id: str) -> None:
    """Empty an object at once, however much it holds. Raises NotFound."""
    drop(tx, store(tx, kind, object_id))
    tx.execute("UPDATE data_objects SET store = ? WHERE object_id = ?", number(), object_id)


def drop(tx: Tx, store: int) -> None:
    """What hangs on this number cannot be reached any more."""
    tx.execute("INSERT INTO dropped_stores (number) VALUES (?)", store)


def sweep(tx: Tx, now: float) -> bool:
    """Remove a piece of what cannot be reached. Returns whether there is more."""
    row = tx.one("SELECT number FROM dropped_stores LIMIT 1")
    if row is None:
        return False
    store, limit = row["number"], _SWEPT_AT_ONCE
    tx.execute(
        "INSERT INTO loose_values (blob, since) SELECT blob, ? FROM dict_entries WHERE store = ? AND blob <> '' "
        "AND key IN (SELECT key FROM dict_entries WHERE store = ? ORDER BY key LIMIT ?)",
        now,
        store,
        store,
        limit,
    )
    gone = tx.execute(
        "DELETE FROM dict_entries WHERE store = ? "
        "AND key IN (SELECT key FROM dict_entries WHERE store = ? ORDER BY key LIMIT ?)",
        store,
        store,
        limit,
    )
    gone += tx.execute(
        "DELETE FROM queue_items WHERE partition = ? "
        "AND position IN (SELECT position FROM queue_items WHERE partition = ? ORDER BY position LIMIT ?)",
        store,
        store,
        limit,
    )
    partitions = tx.all("SELECT key, partition FROM queue_partitions WHERE store = ? LIMIT ?", store, limit)
    for partition in partitions:
        drop(tx, partition["partition"])
        tx.execute("DELETE FROM queue_partitions WHERE store = ? AND key = ?", store, partition["key"])
    if not gone and not partitions:
        tx.execute("DELETE FROM dropped_stores WHERE number = ?", store)
    return True
