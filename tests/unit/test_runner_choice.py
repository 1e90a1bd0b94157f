"""Which runner a function's containers have."""

from __future__ import annotations

from pathlib import Path

import pytest

from ionian import config
from ionian.errors import InvalidRequest
from ionian.runner import client, spec


@pytest.mark.parametrize(
    ("configured", "version", "chosen"),
    [
        (spec.OWN, "0.64.3", spec.OWN),
        (spec.OWN, "1.6.4", spec.OWN),
        (spec.OWN, "1.6.99.dev3", spec.OWN),
        (spec.OWN, "1.7.0", spec.STOCK),
        (spec.OWN, "1.10.0", spec.STOCK),
        (spec.OWN, "2.0", spec.STOCK),
        (spec.STOCK, "0.73.173", spec.STOCK),
        (spec.STOCK, "1.7.0", spec.STOCK),
    ],
)
def test_newer_clients_run_themselves(configured: str, version: str, chosen: str) -> None:
    assert spec.chosen(configured, version) == chosen


def test_newest_known_client_is_in_a_band_of_its_own() -> None:
    known = ".".join(map(str, spec.NEWEST_KNOWN))
    before = f"{spec.NEWEST_KNOWN[0]}.{spec.NEWEST_KNOWN[1] - 1}"
    assert client.band_of(known) is client.BANDS[-1]
    assert client.band_of(before) is not client.BANDS[-1]


def test_setting_names_a_runner(tmp_path: Path) -> None:
    assert config.load({"home": tmp_path}, {"IONIAN_RUNNER": "stock"}).runner == spec.STOCK
    with pytest.raises(InvalidRequest, match="own, stock"):
        config.load({"home": tmp_path}, {"IONIAN_RUNNER": "other"})
