"""What many unit tests begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ionian.state.database import SqliteDatabase
from tests.unit.state_tables import open_tables


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    opened = open_tables(tmp_path)
    yield opened
    opened.close()
