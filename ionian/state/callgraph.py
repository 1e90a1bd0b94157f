"""Which calls were made by inputs of which: the tree that a call is part of, from its root down. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ionian.state import calls
from ionian.state.database import Row, Tx

DEEPEST = 10_000  # calls between one and its root that are climbed
_GROUP = 200  # ids in one statement


@dataclass(frozen=True, slots=True)
class Graph:
    """``calls`` from the root down, ``inputs`` with ``status`` (0: open) and container. ``truncated``: not all."""

    calls: list[Row]
    inputs: list[Row]
    truncated: bool


def root(tx: Tx, call_id: str) -> Row:
    """The call at the top of a call's tree, or where its history has expired. Raises NotFound for an unknown call."""
    row = calls.get(tx, call_id)
    for _ in range(DEEPEST):
        parent = tx.one("SELECT call_id FROM inputs WHERE input_id = ?", row["parent_input_id"])
        if parent is None:
            break
        row = calls.get(tx, parent["call_id"])
    return row


def tree(tx: Tx, call_id: str, limit: int) -> Graph:
    """The tree of the call, level by level, at most ``limit`` inputs of it."""
    top = root(tx, call_id)
    level: list[Row] = [{**top, "parent_input_id": ""}]
    known: list[Row] = []
    inputs: list[Row] = []
    while level and len(inputs) <= limit:
        known += level
        found = list(_inputs(tx, [row["call_id"] for row in level], limit + 1 - len(inputs)))
        inputs += found
        level = list(_children(tx, [row["input_id"] for row in found]))
    kept = inputs[:limit]
    ids = {row["call_id"] for row in kept}
    return Graph([row for row in known if row["call_id"] in ids], kept, len(inputs) > limit)


def _inputs(tx: Tx, call_ids: Sequence[str], limit: int) -> Iterator[Row]:
    for group in _groups(call_ids):
        rows = tx.all(
            "SELECT inputs.input_id, inputs.call_id, inputs.method, COALESCE(outputs.status, 0) AS status, "
            "COALESCE(NULLIF(outputs.container_id, ''), inputs.container_id) AS container_id "
            "FROM inputs LEFT JOIN outputs ON outputs.input_id = inputs.input_id "
            f"WHERE inputs.call_id IN ({_marks(group)}) ORDER BY inputs.created_at, inputs.position LIMIT ?",
            *group,
            limit,
        )
        yield from rows
        limit -= len(rows)
        if limit <= 0:
            return


def _children(tx: Tx, input_ids: Sequence[str]) -> Iterator[Row]:
    for group in _groups(input_ids):
        yield from tx.all(
            f"SELECT * FROM calls WHERE parent_input_id IN ({_marks(group)}) AND parent_input_id <> '' "
            "ORDER BY created_at",
            *group,
        )


def _groups(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _GROUP] for start in range(0, len(ids), _GROUP))


def _marks(group: Iterable[str]) -> str:
    return ", ".join("?" for _ in group)
