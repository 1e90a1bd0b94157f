"""Web labels: valid in DNS, stable, distinct."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ionian.state.labels import DNS_LIMIT, LONGEST_SUFFIX, function_label, host, suffix

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
names = st.text(st.characters(codec="ascii", categories=("L", "N", "P")), min_size=1, max_size=64).filter(
    lambda name: any(character.isalnum() for character in name)
)


@pytest.mark.parametrize(
    ("suffix_", "app", "function", "requested", "dev", "expected"),
    [
        ("", "iris-classifier", "predict", "", "", "acme--iris-classifier-predict"),
        ("", "iris_classifier", "Cls.predict", "", "", "acme--iris-classifier-cls-predict"),
        ("", "iris", "predict", "", "dev", "acme--iris-predict-dev"),
        ("", "iris", "predict", "My Label", "", "acme--my-label"),
        ("", "iris", "predict", "mine", "dev", "acme--mine-dev"),
        ("Staging", "iris", "predict", "", "", "acme-staging--iris-predict"),
    ],
)
def test_labels(suffix_: str, app: str, function: str, requested: str, dev: str, expected: str) -> None:
    label = function_label("acme", suffix_, app, function, requested, dev)
    assert host("acme", suffix_, label) == expected


@given(names, names, st.sampled_from(["", "dev"]), st.sampled_from(["", "a-long-environment-name"]))
def test_every_label_is_valid_in_dns(app: str, function: str, dev: str, suffix_: str) -> None:
    label = function_label("workspace", suffix_, app, function, dev_suffix=dev)
    whole = host("workspace", suffix_, label)
    assert LABEL.fullmatch(whole)
    assert len(whole) <= DNS_LIMIT
    assert not dev or whole.endswith("-dev")


def test_long_names_that_differ_at_the_end_stay_apart() -> None:
    labels = {function_label("acme", "", "a" * 60, f"function{n}") for n in range(20)}
    assert len(labels) == 20


def test_an_environment_begins_with_its_name_as_suffix() -> None:
    assert (suffix("main"), suffix("Main"), suffix("my_dev.1")) == ("", "main", "my-dev-1")
    long = [suffix("x" * 60 + letter) for letter in "ab"]
    assert long[0] != long[1]
    assert max(map(len, long)) <= LONGEST_SUFFIX
