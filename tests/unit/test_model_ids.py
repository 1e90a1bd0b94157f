"""Ids: the form that clients expect, every letter as likely as any other, none twice."""

from __future__ import annotations

import secrets
import string
from collections import Counter

import pytest

from ionian.model import new_id

ALPHABET = set(string.ascii_letters + string.digits)


def test_the_form() -> None:
    prefix, _, rest = new_id("fc").partition("-")
    assert prefix == "fc"
    assert len(rest) == 22
    assert set(rest) <= ALPHABET


def test_no_id_twice_and_no_letter_likelier() -> None:
    found = [new_id("in") for _ in range(20_000)]
    assert len(set(found)) == len(found)
    counts = Counter("".join(one[3:] for one in found))
    expected = 22 * len(found) / 62
    assert set(counts) == ALPHABET
    assert all(abs(count - expected) < 8 * expected**0.5 for count in counts.values())  # eight standard deviations


def test_bytes_that_would_favour_a_letter_are_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    given = [b"\xff" * 19 + bytes(21), b"\xff" * 18 + bytes(22)]
    monkeypatch.setattr(secrets, "token_bytes", lambda size: given.pop(0))
    assert new_id("in") == "in-" + "a" * 22
    assert given == []
