"""Which clients are tried with which Python, on which program: the matrix, and what is recorded of it."""

from __future__ import annotations

from dataclasses import dataclass

BEFORE_1_0 = ("0.64.3", "0.73.173", "0.77.0")
SINCE_1_0 = ("1.0.5", "1.2.6", "1.6.4")
CLIENTS = (*BEFORE_1_0, *SINCE_1_0)
SERIES = ("3.11", "3.12", "3.13")
APPS = {"app_modal.py": "iris-classifier", "app.py": "iris-classifier-today"}

WORKS, REFUSED = "works", "refused"


@dataclass(frozen=True)
class Pair:
    """One deploy of one program. ``command``: the word before ``deploy``."""

    client: str
    python: str
    command: str
    program: str

    def __str__(self) -> str:
        return f"{self.client} on {self.python}, {self.command} deploy {self.program}"


def _ways(client: str) -> tuple[tuple[str, str], ...]:
    """The 2024 program needs names that clients since 1.0 have retired; today's program needs such a client."""
    if client in BEFORE_1_0:
        return (("modal", "app_modal.py"),)
    return ("ionian", "app_modal.py"), ("modal", "app.py")


def _tried(client: str, python: str, program: str) -> bool:
    """Everything with the first Python; with the others today's program only by the newest client, to save time."""
    return python == SERIES[0] or program == "app_modal.py" or client == CLIENTS[-1]


def _supported(client: str, python: str) -> bool:
    """Clients before 1.0 build images for Python up to 3.12, and say so."""
    return client in SINCE_1_0 or python != "3.13"


_ALL = [
    Pair(client, python, command, program)
    for python in SERIES
    for client in CLIENTS
    for command, program in _ways(client)
    if _tried(client, python, program)
]
WORKING = [pair for pair in _ALL if _supported(pair.client, pair.python)]
REFUSING = [pair for pair in _ALL if not _supported(pair.client, pair.python)]
