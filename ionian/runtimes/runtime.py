"""SEAM Runtime: starts one process tree in the isolation this machine allows. Implementations: namespaces, process.

A runtime knows nothing of functions or images: it gets directories, an argv and descriptors. It leaves nothing behind:
when a Process has ended and ``reap`` was called, no process, mount, cgroup, link or scratch file of it remains.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ionian.model import Isolation, Resources


@dataclass(frozen=True, slots=True)
class Bind:
    """A host path shown in the container."""

    source: Path
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python on this machine, by real path (never a shim)."""

    executable: Path  # /usr/bin/python3.11
    prefix: Path  # sys.base_prefix, /usr
    series: str  # "3.11"
    shared_library: bool  # needs LD_LIBRARY_PATH=<prefix>/lib when it is shown at another path


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """What to run. ``layers`` are directory trees relative to the root, bottom first (image, then mounts).

    Python in the container is ``/usr/local/bin/python`` in the namespaces runtime: a venv at /usr/local whose site
    directory is ``/usr/local/lib/pythonX.Y/site-packages``, as in the official python images. In the process runtime
    the same layers are shown as a venv directory, ``root/`` as the working directory, and other files through links.
    """

    container_id: str
    argv: tuple[str, ...]  # argv[0] may be "{python}", replaced by the container's interpreter
    env: Mapping[str, str] = field(repr=False)
    cwd: str
    layers: tuple[Path, ...]
    interpreter: Interpreter
    binds: tuple[Bind, ...] = ()
    upper: Path | None = None  # writable layer to keep (builds), to be read after reap(); None: scratch
    scratch: Path = Path(
        "/nonexistent"
    )  # an existing private directory of this container for whatever the runtime needs
    stdin: int = -1  # -1: nothing to read. A terminal becomes the one that controls the program
    stdout: int = 1  # descriptors of the caller, duplicated into the container
    stderr: int = 2
    pass_fds: tuple[int, ...] = ()  # kept open at the same numbers
    resources: Resources = field(default_factory=Resources)
    hostname: str = "ionian"
    block_network: bool = False
    build: bool = False  # a build step: root file system writable by its root user, package manager state visible


@dataclass(frozen=True, slots=True)
class Exit:
    """How the program ended. ``code`` is 128 + ``signal`` after a signal; None: unknown (nobody watched)."""

    code: int | None
    signal: int | None = None
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class Terminal:
    """The size of a terminal, in characters."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A command to run inside a container that runs already, beside the container's own program."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)  # over the variables of the container's program
    without: tuple[str, ...] = ()  # variables of that program that are not for this one
    cwd: str = ""  # absolute; empty: the container's
    stdin: int = -1  # descriptors of the caller; -1: nothing comes or goes there
    stdout: int = -1
    stderr: int = -1
    terminal: Terminal | None = None  # instead of the three: a terminal of the container


class Command(Protocol):
    """A command that was started by ``Process.enter``. It ends with the container, and with this process."""

    pid: int
    terminal: int  # master of its terminal, the caller's to close; -1: it has none

    async def wait(self) -> Exit: ...

    async def gone(self) -> None:
        """Until nothing of it is left, once its container has ended."""

    def signal(self, number: int) -> None:
        """Signal the command and what it has started; nothing happens when it has ended."""


class Process(Protocol):
    """One started container. ``pid`` is the host's pid of its init; ``start_time`` guards against pid reuse."""

    container_id: str
    pid: int
    start_time: int  # clock ticks since boot, field 22 of /proc/PID/stat

    async def wait(self) -> Exit: ...

    def signal(self, number: int) -> None:
        """Signal the first process of the container (SIGTERM is delivered to the program, not lost in an init)."""

    async def enter(self, entry: Entry) -> Command:
        """Run a command in this container: same namespaces, limits, rights and variables as its program.

        Raises InvalidRequest (it cannot be run), FailedPrecondition (the container ends), ContainerFailed.
        """

    async def reap(self) -> None:
        """Kill whatever is left of it and remove its mounts, cgroup, links, scratch. Safe to call twice."""


class Runtime(Protocol):
    """At most one instance per worker."""

    level: Isolation
    details: tuple[str, ...]  # human lines for ``up`` and ``status``: what is in force and what is missing, and why

    async def start(self, spec: SandboxSpec) -> Process: ...

    def adopt(self, container_id: str, pid: int, start_time: int, scratch: Path) -> Process | None:
        """The still-running process of a previous worker, or None when it is gone (its remains are reaped)."""

    def shown(self, bind: Bind) -> str:
        """The path at which the container sees a bind: its target, or its source where nothing can be mounted."""

    def home(self, scratch: Path) -> str:
        """The directory the container sees as /root (its working directory, where client code is mounted)."""

    def written(self, scratch: Path) -> Path | None:
        """The tree (relative to the root) of what a container has written so far; None when it writes in place."""

    def check(self, layers: tuple[Path, ...], owner: str) -> None:
        """Raise InvalidRequest, naming the path, when files of these layers cannot be shown here.

        The namespaces runtime shows everything. The process runtime makes links on the host for ``owner`` (an app id).
        """

    def release(self, owner: str) -> None:
        """Remove what ``check`` made for this owner."""

    def keep(self, owners: Collection[str]) -> None:
        """Remove what ``check`` made for anybody else: the rest of an earlier worker, and at the end everything."""
