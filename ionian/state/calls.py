"""Calls, their inputs and outputs: the journal. An accepted input is a row before it is acknowledged; so is a result.

An input has at most one output, the first that arrives; a retry removes it and opens the input again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ionian.errors import NotFound
from ionian.model import InputRef, OutputRecord, Status, new_id
from ionian.state.database import Row, Tx


@dataclass(frozen=True, slots=True)
class NewInput:
    """One input as the client sent it. The arguments are inline or a blob (SHA-256), never both."""

    position: int
    data_format: int
    method: str = ""
    args: bytes = field(default=b"", repr=False)
    args_blob: str = ""


def create(
    tx: Tx, function_id: str, call_type: int, invocation_type: int, parent_input_id: str, request_key: str, now: float
) -> tuple[str, bool]:
    """A new call, or the one that the same request made before. Returns its id and whether it is new."""
    if request_key:
        row = tx.one("SELECT call_id FROM calls WHERE request_key = ?", request_key)
        if row:
            return str(row["call_id"]), False
    call_id = new_id("fc")
    tx.execute(
        "INSERT INTO calls (call_id, function_id, call_type, invocation_type, parent_input_id, request_key, "
        "expected_inputs, created_at) VALUES (?, ?, ?, ?, ?, ?, -1, ?)",
        call_id,
        function_id,
        call_type,
        invocation_type,
        parent_input_id,
        request_key,
        now,
    )
    return call_id, True


def get(tx: Tx, call_id: str) -> Row:
    """The call's row. Raises NotFound."""
    row = tx.one("SELECT * FROM calls WHERE call_id = ?", call_id)
    if row is None:
        raise NotFound(f"function call {call_id} not found, or its results have expired")
    return row


def accept(
    tx: Tx, call_id: str, inputs: Sequence[NewInput], now: float
) -> tuple[list[tuple[int, str]], list[InputRef]]:
    """Journal inputs. Returns position and id of each, and those to dispatch: a repeated request adds nothing."""
    function_id = get(tx, call_id)["function_id"]
    ids: list[tuple[int, str]] = []
    fresh: list[InputRef] = []
    for new in inputs:
        known = tx.one("SELECT input_id FROM inputs WHERE call_id = ? AND position = ?", call_id, new.position)
        if known:
            ids.append((new.position, known["input_id"]))
            continue
        input_id = new_id("in")
        tx.execute(
            "INSERT INTO inputs (input_id, call_id, function_id, position, method, data_format, args, args_blob, "
            "attempt, finished, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?)",
            input_id,
            call_id,
            function_id,
            new.position,
            new.method,
            new.data_format,
            new.args,
            new.args_blob,
            now,
        )
        ids.append((new.position, input_id))
        fresh.append(_ref(get_input(tx, input_id)))
    return ids, fresh


def get_input(tx: Tx, input_id: str) -> Row:
    """The input's row. Raises NotFound."""
    row = tx.one("SELECT * FROM inputs WHERE input_id = ?", input_id)
    if row is None:
        raise NotFound(f"input {input_id} not found")
    return row


def _ref(row: Row) -> InputRef:
    return InputRef(
        input_id=row["input_id"],
        call_id=row["call_id"],
        function_id=row["function_id"],
        index=row["position"],
        method=row["method"],
        data_format=row["data_format"],
        args=row["args"],
        args_blob=row["args_blob"],
        attempt=row["attempt"],
    )


def open_inputs(tx: Tx) -> list[InputRef]:
    """Every input without an output, oldest first: what a restarted server has still to do."""
    return [_ref(row) for row in tx.all("SELECT * FROM inputs WHERE finished = 0 ORDER BY created_at, position")]


def retry(tx: Tx, input_id: str, attempt: int) -> InputRef | None:
    """Open a finished input again as ``attempt``. None when it is open already (a repeated request)."""
    row = get_input(tx, input_id)
    if not row["finished"]:
        return None
    tx.execute("DELETE FROM outputs WHERE input_id = ?", input_id)
    tx.execute("UPDATE inputs SET finished = 0, attempt = ? WHERE input_id = ?", attempt, input_id)
    return _ref(get_input(tx, input_id))


def record_output(tx: Tx, record: OutputRecord) -> bool:
    """Journal how an input ended. False when it had ended before (or is unknown): the first result counts."""
    row = tx.one("SELECT * FROM inputs WHERE input_id = ? AND finished = 0", record.input_id)
    if row is None:
        return False
    last = tx.one("SELECT MAX(entry) AS entry FROM outputs WHERE call_id = ?", row["call_id"])
    tx.execute(
        "INSERT INTO outputs (input_id, call_id, entry, position, attempt, status, data_format, data, exception, "
        "traceback, serialized_tb, tb_line_cache, container_id, started_at, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        record.input_id,
        row["call_id"],
        int((last or {}).get("entry") or 0) + 1,
        row["position"],
        row["attempt"],
        record.status,
        record.data_format,
        record.data,
        record.exception,
        record.traceback,
        record.serialized_tb,
        record.tb_line_cache,
        record.container_id,
        record.started_at,
        record.created_at,
    )
    tx.execute("UPDATE inputs SET finished = 1 WHERE input_id = ?", record.input_id)
    return True


def outputs(
    tx: Tx, call_id: str, after_entry: int, limit: int, between: tuple[int, int] | None = None
) -> tuple[list[Row], int]:
    """Outputs by arrival, behind an entry and in a range of positions (inclusive); and how many inputs are open."""
    get(tx, call_id)
    sql = "SELECT * FROM outputs WHERE call_id = ? AND entry > ?"
    params: list[object] = [call_id, after_entry]
    if between is not None:
        sql += " AND position BETWEEN ? AND ?"
        params += between
    rows = tx.all(sql + " ORDER BY entry LIMIT ?", *params, limit)
    left = tx.one("SELECT COUNT(*) AS n FROM inputs WHERE call_id = ? AND finished = 0", call_id)
    return rows, int(left["n"]) if left else 0


def counts(tx: Tx, call_id: str) -> tuple[int, dict[int, int]]:
    """How many inputs of a call are open, and how many ended with each status."""
    _, left = outputs(tx, call_id, 0, 0)
    rows = tx.all("SELECT status, COUNT(*) AS n FROM outputs WHERE call_id = ? GROUP BY status", call_id)
    return left, {int(row["status"]): int(row["n"]) for row in rows}


def finish_inputs(tx: Tx, call_id: str, total: int) -> None:
    """The client sends no more inputs."""
    get(tx, call_id)
    tx.execute("UPDATE calls SET expected_inputs = ? WHERE call_id = ?", total, call_id)


def cancel(tx: Tx, call_id: str, message: str, now: float) -> list[str]:
    """End every open input of a call as terminated. Returns their ids."""
    get(tx, call_id)
    rows = tx.all("SELECT input_id FROM inputs WHERE call_id = ? AND finished = 0 ORDER BY position", call_id)
    for row in rows:
        record = OutputRecord(row["input_id"], call_id, Status.TERMINATED, 0, exception=message, created_at=now)
        record_output(tx, record)
    return [row["input_id"] for row in rows]


def cancel_app(tx: Tx, app_id: str, message: str, now: float) -> list[str]:
    """End every open call of an app. Returns the ids of the calls."""
    rows = tx.all(
        "SELECT DISTINCT inputs.call_id FROM inputs JOIN functions ON functions.function_id = inputs.function_id "
        "WHERE inputs.finished = 0 AND functions.app_id = ?",
        app_id,
    )
    for row in rows:
        cancel(tx, row["call_id"], message, now)
    return [row["call_id"] for row in rows]


def add_item(tx: Tx, call_id: str, position: int, data_format: int, data: bytes) -> None:
    """Journal one item of a generator (``position`` from 1). An item delivered twice is kept once."""
    tx.execute(
        "INSERT INTO items (call_id, position, data_format, data) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (call_id, position) DO NOTHING",
        call_id,
        position,
        data_format,
        data,
    )


def items(tx: Tx, call_id: str, after: int, limit: int) -> list[Row]:
    """Items of a generator behind a position."""
    get(tx, call_id)
    return tx.all(
        "SELECT * FROM items WHERE call_id = ? AND position > ? ORDER BY position LIMIT ?", call_id, after, limit
    )


def expire(tx: Tx, before: float, limit: int = 1000) -> int:
    """Forget finished calls made before a time (unix seconds), at most ``limit``. Returns how many."""
    rows = tx.all(
        "SELECT call_id FROM calls WHERE created_at < ? AND NOT EXISTS "
        "(SELECT 1 FROM inputs WHERE inputs.call_id = calls.call_id AND inputs.finished = 0) "
        "ORDER BY created_at LIMIT ?",
        before,
        limit,
    )
    for table in ("outputs", "items", "inputs", "calls"):
        tx.many(f"DELETE FROM {table} WHERE call_id = ?", [(row["call_id"],) for row in rows])
    return len(rows)
