"""Record a real session into docs/terminal.svg: start, deploy, call, stop; each command really runs on a fresh home."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
WIDTH = 118
CURL = (
    "curl -X POST http://127.0.0.1:9900/_web/local--iris-classifier-predict "
    "-H 'Content-Type: application/json' -d '{\"features\": [5.1, 3.5, 1.4, 0.2]}'"
)
SESSION = ["ionian up --detach", "ionian deploy app_modal.py", CURL, "ionian status", "ionian down"]


def main() -> int:
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    with tempfile.TemporaryDirectory(prefix="ionian-picture-") as scratch:
        project = Path(scratch) / "iris"
        shutil.copytree(ROOT / "examples" / "iris", project)
        environ = _environ(Path(scratch))
        try:
            _sh("ionian demo --once", project, environ)  # caches and model, outside the picture
            shutil.copy(Path(scratch) / ".ionian" / "demo" / "iris" / "iris_model.pkl", project)
            for command in SESSION:
                console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
                for line in _sh(command, project, environ).splitlines():
                    console.print(_coloured(line))
        finally:
            _sh("ionian down", project, environ)
    picture = console.export_svg(title="iris", unique_id="ionian")
    picture = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.S)  # nothing is fetched to show it
    picture = re.sub(r"<!--.*?-->", "", picture, flags=re.S)
    (ROOT / "docs" / "terminal.svg").write_text(picture)
    return 0


def _environ(home: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MODAL_", "IONIAN_"))}
    path = f"{Path(sys.executable).parent}:{kept['PATH']}"
    return {**kept, "HOME": str(home), "PATH": path, "COLUMNS": str(WIDTH), "VIRTUAL_ENV": sys.prefix}


def _sh(command: str, cwd: Path, environ: dict[str, str]) -> str:
    """What a command prints. Raises when it fails: the picture shows only what works."""
    quiet = command.replace("curl ", "curl -sS ", 1) if command.startswith("curl ") else command
    done = subprocess.run(["sh", "-c", f"{quiet} 2>&1"], cwd=cwd, env=environ, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"`{command}` failed:\n{done.stdout}")
    return done.stdout.replace(environ["HOME"], "~")


def _coloured(line: str) -> Text:
    text = Text(re.sub(r"\x1b\[[0-9;]*m", "", line))
    text.highlight_regex(r"^✓", "green")
    text.highlight_regex(r"http://\S+", "cyan")
    return text


if __name__ == "__main__":
    sys.exit(main())
