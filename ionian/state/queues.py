"""Items of queues: each partition is first in, first out, without a gap between ``head`` and ``tail``.

Positions only grow, also in a partition that was cleared or has expired: an iterator that knows one stays right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ionian.errors import ResourceExhausted
from ionian.state import answers, objects
from ionian.state.database import Row, Tx


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one queue."""

    partitions: int
    items: int  # of a partition
    bytes: int  # of a partition


@dataclass(frozen=True, slots=True)
class Given:
    """Items that were taken for one request. ``partition`` tells whether a cleared one is another one since."""

    values: tuple[bytes, ...]
    partition: int = 0


NOTHING = Given(())


def _partition(tx: Tx, store: int, key: bytes, now: float) -> Row | None:
    """A partition that has not expired."""
    return tx.one("SELECT * FROM queue_partitions WHERE store = ? AND key = ? AND expires_at > ?", store, key, now)


def put(
    tx: Tx,
    queue_id: str,
    key: bytes,
    values: Sequence[bytes],
    ttl_s: float,
    limits: Limits,
    request_key: str,
    now: float,
) -> None:
    """Add items at the end, all or none. Raises NotFound; ResourceExhausted when the queue is full."""
    store = objects.store(tx, objects.QUEUE, queue_id)
    row = _partition(tx, store, key, now) or _begin(tx, store, key, limits, now)
    size = row["bytes"] + sum(map(len, values))
    if row["tail"] - row["head"] + len(values) > limits.items:
        raise ResourceExhausted(
            f"the queue partition is full: it may hold {limits.items} items (queue_partition_items)"
        )
    if size > limits.bytes:
        raise ResourceExhausted(
            f"the queue partition is full: it may hold {limits.bytes} bytes (queue_partition_bytes)"
        )
    tail, partition = row["tail"], row["partition"]
    tx.many(
        "INSERT INTO queue_items (partition, position, value) VALUES (?, ?, ?)",
        [(partition, tail + number, value) for number, value in enumerate(values)],
    )
    tx.execute(
        "UPDATE queue_partitions SET tail = ?, bytes = ?, expires_at = ? WHERE store = ? AND key = ?",
        tail + len(values),
        size,
        now + ttl_s,
        store,
        key,
    )
    answers.remember(tx, request_key, (b"",), now)


def _begin(tx: Tx, store: int, key: bytes, limits: Limits, now: float) -> Row:
    """A new partition, in place of one that has expired."""
    old = tx.one("SELECT * FROM queue_partitions WHERE store = ? AND key = ?", store, key)
    first = int(now * 1e6)
    if old is not None:
        _end(tx, old)
        first = max(first, old["tail"])
    elif _count(tx, store) >= limits.partitions and not _drop_unused(tx, store, now):
        raise ResourceExhausted(f"the queue has {limits.partitions} partitions already, its limit (queue_partitions)")
    row = {"store": store, "key": key, "partition": objects.number(), "head": first, "tail": first, "bytes": 0}
    tx.execute(
        "INSERT INTO queue_partitions (store, key, partition, head, tail, bytes, expires_at) "
        "VALUES (?, ?, ?, ?, ?, ?, 0)",
        *row.values(),
    )
    return row


def _count(tx: Tx, store: int) -> int:
    row = tx.one("SELECT COUNT(*) AS found FROM queue_partitions WHERE store = ?", store)
    return int(row["found"]) if row else 0


def _drop_unused(tx: Tx, store: int, now: float) -> int:
    """Make room: partitions that are empty or have expired."""
    old = tx.all("SELECT * FROM queue_partitions WHERE store = ? AND (head = tail OR expires_at <= ?)", store, now)
    for row in old:
        _end(tx, row)
    return len(old)


def _end(tx: Tx, row: Row) -> None:
    if row["head"] != row["tail"]:
        objects.drop(tx, row["partition"])
    tx.execute("DELETE FROM queue_partitions WHERE store = ? AND key = ?", row["store"], row["key"])


def take(tx: Tx, queue_id: str, key: bytes, wanted: Iterable[tuple[str, int]], now: float) -> list[Given]:
    """Remove items from the front for requests (key and how many) in their order, until there are none.

    An answer for each of the first requests; none for the others. Raises NotFound.
    """
    row = _partition(tx, objects.store(tx, objects.QUEUE, queue_id), key, now)
    if row is None or row["head"] == row["tail"]:
        return []
    given: list[Given] = []
    asking, head, size, partition = iter(wanted), row["head"], row["bytes"], row["partition"]
    while head < row["tail"] and (asked := next(asking, None)) is not None:
        request_key, count = asked
        end = min(row["tail"], head + count)
        found = tx.all(
            "SELECT value FROM queue_items WHERE partition = ? AND position >= ? AND position < ? ORDER BY position",
            partition,
            head,
            end,
        )
        values = tuple(item["value"] for item in found)
        answers.remember(tx, request_key, values, now)
        given.append(Given(values, partition))
        size -= sum(map(len, values))
        head = end
    tx.execute(
        "DELETE FROM queue_items WHERE partition = ? AND position >= ? AND position < ?", partition, row["head"], head
    )
    tx.execute(
        "UPDATE queue_partitions SET head = ?, bytes = ? WHERE store = ? AND key = ?", head, size, row["store"], key
    )
    return given


def put_back(tx: Tx, queue_id: str, key: bytes, given: Given, request_key: str, now: float) -> bool:
    """Return items to the front that were taken for somebody who has gone before they were sent.

    False: the same request has them, or there is nothing to return them to.
    """
    row = _partition(tx, objects.store(tx, objects.QUEUE, queue_id), key, now)
    if not answers.retract(tx, request_key, now) or row is None or row["partition"] != given.partition:
        return False
    head = row["head"] - len(given.values)
    tx.many(
        "INSERT INTO queue_items (partition, position, value) VALUES (?, ?, ?)",
        [(given.partition, head + number, value) for number, value in enumerate(given.values)],
    )
    tx.execute(
        "UPDATE queue_partitions SET head = ?, bytes = bytes + ? WHERE store = ? AND key = ?",
        head,
        sum(map(len, given.values)),
        row["store"],
        key,
    )
    return True


def following(tx: Tx, queue_id: str, key: bytes, after: int, count: int, now: float) -> list[Row]:
    """Items (position, value) after a position, left where they are. Raises NotFound."""
    row = _partition(tx, objects.store(tx, objects.QUEUE, queue_id), key, now)
    if row is None:
        return []
    return tx.all(
        "SELECT position, value FROM queue_items WHERE partition = ? AND position > ? ORDER BY position LIMIT ?",
        row["partition"],
        after,
        count,
    )


def length(tx: Tx, queue_id: str, key: bytes, now: float) -> int:
    """Items of a partition. Raises NotFound."""
    row = _partition(tx, objects.store(tx, objects.QUEUE, queue_id), key, now)
    return row["tail"] - row["head"] if row else 0


def total(tx: Tx, queue_id: str, now: float) -> tuple[int, int]:
    """Partitions that hold something, and items of all of them. Raises NotFound."""
    row = tx.one(
        "SELECT COUNT(*) AS partitions, COALESCE(SUM(tail - head), 0) AS items FROM queue_partitions "
        "WHERE store = ? AND expires_at > ? AND head < tail",
        objects.store(tx, objects.QUEUE, queue_id),
        now,
    )
    return (int(row["partitions"]), int(row["items"])) if row else (0, 0)


def clear(tx: Tx, queue_id: str, key: bytes) -> None:
    """Empty one partition. Raises NotFound."""
    store = objects.store(tx, objects.QUEUE, queue_id)
    row = tx.one("SELECT * FROM queue_partitions WHERE store = ? AND key = ?", store, key)
    if row is not None and row["head"] != row["tail"]:
        objects.drop(tx, row["partition"])
        tx.execute(
            "UPDATE queue_partitions SET partition = ?, head = tail, bytes = 0 WHERE store = ? AND key = ?",
            objects.number(),
            store,
            key,
        )


def expire(tx: Tx, now: float, limit: int = 1000) -> bool:
    """End a piece of the partitions whose time is over. Returns whether there are more."""
    old = tx.all("SELECT * FROM queue_partitions WHERE expires_at <= ? LIMIT ?", now, limit)
    for row in old:
        _end(tx, row)
    return len(old) == limit
