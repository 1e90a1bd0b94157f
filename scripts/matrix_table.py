"""Write README's table of clients from docs/clients.json, the record of tests/matrix. ``--check`` only compares."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECORD, README = ROOT / "docs" / "clients.json", ROOT / "README.md"
BEGIN, END = "<!-- clients: made by scripts/matrix from docs/clients.json -->\n", "<!-- end of clients -->\n"
PROGRAMS = ("app_modal.py", "app.py")
Entry = dict[str, str]


def table(entries: list[Entry]) -> str:
    """A row per client: the command for each program, and how it went with each Python."""
    series = sorted({entry["python"] for entry in entries}, key=_numbers)
    heads = ["client", "program of 2024", "program of today", *(f"Python {name}" for name in series)]
    rows = [heads, ["---"] * len(heads)]
    for client in sorted({entry["client"] for entry in entries}, key=_numbers):
        mine = [entry for entry in entries if entry["client"] == client]
        commands = [_command(entry for entry in mine if entry["program"] == program) for program in PROGRAMS]
        results = [_result(entry for entry in mine if entry["python"] == name) for name in series]
        rows.append([client, *commands, *results])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _command(entries: Iterable[Entry]) -> str:
    found = sorted({entry["command"] for entry in entries})
    return ", ".join(f"`{command} deploy`" for command in found) or "-"


def _result(entries: Iterable[Entry]) -> str:
    found = {entry["result"] for entry in entries}
    return {"works": "works", "refused": "no"}[found.pop()] if len(found) == 1 else "differs" if found else "not tried"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def render(readme: str, entries: list[Entry]) -> str:
    """README with the table between its marks."""
    before, mark, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise SystemExit(f"README.md lacks the line {BEGIN.strip()} or {END.strip()}")
    return before + BEGIN + table(entries) + END + after


def main() -> int:
    readme = README.read_text()
    text = render(readme, json.loads(RECORD.read_text()))
    if "--check" in sys.argv:
        sys.stdout.write("" if readme == text else "README.md is not current: run scripts/docs\n")
        return 0 if readme == text else 1
    README.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
