"""README's table of clients is what the recorded matrix says, and that record has every pair that CI tries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.matrix.pairs import REFUSED, REFUSING, WORKING, WORKS

ROOT = Path(__file__).parents[2]


def test_the_table_is_current() -> None:
    checked = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "matrix_table.py"), "--check"], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_record_is_of_the_matrix_that_is_tested() -> None:
    """A recorded result cannot outlive its test: tests/matrix fails where a pair goes otherwise than these say."""
    expected = [{**vars(pair), "result": WORKS} for pair in WORKING]
    expected += [{**vars(pair), "result": REFUSED} for pair in REFUSING]
    assert json.loads((ROOT / "docs" / "clients.json").read_text()) == expected
