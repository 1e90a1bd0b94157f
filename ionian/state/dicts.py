"""Entries of dicts. A key is bytes as the client made them; an entry that was not used for its time is not there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ionian.state import objects
from ionian.state.database import Row, Tx

TOUCHED = 24  # a read moves the time of an entry when this part of its life is over: reads are no writes


@dataclass(frozen=True, slots=True)
class Entry:
    """A value is here or, when large, in a file named by ``blob``."""

    key: bytes
    value: bytes = field(default=b"", repr=False)
    blob: str = ""


def get(tx: Tx, dict_id: str, key: bytes, since: float) -> Row | None:
    """An entry used after ``since``. Raises NotFound for a dict that does not exist."""
    return tx.one(
        "SELECT store, used_at, blob, value FROM dict_entries WHERE store = ? AND key = ? AND used_at > ?",
        objects.store(tx, objects.DICT, dict_id),
        key,
        since,
    )


def has(tx: Tx, dict_id: str, key: bytes, since: float) -> float:
    """When this entry was used last; 0 when it is not there. Raises NotFound."""
    row = tx.one(
        "SELECT used_at FROM dict_entries WHERE store = ? AND key = ? AND used_at > ?",
        objects.store(tx, objects.DICT, dict_id),
        key,
        since,
    )
    return float(row["used_at"]) if row else 0.0


def touch(tx: Tx, dict_id: str, key: bytes, now: float) -> None:
    """This entry was used."""
    store = objects.store(tx, objects.DICT, dict_id)
    tx.execute("UPDATE dict_entries SET used_at = ? WHERE store = ? AND key = ?", now, store, key)


def put(
    tx: Tx, dict_id: str, entries: Iterable[Entry], absent: bool, since: float, now: float
) -> tuple[int, list[str]]:
    """Add or replace entries; with ``absent`` only those that are not there. All or none.

    Returns how many were written, and the files of replaced values, which are loose now. Raises NotFound.
    """
    store, position, written = objects.store(tx, objects.DICT, dict_id), int(now * 1e6), 0
    loose: list[str] = []
    for number, entry in enumerate(entries):
        old = tx.one("SELECT used_at, position, blob FROM dict_entries WHERE store = ? AND key = ?", store, entry.key)
        alive = old is not None and old["used_at"] > since
        if absent and alive:
            continue
        if old is not None and old["blob"]:
            loose.append(old["blob"])
        tx.execute(
            "INSERT INTO dict_entries (store, key, position, used_at, blob, value) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (store, key) DO UPDATE SET position = excluded.position, used_at = excluded.used_at, "
            "blob = excluded.blob, value = excluded.value",
            store,
            entry.key,
            old["position"] if old is not None and alive else position + number,
            now,
            entry.blob,
            entry.value,
        )
        if entry.blob:
            tx.execute("DELETE FROM loose_values WHERE blob = ?", entry.blob)
        written += 1
    for blob in loose:
        loosen(tx, blob, now)
    return written, loose


def pop(tx: Tx, dict_id: str, key: bytes, since: float, now: float) -> Row | None:
    """Remove an entry and return it. Its file, if it has one, is loose. Raises NotFound."""
    row = get(tx, dict_id, key, since)
    if row is not None:
        tx.execute("DELETE FROM dict_entries WHERE store = ? AND key = ?", row["store"], key)
        if row["blob"]:
            loosen(tx, row["blob"], now)
    return row


def length(tx: Tx, dict_id: str, since: float) -> int:
    """Raises NotFound."""
    store = objects.store(tx, objects.DICT, dict_id)
    row = tx.one("SELECT COUNT(*) AS found FROM dict_entries WHERE store = ? AND used_at > ?", store, since)
    return int(row["found"]) if row else 0


def keys(tx: Tx, dict_id: str, since: float) -> list[bytes]:
    """Every key, in the order in which they were added. Raises NotFound."""
    store = objects.store(tx, objects.DICT, dict_id)
    rows = tx.all("SELECT key FROM dict_entries WHERE store = ? AND used_at > ? ORDER BY position, key", store, since)
    return [row["key"] for row in rows]


def values(tx: Tx, dict_id: str, wanted: Sequence[bytes]) -> list[Entry]:
    """Those of these entries that are still there, in this order. Raises NotFound."""
    store = objects.store(tx, objects.DICT, dict_id)
    rows = [tx.one("SELECT key, blob, value FROM dict_entries WHERE store = ? AND key = ?", store, k) for k in wanted]
    return [Entry(row["key"], row["value"], row["blob"]) for row in rows if row is not None]


def loosen(tx: Tx, blob: str, now: float) -> None:
    """No entry names this file (yet, or any more)."""
    tx.execute(
        "INSERT INTO loose_values (blob, since) VALUES (?, ?) ON CONFLICT (blob) DO UPDATE SET since = excluded.since",
        blob,
        now,
    )


def loose(tx: Tx, before: float, limit: int = 100) -> list[str]:
    """Files that have been loose since before a time."""
    return [row["blob"] for row in tx.all("SELECT blob FROM loose_values WHERE since < ? LIMIT ?", before, limit)]


def removed(tx: Tx, blobs: Iterable[str]) -> None:
    """These files are gone."""
    tx.many("DELETE FROM loose_values WHERE blob = ?", [(blob,) for blob in blobs])


def expire(tx: Tx, since: float, now: float, limit: int = 1000) -> bool:
    """Remove a piece of the entries that were last used before a time. Returns whether there is more."""
    old = tx.all("SELECT store, key, blob FROM dict_entries WHERE used_at <= ? LIMIT ?", since, limit)
    for row in old:
        if row["blob"]:
            loosen(tx, row["blob"], now)
    tx.many("DELETE FROM dict_entries WHERE store = ? AND key = ?", [(row["store"], row["key"]) for row in old])
    return len(old) == limit
