"""cgroup limits, version 1 or 2, where this process may really make them.

Every container has one group per hierarchy, ``BASE/<container id>``; an empty ``Cgroups.bases`` means no limits here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ionian.model import Resources

_WANTED = ("memory", "cpu", "pids")
_PIDS_LIMIT = 32768
_PERIOD_US = 100_000


@dataclass(frozen=True, slots=True)
class Cgroups:
    """What was found. ``bases``: directory by controller, ours to make groups in. ``missing``: why, by controller."""

    version: int = 0
    bases: Mapping[str, Path] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """One human line. Of controllers that are missing for the same reason, only the first one's path is shown."""
        there = f"cgroups v{self.version}: limits on {', '.join(self.bases)}" if self.bases else "cgroups: none"
        reasons: dict[str, list[str]] = {}
        for name, why in self.missing.items():
            reasons.setdefault(why.rpartition(": ")[2], []).append(name)
        lost = "; ".join(f"no limit on {', '.join(names)}: {self.missing[names[0]]}" for names in reasons.values())
        return f"{there} ({lost})" if lost else there


def own_groups(text: str) -> dict[str, str]:
    """``/proc/self/cgroup`` as controller -> path; the version 2 entry has the empty name."""
    groups: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            groups[name] = path
    return groups


def mounted(text: str) -> dict[str, Path]:
    """``/proc/self/mountinfo`` as controller -> mount point; version 2 has the empty name."""
    points: dict[str, Path] = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = [*right.split(" "), "", ""][:3]
        point = Path(left.split(" ")[4])
        if kind == "cgroup2":
            points.setdefault("", point)
        elif kind == "cgroup":
            for option in options.split(","):
                if option in _WANTED:
                    points.setdefault(option, point)
    return points


def probe(name: str) -> Cgroups:
    """Find, by doing it, the hierarchies where a group ``.../<name>`` can be made and joined. Leaves none."""
    try:
        points = mounted(Path("/proc/self/mountinfo").read_text())
        groups = own_groups(Path("/proc/self/cgroup").read_text())
    except OSError as error:
        return Cgroups(0, {}, dict.fromkeys(_WANTED, f"{error.filename}: {error.strerror}"))
    if set(points) & set(_WANTED):
        return _probe_v1(name, points, groups)
    if "" in points:
        return _probe_v2(name, points[""], groups.get("", "/"))
    return Cgroups(0, {}, dict.fromkeys(_WANTED, "no cgroup file system is mounted"))


def _probe_v1(name: str, points: Mapping[str, Path], groups: Mapping[str, str]) -> Cgroups:
    bases: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for controller in _WANTED:
        if controller not in points:
            missing[controller] = "controller not mounted"
            continue
        inside = points[controller] / groups.get(controller, "/").lstrip("/")
        base = (inside if inside.is_dir() else points[controller]) / name
        try:
            _try_group(base)
            bases[controller] = base
        except OSError as error:
            missing[controller] = f"{error.filename}: {error.strerror}"
    return Cgroups(1 if bases else 0, bases, missing)


def _probe_v2(name: str, point: Path, group: str) -> Cgroups:
    """Our group below the one we are in, else below the root of what we see."""
    why = ""
    for parent in dict.fromkeys((point / group.lstrip("/"), point)):
        base = parent / name
        try:
            offered = set((parent / "cgroup.controllers").read_text().split()) & set(_WANTED)
            _delegate(parent, offered)
            _try_group(base)
        except OSError as error:
            why = why or f"{error.filename}: {error.strerror}"
            continue
        if offered:
            missing = dict.fromkeys((c for c in _WANTED if c not in offered), "controller not offered to this group")
            return Cgroups(2, {c: base for c in _WANTED if c in offered}, missing)
        why = why or f"{parent} offers none of {', '.join(_WANTED)}"
    return Cgroups(0, {}, dict.fromkeys(_WANTED, why))


def _delegate(group: Path, controllers: set[str]) -> None:
    """Let the children of ``group`` use the controllers. A group with processes of its own answers EBUSY."""
    control = group / "cgroup.subtree_control"
    lacking = controllers - set(control.read_text().split())
    if lacking:
        _write(control, " ".join(f"+{name}" for name in sorted(lacking)))


def _try_group(base: Path) -> None:
    """Prove that a process can be put into a group below ``base``: a throwaway child joins one."""
    trial = base / f"probe-{os.getpid()}"
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as child:
        try:
            trial.mkdir(parents=True, exist_ok=True)
            _write(trial / "cgroup.procs", str(child.pid))
        finally:
            child.kill()
            child.wait()
            remove_now((trial,))
            remove_once(tuple(base.glob("probe-*")))  # of a worker that was killed while it tried


def settings(version: int, resources: Resources) -> dict[str, list[tuple[str, str]]]:
    """Pure: controller -> (file, value) to write, in order."""
    limit, shares = resources.memory_limit_mib, max(2, resources.cpu_millicores * 1024 // 1000)
    quota = resources.cpu_limit_millicores
    memory = str(limit * 1024 * 1024) if limit is not None else ""
    if version == 1:
        return {
            "memory": [("memory.limit_in_bytes", memory), ("?memory.memsw.limit_in_bytes", memory)] if memory else [],
            "cpu": [("cpu.shares", str(shares))]
            + ([("cpu.cfs_period_us", str(_PERIOD_US)), ("cpu.cfs_quota_us", str(quota * 100))] if quota else []),
            "pids": [("pids.max", str(_PIDS_LIMIT))],
        }
    return {
        "memory": [("memory.max", memory), ("?memory.swap.max", "0")] if memory else [],
        "cpu": [("cpu.weight", str(min(10000, max(1, shares * 100 // 1024))))]
        + ([("cpu.max", f"{quota * 100} {_PERIOD_US}")] if quota else []),
        "pids": [("pids.max", str(_PIDS_LIMIT))],
    }


def groups(cgroups: Cgroups, container_id: str) -> tuple[Path, ...]:
    """Pure: the directories of a container's groups."""
    return tuple(dict.fromkeys(base / container_id for base in cgroups.bases.values()))


def create(cgroups: Cgroups, container_id: str, resources: Resources) -> None:
    """Make a container's groups with its limits. Raises OSError, leaving nothing."""
    made: list[Path] = []
    try:
        for controller, lines in settings(cgroups.version, resources).items():
            if controller not in cgroups.bases:
                continue
            base = cgroups.bases[controller]
            group = base / container_id
            if group not in made:
                group.mkdir(parents=True)
                made.append(group)
                if cgroups.version == 2:
                    _delegate(base, set(cgroups.bases))
            for file, value in lines:
                if not file.startswith("?") or (group / file[1:]).exists():
                    _write(group / file.lstrip("?"), value)
    except OSError:
        remove_once(tuple(made))
        raise


def out_of_memory(groups: tuple[Path, ...]) -> bool:
    """Whether the kernel killed something in these groups for lack of memory."""
    for group in groups:
        for file in ("memory.oom_control", "memory.events"):
            with contextlib.suppress(OSError):
                words = (group / file).read_text().split()
                if "oom_kill" in words and words[words.index("oom_kill") + 1] != "0":
                    return True
    return False


def kill(groups: tuple[Path, ...]) -> None:
    """SIGKILL every process in these groups."""
    for group in groups:
        with contextlib.suppress(OSError):
            for pid in (group / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), 9)


def remove_once(groups: tuple[Path, ...]) -> tuple[Path, ...]:
    """Remove what is empty, and then the parent we made it in; returns the groups that are still busy.

    A group is busy for a moment after its last process was killed.
    """
    busy = []
    for group in groups:
        try:
            group.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            busy.append(group)
        if group.parent.name.startswith("ionian-"):
            with contextlib.suppress(OSError):  # other containers are in it
                group.parent.rmdir()
    return tuple(busy)


def remove_now(groups: tuple[Path, ...]) -> None:
    """As ``remove``, without a loop: blocks for milliseconds when something is still in them, a second at most."""
    kill(groups)
    deadline = time.monotonic() + 1
    while (groups := remove_once(groups)) and time.monotonic() < deadline:
        kill(groups)
        time.sleep(0.001)


async def remove(groups: tuple[Path, ...]) -> None:
    """Remove the groups, killing what is still in them, for at most about five seconds."""
    for _ in range(500):
        groups = remove_once(groups)
        if not groups:
            return
        kill(groups)
        await asyncio.sleep(0.01)


def _write(file: Path, value: str) -> None:
    """One write, with the file's name in the error (write errors carry none)."""
    try:
        descriptor = os.open(file, os.O_WRONLY)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from None
