"""The page of RPCs is the one the code makes, and its record of clients is of the matrix and of what they ship."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from tests.matrix.pairs import CLIENTS

ROOT = Path(__file__).parents[2]
FACTS = json.loads((ROOT / "docs" / "client_rpcs.json").read_text())


def test_page_is_current() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "coverage_page.py"), "--check"]
    checked = subprocess.run(script, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_record_has_every_client_of_the_matrix() -> None:
    assert {client for row in FACTS.values() for client in row} == set(CLIENTS)


def test_the_record_is_what_the_installed_client_ships() -> None:
    """If this fails: run scripts/client_rpcs.py, then scripts/docs."""
    installed = version("modal")
    found = runpy.run_path(str(ROOT / "scripts" / "client_rpcs.py"))["scan"](installed, sys.executable)
    assert found == {name: row[installed] for name, row in FACTS.items() if installed in row}
    assert {"FunctionMap", "AppList", "ClientHello"} <= {name for name, how in found.items() if how == "calls"}
