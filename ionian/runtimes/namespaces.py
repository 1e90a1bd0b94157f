"""The namespaces runtime: own root file system, mounts, processes, ipc and host name; cgroup limits where writable.

The root file system is overlays of layers over the host's /usr and a skeleton (``rootfs``, ``skeleton``). The host and
the layers are never written to.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from ionian.errors import ContainerFailed, InvalidRequest
from ionian.model import Isolation
from ionian.runtimes import cgroups, container, launch, rootfs, skeleton
from ionian.runtimes.cgroups import Cgroups
from ionian.runtimes.container import Container, Made, Plan
from ionian.runtimes.runtime import Bind, Interpreter, SandboxSpec

PYTHON = "/usr/local/bin/python"
PACKAGE_STATE = ("var/lib/dpkg", "var/lib/apt", "var/cache/apt")  # the host's, below what a build changes

_POLICY = "#!/bin/sh\nexit 101\n"  # policy-rc.d: installing a service in a build does not start it


class NamespacesRuntime:
    """``state``: private directory for caches. ``rootless``: make a user namespace with one user and group mapped.

    Makes this process a subreaper; must be constructed in the process that waits for the containers.
    """

    level = Isolation.NAMESPACES

    def __init__(self, state: Path, limits: Cgroups, rootless: bool, details: tuple[str, ...] = ()) -> None:
        launch.subreaper()
        self.details = details
        self._state = state
        self._limits = limits
        self._rootless = rootless
        self._launcher = container.compile_launcher(state)
        self._bases: dict[Interpreter, skeleton.Base] = {}

    async def start(self, spec: SandboxSpec) -> Container:
        """Start a container. Raises InvalidRequest (the program cannot run) or ContainerFailed (its surroundings)."""
        base = self._base(spec.interpreter)
        work = _work_directory(spec)
        made = Made(
            groups=cgroups.groups(self._limits, spec.container_id),
            paths=(*({work} - {spec.scratch / ".runtime"}), spec.scratch / ".runtime"),
            hollow=_hollow(spec, self._rootless),
        )
        made.save(spec.scratch)
        try:
            plan = self._plan(spec, base, self._overlays(spec, base, work))
            cgroups.create(self._limits, spec.container_id, spec.resources)
        except (OSError, InvalidRequest) as error:
            container.discard(made)
            if isinstance(error, InvalidRequest):
                raise
            raise ContainerFailed(f"cannot make what the container needs: {error}") from error
        return await container.start(spec, plan, made, self._launcher)

    def adopt(self, container_id: str, pid: int, start_time: int, scratch: Path) -> Container | None:
        """See ``Runtime``."""
        return container.adopt(container_id, pid, start_time, scratch)

    def shown(self, bind: Bind) -> str:
        """See ``Runtime``: the target, as everything can be mounted."""
        return bind.target

    def home(self, scratch: Path) -> str:
        """See ``Runtime``."""
        return "/root"

    def written(self, scratch: Path) -> Path | None:
        """See ``Runtime``: the upper directory of its overlays."""
        return scratch / ".runtime" / "upper"

    def check(self, layers: tuple[Path, ...], owner: str) -> None:
        """See ``Runtime``: every layer can be shown."""

    def release(self, owner: str) -> None:
        """See ``Runtime``: nothing was made."""

    def keep(self, owners: Collection[str]) -> None:
        """See ``Runtime``: nothing was made."""

    def _base(self, interpreter: Interpreter) -> skeleton.Base:
        if interpreter not in self._bases:
            self._bases[interpreter] = skeleton.prepare(self._state, interpreter, self._rootless)
        return self._bases[interpreter]

    def _plan(self, spec: SandboxSpec, base: skeleton.Base, overlays: list[rootfs.Overlay]) -> Plan:
        env = dict(spec.env)
        if base.relocate and spec.interpreter.shared_library:
            env["LD_LIBRARY_PATH"] = ":".join(filter(None, (f"{skeleton.RELOCATED}/lib", env.get("LD_LIBRARY_PATH"))))
        unshare = launch.CLONE_NEWNS | launch.CLONE_NEWPID | launch.CLONE_NEWIPC | launch.CLONE_NEWUTS
        unshare |= launch.CLONE_NEWNET if spec.block_network else 0
        unshare |= launch.CLONE_NEWUSER if self._rootless else 0
        return Plan(
            argv=tuple(PYTHON if word == "{python}" else word for word in spec.argv),
            env=env,
            cwd=spec.cwd,
            make_cwd=True,
            unshare=unshare,
            capabilities=rootfs.CAPABILITIES,
            no_new_privileges=not spec.build,
            steps=tuple(
                rootfs.steps(
                    os.path.realpath(spec.scratch / ".runtime/box"),
                    overlays,
                    list(_binds(spec, base)),
                    skeleton.per_start(spec.hostname),
                    spec.hostname,
                    spec.block_network,
                    not self._rootless,
                )
            ),
        )

    def _overlays(self, spec: SandboxSpec, base: skeleton.Base, work: Path) -> list[rootfs.Overlay]:
        """Plan the overlays, and make the upper and work directories they need."""
        runtime = spec.scratch / ".runtime"
        upper = spec.upper or runtime / "upper"
        for directory in (runtime / "box", upper, work):
            directory.mkdir(exist_ok=True)
        upper.chmod(0o755)  # becomes the mode of "/"
        overlays = []
        for number, at in enumerate(_points(spec, self._rootless)):
            lowers = [layer / at for layer in reversed(spec.layers) if not at or (layer / at).is_dir()]
            (upper / at).mkdir(parents=True, exist_ok=True)
            (work / f"w{number}").mkdir()
            lowers += self._ground(at, base, spec.build)
            places = [str(path.absolute()) for path in (upper / at, work / f"w{number}")]
            overlays.append(rootfs.Overlay(at, tuple(str(path.absolute()) for path in lowers), *places))
        return overlays

    def _ground(self, at: str, base: skeleton.Base, build: bool) -> list[Path]:
        """What lies under the layers at this place."""
        if at == "":
            return [base.root]
        if at == "usr/local":
            return [base.local]
        if at == "usr" and build:
            policy = self._state / "policy"
            if not (policy / "sbin/policy-rc.d").exists():
                (policy / "sbin").mkdir(parents=True, exist_ok=True)
                (policy / "sbin/policy-rc.d").write_text(_POLICY)
                (policy / "sbin/policy-rc.d").chmod(0o755)
            return [policy, *([skeleton.own_directories(self._state)] if self._rootless else []), Path("/usr")]
        if at == "var/lib/dpkg" and self._rootless:
            return [skeleton.own_packages(self._state)]
        return [Path("/", at)]


def _points(spec: SandboxSpec, rootless: bool) -> list[str]:
    """Where overlays are mounted, outermost first. An ordinary user's apt begins without lists and archives."""
    wanted = PACKAGE_STATE[: 1 if rootless else None] if spec.build else ()
    state = [path for path in wanted if Path("/", path).is_dir()]
    return ["", "usr", "usr/local", *state]


def _hollow(spec: SandboxSpec, rootless: bool) -> tuple[Path, ...]:
    """Directories that a kept upper has only because an overlay is mounted there, deepest first."""
    if spec.upper is None:
        return ()
    found: set[Path] = set()
    for at in filter(None, _points(spec, rootless)):
        found |= {spec.upper / at, *(spec.upper / parent for parent in Path(at).parents)}
    return tuple(sorted(found - {spec.upper}, key=lambda path: -len(path.parts)))


def _work_directory(spec: SandboxSpec) -> Path:
    """Overlay's work directories must be on the file system of the upper."""
    runtime = spec.scratch / ".runtime"
    if spec.upper is None or os.stat(spec.upper.parent).st_dev == os.stat(spec.scratch).st_dev:
        return runtime / "work"
    return spec.upper.with_name(f"{spec.upper.name}.work")


def _binds(spec: SandboxSpec, base: skeleton.Base) -> Iterator[rootfs.Shown]:
    """Everything of the host that is shown besides overlays."""
    for name in skeleton.top_directories():
        yield rootfs.Shown(f"/{name}", f"/{name}", True)
    if base.relocate:
        yield rootfs.Shown(os.path.realpath(spec.interpreter.prefix), skeleton.RELOCATED, True)
    for bind in spec.binds:
        if not bind.target.startswith("/"):
            raise InvalidRequest(f"the mount target {bind.target!r} is not an absolute path")
        if not bind.source.exists():
            raise InvalidRequest(f"cannot show {bind.source} at {bind.target}: it does not exist")
        yield rootfs.Shown(os.path.realpath(bind.source), bind.target, bind.read_only)
