"""What came of running a program: what it told, how the command ended, what the containers printed. Comparable."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ionian import logs
from tests.e2e.machine import COMMAND_TIMEOUT_S, Client, Machine, until
from tests.oracle.programs.telling import FILE

PROGRAMS = Path(__file__).parent / "programs"
_IDS = re.compile(r"\b(ct|ap|fu|fc|in|ta|de)-[A-Za-z0-9]{6,}")
_FRAME = re.compile(r'^([\s|]*)File "([^"]*)", line \d+')

# What the stock entrypoint's containers print and ours do not, and why that is right.
ACCEPTED_LINES = {
    r"Received a cancellation signal while processing input": "a note of the client's own about its inner workings",
    r"Successfully canceled input": "the same",
    r"background thread\(s\) \[WSGI_\d+\] still running": "about the threads of its own WSGI adapter",
    r"Task was destroyed but it is pending!": "tasks that old clients leave behind when an application fails",
    r"^task: <Task pending": "the same",
}

# What our runner says otherwise, and what the entrypoint says instead: the same exception, with a hint.
ACCEPTED_TEXTS = {
    r"has no '(\w+)': the deployed function is not defined when the module is imported in the container": (
        r"has no attribute '\1'"
    ),
}

Line = tuple[int, str]  # stream, text
Printed = tuple[Line, ...]  # by one container, in order


@dataclass(frozen=True)
class Outcome:
    """``containers`` is sorted: nothing orders what different containers print."""

    code: int
    told: tuple[str, ...]
    containers: tuple[Printed, ...]


def run(machine: Machine, client: Client, program: str) -> Outcome:
    """``modal run PROGRAM`` to its end, and to the end of its containers."""
    file = machine.user_home / "told"
    file.write_text("")
    machine.environ[FILE] = str(file)
    process = machine.spawn_modal(client, "run", str(PROGRAMS / program), cwd=PROGRAMS)
    said, _ = process.communicate(timeout=COMMAND_TIMEOUT_S)
    told = file.read_text("utf-8").splitlines()
    assert told, said
    app_id = told[0].removeprefix("app ")
    until(lambda: running_containers(machine, app_id) == 0, f"the containers of {program} to be gone")
    return Outcome(
        code=process.returncode,
        told=tuple(comparable(line) for line in told),
        containers=printed(machine, app_id),
    )


def comparable(text: str) -> str:
    """Without what differs between any two runs, nor what is accepted."""
    text = _IDS.sub(r"\1-ID", text)
    for own, stock in ACCEPTED_TEXTS.items():
        text = re.sub(own, stock, text)
    return text


def running_containers(machine: Machine, app_id: str) -> int:
    found = [app for app in machine.status()["apps"] if app["app_id"] == app_id]
    return max((function["containers"] for app in found for function in app["functions"]), default=0)


def printed(machine: Machine, app_id: str) -> tuple[Printed, ...]:
    """What each container of the app printed: whole lines, without the frames of the runner itself."""
    texts: dict[str, list[Line]] = {}
    records, _ = logs.read(machine.config.logs / app_id, logs.Cursor(), limit=1_000_000)
    for record in records:
        texts.setdefault(record.container_id, []).append((record.stream, record.text))
    return tuple(sorted(tuple(_user_lines(_whole(pieces))) for pieces in texts.values()))


def _whole(pieces: list[Line]) -> list[Line]:
    """Lines from records; a long line or a late end of a line makes several records."""
    lines: list[Line] = []
    for stream, text in pieces:
        if lines and lines[-1][0] == stream and not lines[-1][1].endswith("\n"):
            lines[-1] = (stream, lines[-1][1] + text)
        else:
            lines.append((stream, text))
    return lines


def _user_lines(lines: list[Line]) -> list[Line]:
    kept: list[Line] = []
    depth = -1  # of a frame that is left out
    for stream, text in lines:
        line = comparable(text.rstrip("\n"))
        frame = _FRAME.match(line)
        if frame:
            depth = -1 if frame[2].startswith("/root/") else len(frame[1])
        elif depth >= 0 and len(line) - len(line.lstrip(" |")) <= depth:
            depth = -1
        if depth < 0 and not any(re.search(accepted, line) for accepted in ACCEPTED_LINES):
            kept.append((stream, line))
    return kept
