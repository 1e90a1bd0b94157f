"""Retries: how often, after how long, and what a lost container costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ionian.dispatch.policy import MAX_CRASHES, again, delay_s
from ionian.model import OpenInput, Retries, Status

INPUT = OpenInput("in-1", "fc-1", "fu-1", container_id="ta-1")
NONE = Retries()
RETRIED = [Status.FAILURE, Status.TIMEOUT, Status.INIT_FAILURE, Status.OUT_OF_MEMORY]


def test_delays_grow_to_their_limit() -> None:
    retries = Retries(9, backoff=2.0, initial_delay_s=3.0, max_delay_s=20.0)
    assert [delay_s(retries, attempt) for attempt in (1, 2, 3, 4, 5)] == [3.0, 6.0, 12.0, 20.0, 20.0]
    assert delay_s(Retries(backoff=10.0), 10_000) == 60.0  # where a float ends


@given(st.floats(0, 60), st.floats(1, 10), st.floats(0, 60), st.integers(1, 10_000))
def test_no_delay_is_negative_or_above_its_limit(first: float, backoff: float, most: float, attempt: int) -> None:
    assert 0 <= delay_s(Retries(10, backoff, first, most), attempt) <= most


@pytest.mark.parametrize("status", RETRIED)
def test_so_many_retries_and_no_more(status: Status) -> None:
    retries, current, attempts = Retries(3, 1.0, 2.0), INPUT, 0
    while next_one := again(current, status, False, retries, True, now=100.0):
        assert (next_one.attempt, next_one.not_before, next_one.container_id) == (current.attempt + 1, 102.0, "")
        current, attempts = next_one, attempts + 1
    assert attempts == 3
    assert again(INPUT, status, False, NONE, True, 100.0) is None


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.TERMINATED, Status.INTERNAL_FAILURE])
def test_what_ended_otherwise_is_not_tried_again(status: Status) -> None:
    assert again(INPUT, status, False, Retries(3), True, 100.0) is None


def test_a_lost_container_is_an_attempt_like_another() -> None:
    assert again(INPUT, Status.FAILURE, True, NONE, False, 100.0) is None
    retried = again(INPUT, Status.FAILURE, True, Retries(1), False, 100.0)
    assert retried is not None
    assert (retried.attempt, retried.crashes) == (1, 0)
    assert again(retried, Status.FAILURE, True, Retries(1), False, 100.0) is None


def test_crashes_are_forgiven_a_number_of_times_and_then_count() -> None:
    current, waits = INPUT, []
    for _ in range(MAX_CRASHES):
        forgiven = again(current, Status.FAILURE, True, Retries(1), True, 100.0)
        assert forgiven is not None
        assert forgiven.attempt == 0
        waits.append(forgiven.not_before - 100.0)
        current = forgiven
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    last = again(current, Status.FAILURE, True, Retries(1), True, 100.0)
    assert last is not None
    assert (last.attempt, last.crashes) == (1, MAX_CRASHES)
    assert again(replace(last), Status.FAILURE, True, Retries(1), True, 100.0) is None
