"""Builds an image: one op after another, a layer for each that changes files, none that exists already made again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path

from ionian.blobs.store import BlobStore
from ionian.config import Config
from ionian.errors import InvalidRequest
from ionian.images import bytecode, chain, copying, hostbase, install, ops, packages, running, sums, uvtool
from ionian.images.chain import Chain, Step, failed
from ionian.images.install import Installation, NeedsBuild
from ionian.images.interpreters import Interpreters
from ionian.images.layers import LayerMeta, Layers, make_parents, remove_tree
from ionian.images.ops import Op, layer_key
from ionian.images.request import BuildDone, BuildOutput, BuildRequest
from ionian.images.uvtool import UvTool
from ionian.model import Isolation
from ionian.runtimes.runtime import Runtime

Lines = AsyncGenerator[str]
Fill = Callable[[Step], Lines]


class Builder:
    """At most one per machine: it owns the layer store."""

    def __init__(
        self, config: Config, runtime: Runtime, blobs: BlobStore, environ: Mapping[str, str] | None = None
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._blobs = blobs
        self._environ = os.environ if environ is None else environ
        self._layers = Layers(config)
        self._interpreters = Interpreters(config, self._environ)
        self._locks: dict[str, asyncio.Lock] = {}
        self._opened: UvTool | None = None

    def _tool(self) -> UvTool:
        if self._opened is None:
            self._opened = uvtool.uv_tool(self._config, self._environ)
        return self._opened

    def clean(self) -> None:
        """End the steps an earlier process left running, and remove what they made. Only before the first build."""
        for stage in self._layers.staging():
            self._runtime.adopt(running.container_id(stage), 0, 0, stage / running.SCRATCH)
        self._layers.clean()

    async def build(self, request: BuildRequest) -> AsyncGenerator[BuildOutput | BuildDone]:
        """Build an image: output as it comes, BuildDone last. Raises BuildFailed with command and last lines.

        Closing the iterator ends the build and leaves nothing of the step it was at.
        """
        self._tool()
        steps = [ops.from_json(step) for step in request.steps]
        series = next((op.series for op in steps if isinstance(op, ops.Base)), request.python_version)
        if not series:
            raise InvalidRequest("the image has no base: start from modal.Image.debian_slim()")
        found = await self._interpreters.describe(series)
        at = chain.begin(request, found, hostbase.digest(found.interpreter, found.build))
        yield BuildOutput(self._opening(at))
        for number, op in enumerate(steps, 1):
            if not isinstance(op, ops.Base):
                yield BuildOutput(f"Step {number}/{len(steps)}: {op.command}\n")
            async with contextlib.aclosing(self._step(op, at)) as lines:
                async for line in lines:
                    yield BuildOutput(line + "\n")
        yield self._done(at)

    def _opening(self, at: Chain) -> str:
        python = f"Python {at.found.version} ({at.interpreter.executable})"
        return f"Base: this host, {hostbase.name()}; {python}; isolation: {self._runtime.level.value}\n"

    def _done(self, at: Chain) -> BuildDone:
        trees = [self._layers.path(digest) for digest in at.layers]
        have = packages.installed(trees, at.series)
        metadata = {
            "shell": list(at.shell),
            "notes": at.notes,
            "host_base": at.base,
            "host_name": hostbase.name(),
            "python_version_info": f"Python {at.found.version}",
            "python_packages": {d.name: d.version for d in have.values()},
            "workdir": at.workdir,
        }
        return BuildDone(tuple(at.layers), tuple(at.env.items()), at.workdir, at.series, metadata)

    def _step(self, op: Op, at: Chain) -> Lines:
        """Do one op; gives lines for the log."""
        match op:
            case ops.Base():
                return _say(*_satisfied(op, at))
            case ops.PipInstall():
                return self._layer(op, at, self._pip_inputs(at), lambda step: self._pip(op, at, step))
            case ops.Run():
                return self._run(op, at)
            case ops.Copy():
                moves = copying.plan(op, at, self._trees(at))
                fill = _said(lambda step: copying.copy(op, moves, step, self._blobs))
                return self._layer(op, at, copying.inputs(moves), fill)
            case ops.Tool():
                return self._layer(op, at, str(self._tool().binary), self._uv(op))
            case ops.Workdir():
                return self._workdir(op, at)
            case ops.Note():
                at.notes.append(f"{op.command}: {op.outcome}")
                return _say(f"Noted: {op.outcome}")
            case ops.Env():
                at.set_env(op)
            case ops.Arg():
                at.set_arg(op)
            case ops.Shell():
                at.set_shell(op)
        return _say()

    def _trees(self, at: Chain) -> tuple[Path, ...]:
        return tuple(self._layers.path(digest) for digest in at.layers)

    # -- layers

    async def _layer(self, op: Op, at: Chain, inputs: object, fill: Fill) -> Lines:
        """Put the layer of ``op`` on the chain: the one that exists, or a new one that ``fill`` makes."""
        key = layer_key(op, at.layers, at.base, inputs)
        command = "" if isinstance(op, ops.Base) else op.command
        async with self._locks.setdefault(key, asyncio.Lock()):
            digest = None if at.request.force else self._layers.current(key)
            if digest:
                yield f"Using cached layer {digest[:12]}"
            else:
                stage = self._layers.stage()
                begun = time.monotonic()
                try:
                    step = Step(stage, self._trees(at), dict(at.request.secrets))
                    async with contextlib.aclosing(fill(step)) as lines:
                        async for line in lines:
                            yield line
                    what = type(op).__name__.lower()
                    meta = LayerMeta(what, command, tuple(at.layers), step.packages)
                    await asyncio.to_thread(sums.write, stage)
                    digest = self._layers.commit(stage, key, meta, force=at.request.force)
                finally:
                    remove_tree(stage)
                yield f"Layer {digest[:12]} made in {time.monotonic() - begun:.2f} s"
        at.layers.append(digest)

    async def _pip(self, op: ops.PipInstall, at: Chain, step: Step) -> Lines:
        where = await self._installation(at, step, {**at.env, **step.environ})
        try:
            lines, step.packages = await install.install(op, where)
        except NeedsBuild as error:
            if self._runtime.level is not Isolation.NAMESPACES:
                hint = "a package without a wheel is built by running its code, which needs namespaces"
                raise failed(op.command, f"{error.reason}\n{hint} (`ionian status` says more)") from error
            yield "A package has no wheel for this Python: building it from source, in a sandbox"
            remove_tree(step.tree)
            step.tree.mkdir()
            argv, binds = running.source_build(op, step.stage, self._tool())
            built = running.run(argv, op.command, at, step, self._runtime, self._tool(), binds)
            async with contextlib.aclosing(built) as output:
                async for line in output:
                    yield line
            remove_tree(step.tree / "tmp")  # what the tools left behind
            have = packages.installed((step.tree,), at.series).values()
            step.packages = tuple(sorted(f"{d.name}=={d.version}" for d in have))
            return
        for line in lines:
            yield line

    async def _installation(self, at: Chain, step: Step, environ: Mapping[str, str]) -> Installation:
        venv = await install.base_venv(self._tool(), self._config.home / "pythons", at.interpreter)
        return Installation(self._tool(), venv, at.interpreter, step.lower, step.stage, self._config.home, environ)

    def _pip_inputs(self, at: Chain) -> dict[str, str]:
        return {name: value for name, value in at.env.items() if name.startswith(("PIP_", "UV_"))}

    def _run(self, op: ops.Run, at: Chain) -> Lines:
        if self._runtime.level is not Isolation.NAMESPACES:
            reason = running.accepted(op.command, op.argv)
            if reason is None:
                raise failed(op.command, running.missing(self._runtime.level.value, op.command))
            at.notes.append(f"{op.command}: {reason}")
            return _say(f"Accepted without running it: {reason}")
        argv = op.argv or (*at.shell, op.command)
        tool = self._tool()

        def fill(step: Step) -> Lines:
            return running.run(argv, op.command, at, step, self._runtime, tool)

        inputs = [at.environment(), at.cwd, list(argv)]
        inputs += [at.request.secrets_key] if at.request.secrets_key else []
        return _after(self._package_tools(at), lambda: self._layer(op, at, inputs, fill))

    async def _package_tools(self, at: Chain) -> Lines:
        """Before the first command of an image: a layer with pip and uv, shared by all images of this Python."""
        if any(self._layers.meta(digest).what == "note" for digest in at.layers):
            return
        names = install.tool_names(at.series, packages.installed(self._trees(at), at.series))
        op = ops.Note("package tools: uv " + " ".join(names), "so that pip and uv work in commands")
        key = layer_key(op, (), at.base, str(self._tool().binary))
        async with self._locks.setdefault(key, asyncio.Lock()):
            if digest := self._layers.current(key):
                at.layers.append(digest)
                return
            stage = self._layers.stage()
            try:
                where = await self._installation(at, Step(stage, (), {}), {})
                if await install.tools(where, names):
                    at.layers.append(self._layers.commit(stage, key, LayerMeta("note", op.command, ())))
                    yield f"Made ready for commands: uv, {', '.join(names)}"
                else:
                    yield "pip could not be fetched, so commands of this build run without it"
            finally:
                remove_tree(stage)

    def _uv(self, op: ops.Tool) -> Fill:
        def put(step: Step) -> str:
            target = step.tree / op.target.lstrip("/")
            make_parents(step.tree, target)
            install.place_uv(self._tool(), target)
            return f"This server's own uv is used (the image asks for {op.version})"

        return _said(put)

    def _workdir(self, op: ops.Workdir, at: Chain) -> Lines:
        at.set_workdir(op)
        if copying.is_folder(self._trees(at), at.workdir):
            return _say()

        def make(step: Step) -> str:
            folder = step.tree / copying.resolve(step.lower, at.workdir).lstrip("/")
            make_parents(step.tree, folder / "file")
            return f"Made the directory {at.workdir}"

        return self._layer(op, at, at.workdir, _said(make))

    # -- byte code

    async def precompile(self, layers: tuple[str, ...], series: str, files: list[str]) -> str | None:
        """Compile what a container of these layers really imported; see ``bytecode.precompile``."""
        found = await self._interpreters.describe(series)
        return await bytecode.precompile(self._layers, layers, found.interpreter, files)


def _satisfied(op: ops.Base, at: Chain) -> list[str]:
    """What to say of the client's base image."""
    lines = [f"debian_slim (Python {op.python}, {op.codename}) is satisfied by this host; these are not run:"]
    lines += [f"  {command}" for command in op.preamble[1:]]
    lacking = hostbase.missing_packages(("gcc", "gfortran", "build-essential"))
    if lacking:
        lines.append(f"This host has no {', '.join(lacking)}: packages that must be compiled will fail")
    if op.python.count(".") == 2 and op.python != at.found.version:
        lines.append(f"The image asks for Python {op.python}; this host's {at.found.version} is used")
    return lines


def _said(work: Callable[[Step], str]) -> Fill:
    """A fill function of one that works at once and says one line."""

    async def fill(step: Step) -> Lines:
        yield work(step)

    return fill


async def _say(*lines: str) -> Lines:
    for line in lines:
        yield line


async def _after(first: Lines, then: Callable[[], Lines]) -> Lines:
    """The lines of ``first``, and when it has ended those of ``then``. Closing this closes them at once."""
    async with contextlib.aclosing(first) as lines:
        async for line in lines:
            yield line
    async with contextlib.aclosing(then()) as lines:
        async for line in lines:
            yield line
