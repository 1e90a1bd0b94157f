"""What processes have used: CPU in nanoseconds (the scheduler's own count) and times that they were woken up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Used:
    """``wakes``: voluntary context switches, each the end of a wait."""

    cpu_s: float = 0.0
    wakes: int = 0

    def __add__(self, other: Used) -> Used:
        return Used(self.cpu_s + other.cpu_s, self.wakes + other.wakes)

    def __sub__(self, other: Used) -> Used:
        return Used(self.cpu_s - other.cpu_s, self.wakes - other.wakes)


def used(pid: int) -> Used:
    """By all threads of a process that are alive; nothing for one that is gone."""
    total = Used()
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            spent = int((task / "schedstat").read_text().split()[0]) / 1e9
            status = (task / "status").read_text()
            wakes = next(line for line in status.splitlines() if line.startswith("voluntary_ctxt_switches"))
            total += Used(spent, int(wakes.split()[1]))
    return total


def below(pid: int) -> list[int]:
    """Every process that descends from this one."""
    parents: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(place.name))
    found, left = [], [pid]
    while left:
        left += (children := parents.get(left.pop(), []))
        found += children
    return found


def busiest(pid: int, work: Callable[[], object]) -> int:
    """The descendant of a process that spends the most CPU on some work."""
    before = {child: used(child) for child in below(pid)}
    work()
    return max(before, key=lambda child: (used(child) - before[child]).cpu_s)


def memory(pid: int) -> dict[str, int]:
    """Bytes of memory: all of it (``rss``), and without files (``anon``)."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {"rss": int(fields["VmRSS"].split()[0]) * 1024, "anon": int(fields["RssAnon"].split()[0]) * 1024}
