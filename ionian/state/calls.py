"""Calls, their inputs and outputs: the journal. An accepted input is a row before it is acknowledged; so is a result.

An input has at most one output, the first that arrives. Before it is sent to a container its row says so (the claim):
after a crash it is known which inputs may have run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ionian.errors import FailedPrecondition, NotFound
from ionian.model import InputRef, JournalEntries, Journalled, OpenInput, OutputRecord, Status, new_id_at
from ionian.state.database import Row, Tx

ANSWER_BYTES = 16 * 1024 * 1024  # of results in one answer


@dataclass(frozen=True, slots=True)
class NewInput:
    """One input as the client sent it. The arguments are inline or a blob (SHA-256), never both."""

    position: int
    data_format: int
    method: str = ""
    args: bytes = field(default=b"", repr=False)
    args_blob: str = ""


@dataclass(frozen=True, slots=True)
class NewCall:
    """A call as the client asks for it."""

    function_id: str
    call_type: int
    invocation_type: int
    parent_input_id: str = ""
    request_key: str = ""  # the same for every attempt of one request


Accepted = tuple[list[tuple[int, str]], list[OpenInput]]  # position and id of each input, and those to dispatch


def create(
    tx: Tx, new: NewCall, now: float, inputs: Sequence[NewInput] = (), container_id: str = ""
) -> tuple[str, Accepted]:
    """A new call with its first inputs, or the one that the same request made before. Returns its id and ``accept``."""
    if new.request_key:
        # The second condition is what makes the partial index usable for a parameter.
        row = tx.one("SELECT call_id FROM calls WHERE request_key = ? AND request_key <> ''", new.request_key)
        if row:
            return str(row["call_id"]), accept(tx, str(row["call_id"]), inputs, now, container_id)
    call_id = new_id_at("fc", now)
    tx.execute(
        "INSERT INTO calls (call_id, function_id, call_type, invocation_type, parent_input_id, request_key, "
        "expected_inputs, created_at, accepted) VALUES (?, ?, ?, ?, ?, ?, -1, ?, ?)",
        call_id,
        new.function_id,
        new.call_type,
        new.invocation_type,
        new.parent_input_id,
        new.request_key,
        now,
        len({given.position for given in inputs}),
    )
    return call_id, _insert(tx, call_id, new.function_id, {}, inputs, now, container_id)


def get(tx: Tx, call_id: str) -> Row:
    """The call's row. Raises NotFound."""
    row = tx.one("SELECT * FROM calls WHERE call_id = ?", call_id)
    if row is None:
        raise NotFound(f"function call {call_id} not found, or its results have expired")
    return row


def accept(tx: Tx, call_id: str, inputs: Sequence[NewInput], now: float, container_id: str = "") -> Accepted:
    """Journal more inputs. A repeated request adds nothing.

    ``container_id``: who has a slot for them already, which makes it their claim.
    """
    call = get(tx, call_id)
    if not inputs:
        return [], []
    positions = [new.position for new in inputs]
    rows = tx.all(
        "SELECT position, input_id FROM inputs WHERE call_id = ? AND position BETWEEN ? AND ?",
        call_id,
        min(positions),
        max(positions),
    )
    known = {int(row["position"]): str(row["input_id"]) for row in rows}
    ids, fresh = _insert(tx, call_id, str(call["function_id"]), known, inputs, now, container_id)
    if fresh:
        tx.execute("UPDATE calls SET accepted = accepted + ? WHERE call_id = ?", len(fresh), call_id)
    return ids, fresh


def _insert(
    tx: Tx,
    call_id: str,
    function_id: str,
    ids: dict[int, str],
    inputs: Sequence[NewInput],
    now: float,
    container_id: str,
) -> Accepted:
    """Rows for those whose position is not in ``ids``."""
    fresh: list[OpenInput] = []
    values: list[tuple[object, ...]] = []
    for new in inputs:
        if new.position not in ids:
            input_id = ids[new.position] = new_id_at("in", now)
            fresh.append(OpenInput(input_id, call_id, function_id, container_id=container_id))
            given = (new.position, new.method, new.data_format, new.args, new.args_blob)
            values.append((input_id, call_id, function_id, *given, now, container_id))
    tx.many(
        "INSERT INTO inputs (input_id, call_id, function_id, position, method, data_format, args, args_blob, "
        "attempt, finished, created_at, container_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, ?)",
        values,
    )
    return [(new.position, ids[new.position]) for new in inputs], fresh


def get_input(tx: Tx, input_id: str) -> Row:
    """The input's row. Raises NotFound."""
    row = tx.one("SELECT * FROM inputs WHERE input_id = ?", input_id)
    if row is None:
        raise NotFound(f"input {input_id} not found")
    return row


_OPEN = "input_id, call_id, function_id, attempt, crashes, not_before, container_id"


def open_inputs(tx: Tx) -> list[OpenInput]:
    """Every input without an output, oldest first: what a restarted server has still to do."""
    shared: dict[str, str] = {}  # ids that thousands of inputs have in common are kept once
    return [
        OpenInput(
            row["input_id"],
            shared.setdefault(row["call_id"], row["call_id"]),
            shared.setdefault(row["function_id"], row["function_id"]),
            row["attempt"],
            row["crashes"],
            row["not_before"],
            shared.setdefault(row["container_id"], row["container_id"]),
        )
        for row in tx.all(f"SELECT {_OPEN} FROM inputs WHERE finished = 0 ORDER BY created_at, call_id, position")
    ]


def commit(tx: Tx, entries: JournalEntries) -> Journalled:
    """Journal what dispatch has decided: outputs, what is to run again, and what is about to run where."""
    for record in entries.ends:
        record_output(tx, record)
    return Journalled(
        tuple(_again(tx, opened) for opened in entries.again),
        tuple(_claim(tx, input_id, container_id) for input_id, container_id in entries.claims),
    )


def _again(tx: Tx, opened: OpenInput) -> bool:
    changed = tx.execute(
        "UPDATE inputs SET attempt = ?, crashes = ?, not_before = ?, container_id = '' "
        "WHERE input_id = ? AND finished = 0",
        opened.attempt,
        opened.crashes,
        opened.not_before,
        opened.input_id,
    )
    return changed == 1


def _claim(tx: Tx, input_id: str, container_id: str) -> InputRef | None:
    row = tx.one(
        "UPDATE inputs SET container_id = ? WHERE input_id = ? AND finished = 0 "
        "RETURNING call_id, method, data_format, args, args_blob, attempt",
        container_id,
        input_id,
    )
    return InputRef(input_id=input_id, **row) if row else None


def reopen(tx: Tx, input_id: str) -> OpenInput | None:
    """Open an input again that this server could not run (INTERNAL_FAILURE). None when it is open already.

    Raises FailedPrecondition for one that did run: its function's ``retries`` have decided about it.
    """
    row = get_input(tx, input_id)
    if not row["finished"]:
        return None
    output = tx.one("SELECT status FROM outputs WHERE input_id = ?", input_id)
    if output is None or output["status"] != Status.INTERNAL_FAILURE:
        raise FailedPrecondition(f"input {input_id} has ended: retries= of its function decides what is tried again")
    tx.execute("DELETE FROM outputs WHERE input_id = ?", input_id)
    tx.execute("UPDATE inputs SET finished = 0, container_id = '' WHERE input_id = ?", input_id)
    tx.execute("UPDATE calls SET ended = ended - 1 WHERE call_id = ?", row["call_id"])
    return OpenInput(input_id, row["call_id"], row["function_id"], row["attempt"], row["crashes"])


def record_output(tx: Tx, record: OutputRecord) -> bool:
    """Journal how an input ended. False when it had ended before (or is unknown): the first result counts."""
    row = tx.one(
        "UPDATE inputs SET finished = 1 WHERE input_id = ? AND finished = 0 RETURNING call_id, position, attempt",
        record.input_id,
    )
    if row is None:
        return False
    call = tx.one(
        "UPDATE calls SET ended = ended + 1, entries = entries + 1, succeeded = succeeded + ?, "
        "terminated = terminated + ?, timed_out = timed_out + ? WHERE call_id = ? RETURNING entries",
        int(record.status == Status.SUCCESS),
        int(record.status == Status.TERMINATED),
        int(record.status == Status.TIMEOUT),
        row["call_id"],
    )
    assert call is not None  # a foreign key
    tx.execute(
        "INSERT INTO outputs (input_id, call_id, entry, position, attempt, status, data_format, data, exception, "
        "traceback, serialized_tb, tb_line_cache, container_id, started_at, created_at, data_blob) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        record.input_id,
        row["call_id"],
        call["entries"],
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
        record.data_blob,
    )
    return True


def outputs(
    tx: Tx, call_id: str, after_entry: int, limit: int, between: tuple[int, int] | None = None
) -> tuple[list[Row], int]:
    """Outputs by arrival, behind an entry and in a range of positions (inclusive); and how many inputs are open."""
    call = tx.one("SELECT accepted, ended FROM calls WHERE call_id = ?", call_id) or get(tx, call_id)
    sql = "SELECT * FROM outputs WHERE call_id = ? AND entry > ?"
    params: list[object] = [call_id, after_entry]
    if between is not None:
        sql += " AND position BETWEEN ? AND ?"
        params += between
    if between is None:  # a reader of many: as many as fit into one answer
        last = _fitting(
            tx.all(sql.replace("*", "entry, LENGTH(data) AS size") + " ORDER BY entry LIMIT ?", *params, limit)
        )
        sql += " AND entry <= ?"
        params.append(last)
    rows = tx.all(sql + " ORDER BY entry LIMIT ?", *params, limit)
    return rows, int(call["accepted"] - call["ended"])


def _fitting(rows: list[Row]) -> int:
    """The last entry of as many outputs as belong into one answer; always one at least. 0 without any."""
    last = total = 0
    for row in rows:
        total += row["size"]
        if last and total > ANSWER_BYTES:
            break
        last = row["entry"]
    return last


@dataclass(frozen=True, slots=True)
class Counts:
    """How far a call is: its inputs, by what became of them."""

    pending: int
    succeeded: int
    failed: int
    timed_out: int
    cancelled: int

    @property
    def total(self) -> int:
        return self.pending + self.succeeded + self.failed + self.timed_out + self.cancelled


def counts(tx: Tx, call_id: str) -> Counts:
    """How far a call is. Raises NotFound."""
    return counted(get(tx, call_id))


def counted(call: Row) -> Counts:
    """The same from its row, which says it however many inputs it has."""
    good, timed_out, cancelled = call["succeeded"], call["timed_out"], call["terminated"]
    failed = call["ended"] - good - timed_out - cancelled
    return Counts(call["accepted"] - call["ended"], good, failed, timed_out, cancelled)


def finish_inputs(tx: Tx, call_id: str, total: int) -> None:
    """The client sends no more inputs."""
    get(tx, call_id)
    tx.execute("UPDATE calls SET expected_inputs = ? WHERE call_id = ?", total, call_id)


def cancel(tx: Tx, call_id: str, message: str, now: float) -> int:
    """End every open input of a call as terminated, in one statement however many they are. Returns how many."""
    call = get(tx, call_id)
    ended = tx.execute(
        "INSERT INTO outputs (input_id, call_id, entry, position, attempt, status, data_format, data, exception, "
        "traceback, serialized_tb, tb_line_cache, container_id, started_at, created_at) "
        "SELECT input_id, call_id, ? + ROW_NUMBER() OVER (ORDER BY position), position, attempt, ?, 0, ?, ?, '', ?, ?, "
        "container_id, 0, ? FROM inputs WHERE call_id = ? AND finished = 0",
        call["entries"],
        int(Status.TERMINATED),
        b"",
        message,
        b"",
        b"",
        now,
        call_id,
    )
    if ended:
        tx.execute("UPDATE inputs SET finished = 1 WHERE call_id = ? AND finished = 0", call_id)
        tx.execute(
            "UPDATE calls SET ended = ended + ?, entries = entries + ?, terminated = terminated + ? WHERE call_id = ?",
            ended,
            ended,
            ended,
            call_id,
        )
    return ended


def cancel_app(tx: Tx, app_id: str, message: str, now: float) -> list[str]:
    """End every open call of an app. Returns the ids of the calls."""
    rows = tx.all(
        "SELECT DISTINCT call_id FROM inputs WHERE finished = 0 AND function_id IN "
        "(SELECT function_id FROM functions WHERE app_id = ?)",
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


def last_item(tx: Tx, call_id: str) -> int:
    """The position of the newest item of a generator; 0 without any."""
    row = tx.one("SELECT MAX(position) AS last FROM items WHERE call_id = ?", call_id)
    return int(row["last"] or 0) if row else 0


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
