"""Who may import whom: the contract of .importlinter holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_import_contracts_hold(tmp_path: Path) -> None:
    command = ["lint-imports", "--config", str(ROOT / ".importlinter"), "--cache-dir", str(tmp_path)]
    done = subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
