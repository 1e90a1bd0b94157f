"""Which runtime works here, found by really starting a container: versions and permissions on paper prove nothing.

Ubuntu 24.04 opens user namespaces without the rights in them, Docker mounts /proc with parts hidden: only a mount that
succeeds counts.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import tempfile
from pathlib import Path

from ionian.errors import ContainerFailed, InvalidRequest, IonianError, Unavailable
from ionian.runtimes import cgroups
from ionian.runtimes.namespaces import NamespacesRuntime
from ionian.runtimes.process import ProcessRuntime
from ionian.runtimes.runtime import Interpreter, Runtime, SandboxSpec

SETTINGS = ("auto", "namespaces", "process")


async def choose(setting: str, state: Path) -> Runtime:
    """The runtime for ``setting`` (auto, namespaces, process). ``state``: private directory for its caches.

    Raises InvalidRequest for another setting, Unavailable (with reason and fix) when namespaces are demanded in vain.
    """
    if setting not in SETTINGS:
        raise InvalidRequest(f"runtime={setting!r} is not one of {', '.join(SETTINGS)}")
    state.mkdir(parents=True, exist_ok=True, mode=0o755)
    if setting == "process":
        return ProcessRuntime(state, (*_PROCESS_DETAILS, "namespaces: not tried, because the setting is process"))
    reasons = []
    for rootless in (False, True) if os.geteuid() == 0 else (True,):
        try:
            return await _namespaces(state, rootless)
        except (IonianError, OSError) as error:
            reasons.append(explain(error, rootless))
    if setting == "namespaces":
        raise Unavailable(f"the namespaces runtime does not work here: {reasons[0]}")
    return ProcessRuntime(state, (*_PROCESS_DETAILS, f"no namespaces: {reasons[0]}"))


_PROCESS_DETAILS = (
    "isolation: process (reduced: ordinary processes of this user, for trusted code only)",
    "no memory, cpu or process count limits, except RLIMIT_DATA for a memory limit",
)


async def _namespaces(state: Path, rootless: bool) -> NamespacesRuntime:
    """The runtime, after a container of it has run Python and ended well."""
    limits = cgroups.probe("ionian-" + hashlib.sha256(os.fsencode(state.absolute())).hexdigest()[:12])
    details = (
        "isolation: namespaces (own root file system, mounts, processes, ipc, host name; "
        + (f"user namespace of uid {os.getuid()})" if rootless else "as root with reduced capabilities)"),
        limits.describe(),
    )
    runtime = NamespacesRuntime(state, limits, rootless, details)
    with tempfile.TemporaryDirectory(prefix="probe-", dir=state) as scratch:
        null = os.open(os.devnull, os.O_RDWR)
        try:
            spec = SandboxSpec(
                container_id=f"probe-{os.getpid()}",
                argv=("{python}", "-I", "-c", "import sys; sys.exit(0 if sys.prefix == '/usr/local' else 3)"),
                env={},
                cwd="/",
                layers=(),
                interpreter=own_interpreter(),
                scratch=Path(scratch),
                stdout=null,
                stderr=null,
            )
            process = await runtime.start(spec)
            end = await process.wait()
            await process.reap()
        finally:
            os.close(null)
    if end.code != 0:
        raise ContainerFailed(f"a trial container's Python ended with {end}")
    return runtime


def own_interpreter() -> Interpreter:
    """The Python that runs this, by real path."""
    prefix = Path(os.path.realpath(sys.base_prefix))
    executable = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
    series = f"{sys.version_info[0]}.{sys.version_info[1]}"
    shared = any((prefix / "lib").glob(f"libpython{series}*.so*"))
    return Interpreter(executable, prefix, series, shared)


def explain(error: Exception, rootless: bool) -> str:
    """What failed and what to do about it, in one line."""
    step, number = getattr(error, "step", ""), getattr(error, "errno", 0)
    return f"{error}. {_fix(step, number, str(error), rootless)}".rstrip()


def _fix(step: str, number: int, message: str, rootless: bool) -> str:
    if step == "namespaces" and number in (errno.ENOSPC, errno.EUSERS):
        return "User namespaces are limited: sysctl -w user.max_user_namespaces=10000"
    if step == "namespaces" and number in (errno.EPERM, errno.EACCES):
        return (
            "Allow user namespaces: sysctl -w kernel.unprivileged_userns_clone=1 (in Docker: --privileged)"
            if rootless
            else "Root lacks CAP_SYS_ADMIN here (in Docker: start the container with --privileged)"
        )
    if step == "root" and number == errno.EINVAL and "overlay" in message:
        return (
            "The file system of the home directory cannot hold overlays (another overlay, or NFS): "
            "set IONIAN_HOME to a directory on ext4, xfs, btrfs or tmpfs"
        )
    if step == "root" and "mount proc" in message:
        return (
            "/proc is partly hidden, as in Docker: start it with --privileged or --security-opt systempaths=unconfined"
        )
    if step == "root" and number in (errno.EPERM, errno.EACCES):
        return (
            "User namespaces open without rights in them (AppArmor, as on Ubuntu 24.04): "
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
        )
    return ""
