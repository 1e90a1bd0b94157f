"""Web labels: valid in DNS, stable, distinct."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ionian.state.labels import DNS_LIMIT, function_label, host

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
names = st.text(st.characters(codec="ascii", categories=("L", "N", "P")), min_size=1, max_size=64).filter(
    lambda name: any(character.isalnum() for character in name)
)


@pytest.mark.parametrize(
    ("environment", "app", "function", "requested", "dev", "expected"),
    [
        ("main", "iris-classifier", "predict", "", "", "acme--iris-classifier-predict"),
        ("main", "iris_classifier", "Cls.predict", "", "", "acme--iris-classifier-cls-predict"),
        ("main", "iris", "predict", "", "dev", "acme--iris-predict-dev"),
        ("main", "iris", "predict", "My Label", "", "acme--my-label"),
        ("main", "iris", "predict", "mine", "dev", "acme--mine-dev"),
        ("Staging", "iris", "predict", "", "", "acme-staging--iris-predict"),
    ],
)
def test_labels(environment: str, app: str, function: str, requested: str, dev: str, expected: str) -> None:
    label = function_label("acme", environment, app, function, requested, dev)
    assert host("acme", environment, label) == expected


@given(names, names, st.sampled_from(["", "dev"]), st.sampled_from(["main", "a-long-environment-name"]))
def test_every_label_is_valid_in_dns(app: str, function: str, dev: str, environment: str) -> None:
    label = function_label("workspace", environment, app, function, dev_suffix=dev)
    whole = host("workspace", environment, label)
    assert LABEL.fullmatch(whole)
    assert len(whole) <= DNS_LIMIT
    assert not dev or whole.endswith("-dev")


def test_long_names_that_differ_at_the_end_stay_apart() -> None:
    labels = {function_label("acme", "main", "a" * 60, f"function{n}") for n in range(20)}
    assert len(labels) == 20
