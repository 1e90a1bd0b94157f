"""The process runtime: an ordinary process in its own session, for trusted code where nothing can be mounted.

The layers' /usr/local is a venv directory, their /root a private working directory, their other files links.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from pathlib import Path

from ionian.errors import ContainerFailed, InvalidRequest
from ionian.model import Isolation
from ionian.runtimes import container, launch, trees, venvs
from ionian.runtimes.container import Container, Made, Plan
from ionian.runtimes.links import Links
from ionian.runtimes.runtime import Bind, SandboxSpec

_RLIMIT_DATA = 2


class ProcessRuntime:
    """``state``: private directory for venvs, link targets and the record of links. Makes this process a subreaper."""

    level = Isolation.PROCESS

    def __init__(self, state: Path, details: tuple[str, ...] = (), root: Path = Path("/")) -> None:
        launch.subreaper()
        self.details = details
        self._envs = state / "envs"
        self._links = Links(state, root)
        self._launcher = container.compile_launcher(state)

    async def start(self, spec: SandboxSpec) -> Container:
        """Start a program. Raises InvalidRequest naming what cannot be done without namespaces."""
        if spec.block_network:
            raise InvalidRequest(
                "block_network needs the namespaces runtime, which does not work here: `ionian status` says why"
            )
        if spec.upper is not None:
            raise InvalidRequest(
                "a build step that runs a command needs the namespaces runtime, which does not work here: "
                "`ionian status` says why"
            )
        for bind in spec.binds:
            if not bind.source.exists():
                raise InvalidRequest(f"cannot show {bind.source} for {bind.target}: it does not exist")
        runtime, home = spec.scratch / ".runtime", spec.scratch / "root"
        made = Made(paths=(home, runtime), alone=True)
        made.save(spec.scratch)
        try:
            env = venvs.prepare(self._envs, spec.layers, spec.interpreter)
            for _ in trees.build([layer / "root" for layer in reversed(spec.layers)], home, trees.copy):
                await asyncio.sleep(0)
        except BaseException as error:
            container.discard(made)
            if isinstance(error, OSError):
                raise ContainerFailed(f"cannot make what the container needs: {error}") from error
            raise
        return await container.start(spec, _plan(spec, env, home), made, self._launcher)

    def adopt(self, container_id: str, pid: int, start_time: int, scratch: Path) -> Container | None:
        """See ``Runtime``."""
        return container.adopt(container_id, pid, start_time, scratch)

    def shown(self, bind: Bind) -> str:
        """See ``Runtime``: the source, as nothing can be mounted."""
        return str(bind.source)

    def home(self, scratch: Path) -> str:
        """See ``Runtime``."""
        return str(scratch / "root")

    def written(self, scratch: Path) -> Path | None:
        """See ``Runtime``: byte code goes straight into the environment of the image."""
        return None

    def check(self, layers: tuple[Path, ...], owner: str) -> None:
        """See ``Runtime``: link the layers' absolute paths on the host."""
        self._links.provide(layers, owner)

    def release(self, owner: str) -> None:
        """See ``Runtime``: remove those links."""
        self._links.release(owner)

    def keep(self, owners: Collection[str]) -> None:
        """See ``Runtime``: remove the links of all others."""
        self._links.keep(owners)


def _plan(spec: SandboxSpec, env: Path, home: Path) -> Plan:
    limit = spec.resources.memory_limit_mib
    return Plan(
        argv=tuple(str(env / "bin/python") if word == "{python}" else word for word in spec.argv),
        env=_environment(spec, env),
        cwd=_inside(spec.cwd, home),
        home=str(home),
        limits=((_RLIMIT_DATA, limit * 1024 * 1024),) if limit is not None else (),
    )


def _environment(spec: SandboxSpec, venv: Path) -> dict[str, str]:
    """The program's environment, with the venv's commands found first, where /usr/local/bin would be."""
    env = dict(spec.env)
    if spec.interpreter.shared_library and os.environ.get("LD_LIBRARY_PATH"):  # it may be what finds our own libpython
        env.setdefault("LD_LIBRARY_PATH", f"{spec.interpreter.prefix}/lib")
    folders = [folder for folder in env.get("PATH", os.defpath).split(":") if folder and folder != "/usr/local/bin"]
    return {**env, "PATH": ":".join((f"{venv}/bin", *folders)), "VIRTUAL_ENV": str(venv)}


def _inside(cwd: str, home: Path) -> str:
    """Where /root is: a working directory there is below ``home``."""
    if cwd == "/root" or cwd.startswith("/root/"):
        return f"{home}{cwd.removeprefix('/root')}"
    return cwd
