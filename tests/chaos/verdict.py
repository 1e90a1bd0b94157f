"""Whether what happened is what is promised: one line for each thing that is not."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ionian.dispatch.policy import MAX_CRASHES
from tests.chaos.recorder import Start
from tests.chaos.story import Asked, Story, Value

RETRIES = {"once": 0, "again": 3, "shared": 0, "batched": 1, "rare": 0, "alone": 1}  # as apps/orders.py has them
_TOKEN = re.compile(rb"token-\d+-\d+-end")
_CONTAINER = re.compile(r"container (ta-\w+) (was|exited|ended)")


def summary(story: Story, starts: dict[str, list[Start]]) -> str:
    """What happened, in one line."""
    kinds = [value[0] for _, value in story.results.values()]
    kills = ", ".join(f"{kind} {number}" for kind, number in sorted(story.kills.items()))
    why = Counter(" ".join(text.split()[:6]) for text in story.unknown.values())
    return (
        f"{sum(story.kills.values())} rounds ({kills}); "
        f"{sum(story.in_flight) / max(1, len(story.in_flight)):.1f} inputs on their way at a kill; "
        f"{len(story.asked)} inputs, {len(story.accepted)} with a call's id, {len(story.unknown)} unknown to their "
        f"caller ({', '.join(f'{n}: {text}' for text, n in why.most_common(4))}); "
        f"{len(kinds)} results ({kinds.count('returned')} returned, {kinds.count('raised')} raised); "
        f"{sum(map(len, starts.values()))} starts of {len(starts)} inputs"
    )


def problems(story: Story, starts: dict[str, list[Start]], database: Path, crash_requeue: bool) -> list[str]:
    """Everything that breaks a promise."""
    died = set(story.killed)
    for token, begun in starts.items():
        if story.asked[token].order["end"] in ("exits", "dies"):
            died.add(begun[0].container_id)
    found = [*story.broken, *(f"{token} had two results" for token in story.twice)]
    for token, asked in story.asked.items():
        begun = starts.get(token, [])
        wrong = [*_of_caller(story, token), *_starts(story, token, begun, crash_requeue)]
        if token in story.results:
            wrong += _wrong(asked, story.results[token][1], begun, died)
        found += [f"{asked.how} of {asked.function}, {token} ({asked.order['end']}): {text}" for text in wrong]
    return found + list(_rows(database, starts, story))


def _of_caller(story: Story, token: str) -> Iterator[str]:
    """Nothing accepted is lost, and every answer is the same."""
    if token not in story.accepted:
        if token not in story.results and token not in story.unknown:
            yield "the caller was never told anything"
        return
    if token not in story.results:
        yield "accepted, and no result"
    elif story.again.get(token) != story.results[token][1]:
        yield f"first {story.results[token][1]}, then {story.again.get(token)}"


def _starts(story: Story, token: str, begun: list[Start], crash_requeue: bool) -> Iterator[str]:
    asked = story.asked[token]
    most = 1 + RETRIES[asked.function] + (MAX_CRASHES if crash_requeue else 0)
    if len(begun) > most:
        yield f"started {len(begun)} times, not {most} at most: {begun}"
    if asked.function != "batched" and len({start.input_id for start in begun}) > 1:
        yield f"accepted more than once: {begun}"
    at = story.results[token][0] if token in story.results else float("inf")
    if any(start.at > at for start in begun):
        yield "started after its result was given"


def _wrong(asked: Asked, value: Value, begun: list[Start], died: set[str]) -> Iterator[str]:
    """A result is the function's own, what it raised, or names a container that was really killed."""
    order = asked.order
    if value[0] == "returned":
        digest = hashlib.sha256(order["token"].encode()).hexdigest()
        answer = (digest * (order["size"] // len(digest) + 1))[: order["size"]]
        if value[1:] != [len(answer), hashlib.sha256(answer.encode()).hexdigest()]:
            yield f"{value} is not its result"
        if not begun or (len(begun) == 1 and order["end"] != "well"):
            yield f"it returned a result after {len(begun)} starts"
    elif value[:2] == ["raised", "RuntimeError"]:
        if asked.function != "batched" and (value[2] != order["token"] or order["end"] != "raises"):
            yield f"{value} was never raised"
    else:
        blamed = _CONTAINER.search(str(value[2]))
        if value[:2] != ["raised", "RemoteError"] or blamed is None:
            yield f"{value} is no error that a killed container explains"
        elif blamed[1] not in died:
            yield f"{value[2]!r}, but nobody killed {blamed[1]}"


def _rows(database: Path, starts: dict[str, list[Start]], story: Story) -> Iterator[str]:
    """What the journal says when all is over: of every input, also those whose caller never learned their ids."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        rows = connection.execute(
            "SELECT i.input_id, i.args, i.finished, i.attempt, i.crashes, COUNT(o.input_id) "
            "FROM inputs i LEFT JOIN outputs o USING (input_id) GROUP BY i.input_id"
        ).fetchall()
    finally:
        connection.close()
    found: dict[str, list[str]] = {}
    for input_id, args, finished, attempt, crashes, outputs in rows:
        token = _TOKEN.findall(args)[0].decode()
        found.setdefault(token, []).append(input_id)
        if not finished or outputs != 1:
            yield f"{token}, {input_id}: finished {finished}, {outputs} outputs"
        if len(starts.get(token, ())) > 1 + attempt + crashes:
            yield f"{token}: {starts[token]}, and {attempt} retries and {crashes} crashes explain not all of them"
    for token, asked in story.asked.items():
        known = token in story.accepted or token in story.results or token in starts
        if len(found.get(token, ())) > 1 or (known and token not in found):
            yield f"{asked.how} of {asked.function}, {token}: its rows are {found.get(token)}"
