"""Whether an input that ended badly runs once more, and when. Pure: numbers in, a decision out."""

from __future__ import annotations

from dataclasses import replace

from ionian.model import OpenInput, Retries, Status

MAX_CRASHES = 8  # lost containers that one input may survive under crash_requeue (the hosted client's own limit)
CRASH_BACKOFF_S = 1.0  # before the first of them is forgiven; doubles each time
MAX_DELAY_S = 60.0  # the longest backoff that there is
_RETRIED = frozenset({Status.FAILURE, Status.TIMEOUT, Status.INIT_FAILURE, Status.OUT_OF_MEMORY})


def delay_s(retries: Retries, attempt: int) -> float:
    """Seconds before retry number ``attempt`` (from 1)."""
    try:
        grown: float = retries.initial_delay_s * retries.backoff ** (attempt - 1)
    except OverflowError:
        grown = retries.max_delay_s
    return max(0.0, min(grown, retries.max_delay_s))


def again(
    ended: OpenInput, status: int, lost: bool, retries: Retries, crash_requeue: bool, now: float
) -> OpenInput | None:
    """The input as it is to run once more, or None when this was its last attempt.

    ``lost``: its container ended under it, so nobody knows how far it came. ``now`` is unix seconds.
    """
    if lost and crash_requeue and ended.crashes < MAX_CRASHES:
        wait = min(CRASH_BACKOFF_S * 2**ended.crashes, MAX_DELAY_S)
        return replace(ended, crashes=ended.crashes + 1, not_before=now + wait, container_id="")
    if status not in _RETRIED or ended.attempt >= retries.max_retries:
        return None
    attempt = ended.attempt + 1
    return replace(ended, attempt=attempt, not_before=now + delay_s(retries, attempt), container_id="")
