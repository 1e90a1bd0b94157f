"""The page of RPCs is the one the code makes."""

from __future__ import annotations

from pathlib import Path

from ionian.api.coverage import table

PAGE = Path(__file__).parents[2] / "docs" / "COVERAGE.md"


def test_page_is_current() -> None:
    assert PAGE.read_text() == table(), "run: python -m ionian.api.coverage > docs/COVERAGE.md"
