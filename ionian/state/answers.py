"""What was answered to requests that change something: one that is sent again gets the same answer, and does nothing.

Clients send a request again, with the same key, when its answer did not arrive: a lost connection, a killed server.
"""

from __future__ import annotations

from collections.abc import Sequence

from ionian.state.database import Tx

SPAN_S = 10  # seconds
SPANS = 12  # so many are remembered
_FORGOTTEN_AT_ONCE = 2000


def remember(tx: Tx, request_key: str, values: Sequence[bytes], now: float) -> None:
    """``values`` is what the answer is made of, never empty. A request without a key is not remembered."""
    if request_key:
        span = int(now // SPAN_S)
        tx.many(
            "INSERT INTO data_answers (span, request_key, number, value, recalled) VALUES (?, ?, ?, ?, 0)",
            [(span, request_key, number, value) for number, value in enumerate(values)],
        )


def recall(tx: Tx, request_key: str, now: float) -> list[bytes] | None:
    """The answer that this request had when it came before; None when it is new."""
    latest = int(now // SPAN_S)
    for span in range(latest, latest - SPANS - 1, -1) if request_key else ():
        rows = tx.all(
            "SELECT value FROM data_answers WHERE span = ? AND request_key = ? ORDER BY number", span, request_key
        )
        if rows:
            tx.execute("UPDATE data_answers SET recalled = 1 WHERE span = ? AND request_key = ?", span, request_key)
            return [row["value"] for row in rows]
    return None


def retract(tx: Tx, request_key: str, now: float) -> bool:
    """This answer was not sent. False: it was, to the same request that came again."""
    latest = int(now // SPAN_S)
    for span in range(latest, latest - SPANS - 1, -1) if request_key else ():
        row = tx.one("SELECT recalled FROM data_answers WHERE span = ? AND request_key = ? LIMIT 1", span, request_key)
        if row is not None:
            if not row["recalled"]:
                tx.execute("DELETE FROM data_answers WHERE span = ? AND request_key = ?", span, request_key)
            return not row["recalled"]
    return not request_key


def forget(tx: Tx, before: float) -> bool:
    """Forget a piece of what was answered before a time. Returns whether there is more."""
    gone = tx.execute(
        "DELETE FROM data_answers WHERE (span, request_key, number) IN "
        "(SELECT span, request_key, number FROM data_answers WHERE span < ? ORDER BY span, request_key LIMIT ?)",
        int(before // SPAN_S),
        _FORGOTTEN_AT_ONCE,
    )
    return gone == _FORGOTTEN_AT_ONCE
