"""Pure: which mounts make a container's root file system, as steps for ``launch``.

Three or more overlays, one inside the other, because /usr comes from the host and /usr/local does not. Each has its
upper inside the upper of the root, at the same path: together they are one tree relative to /, ready to be a layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ionian.runtimes import launch

Step = tuple[Any, ...]

_QUIET = launch.MS_NOSUID | launch.MS_NODEV | launch.MS_NOEXEC
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_READ_ONLY = ("sys", "sysrq-trigger", "irq", "bus", "fs")
_MASKED = (
    *(
        f"/proc/{name}"
        for name in ("kcore", "keys", "timer_list", "sched_debug", "latency_stats", "acpi", "scsi", "asound")
    ),
    "/sys/firmware",
    "/sys/kernel/security",
)

# chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service setfcap: what packages need to install,
# and what Docker gives less mknod, net_raw, audit_write and sys_chroot
CAPABILITIES = sum(1 << number for number in (0, 1, 3, 4, 5, 6, 7, 8, 10, 31))


@dataclass(frozen=True, slots=True)
class Overlay:
    """One overlay: absolute host paths, and where it is mounted."""

    at: str  # path in the container without the leading slash; "" is the root
    lowers: tuple[str, ...]  # top first
    upper: str
    work: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A host path shown in the container. ``source`` is a real path (no links in it)."""

    source: str
    target: str
    read_only: bool


def steps(
    box: str,
    overlays: Sequence[Overlay],
    binds: Sequence[Shown],
    files: Mapping[str, str],
    hostname: str,
    network: bool,
    root: bool,
) -> list[Step]:
    """The steps, in order. ``box``: an empty directory to mount things in. ``files``: texts to show, by name in /etc.

    ``network``: a network namespace of its own, with only a loopback. ``root``: no user namespace.
    """
    return [
        ("private",),
        ("mount", "tmpfs", box, "tmpfs", _QUIET, "mode=755"),
        ("chdir", box),
        ("mkdir", "root"),
        *(("file", name, text) for name, text in files.items()),
        *(step for number, overlay in enumerate(overlays) for step in _overlay(number, overlay)),
        ("pivot", "root"),
        *_kernel(root, network),
        *_devices(root),
        ("mount", "tmpfs", "/run", "tmpfs", launch.MS_NOSUID | launch.MS_NODEV, "mode=755"),
        ("mkdir", "/run/lock"),
        *(("bind", f"{box.lstrip('/')}/{name}", f"/etc/{name}", True, False) for name in files),
        *(("bind", shown.source.lstrip("/") or ".", shown.target, shown.read_only, False) for shown in binds),
        ("detach",),
        *(("try mask", path) for path in _MASKED),
        ("hostname", hostname),
        *([("loopback",)] if network else []),
    ]


def _overlay(number: int, overlay: Overlay) -> list[Step]:
    """Mount it, by links with names of a few letters: the options of a mount must fit a page."""
    lowers = [f"{number}{_short(place)}" for place in range(len(overlay.lowers))]
    upper, work = f"{number}-u", f"{number}-w"
    named = zip((*lowers, upper, work), (*overlay.lowers, overlay.upper, overlay.work), strict=True)
    # userxattr: the only kind an ordinary user may make, and layers must mean the same to both kinds.
    # volatile: the end of a container must not sync the host's whole file system.
    options = f"userxattr,volatile,lowerdir={':'.join(lowers)},upperdir={upper},workdir={work}"
    return [
        *(("symlink", path, name) for name, path in named),
        ("mount", "overlay", f"root/{overlay.at}".rstrip("/"), "overlay", 0, options),
    ]


def _short(number: int) -> str:
    """a, b ... z, aa, ba ..."""
    letter = chr(ord("a") + number % 26)
    return letter if number < 26 else letter + _short(number // 26 - 1)


def _kernel(root: bool, network: bool) -> list[Step]:
    """/proc of the new pid namespace, and /sys: a fresh one hides the host's cgroups, but needs the rights to it."""
    fresh = ("mount", "sysfs", "/sys", "sysfs", _QUIET | launch.MS_RDONLY, "")
    return [
        ("mount", "proc", "/proc", "proc", _QUIET, ""),
        *(("try bind", f"/proc/{name}", f"/proc/{name}", True, False) for name in _READ_ONLY),
        fresh if root else ("try " + fresh[0], *fresh[1:]) if network else ("try bind", "sys", "/sys", True, False),
    ]


def _devices(root: bool) -> list[Step]:
    group = ",gid=5" if root else ""  # an ordinary user has no second group to give terminals to
    return [
        ("mount", "tmpfs", "/dev", "tmpfs", launch.MS_NOSUID | launch.MS_NOEXEC, "mode=755,size=1m"),
        *(("bind", f"dev/{name}", f"/dev/{name}", False, True) for name in _DEVICES),
        ("mkdir", "/dev/shm"),
        ("mount", "tmpfs", "/dev/shm", "tmpfs", launch.MS_NOSUID | launch.MS_NODEV, "mode=1777"),
        ("mkdir", "/dev/pts"),
        (
            "mount",
            "devpts",
            "/dev/pts",
            "devpts",
            launch.MS_NOSUID | launch.MS_NOEXEC,
            f"newinstance,ptmxmode=0666,mode=0620{group}",
        ),
        ("symlink", "pts/ptmx", "/dev/ptmx"),
        ("symlink", "/proc/self/fd", "/dev/fd"),
        *(("symlink", f"/proc/self/fd/{n}", f"/dev/{name}") for n, name in enumerate(("stdin", "stdout", "stderr"))),
    ]
