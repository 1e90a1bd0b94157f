"""The Run step: a command in a build sandbox whose writable layer becomes the image's next one.

Where there are no namespaces nothing could keep a command off the host, so only what is known to be done passes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from ionian.images import hostbase, indexes, install, packages
from ionian.images.chain import Chain, Step, failed
from ionian.images.ops import PipInstall
from ionian.images.uvtool import UvTool
from ionian.model import Resources
from ionian.runtimes.runtime import Bind, Exit, Runtime, SandboxSpec

SCRATCH = "scratch"  # in a staging directory: the container's
_LAST_LINES = 20
_LONGEST_LINE = 64 * 1024  # bytes
_PASSED_ON = ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "ssl_cert_file", "ssl_cert_dir")
_NO_OPS = {"true", ":", "apt-get clean", "apt-get autoremove -y", "rm -rf /var/lib/apt/lists/*"}
_BESIDE = "/run/ionian"  # /run is not part of any layer


def container_id(stage: Path) -> str:
    """The name of the container that works in a staging directory."""
    return stage.name.strip(".")


async def run(
    argv: Sequence[str],
    command: str,
    chain: Chain,
    step: Step,
    runtime: Runtime,
    tool: UvTool,
    more: Sequence[Bind] = (),
) -> AsyncGenerator[str]:
    """Run ``argv`` with the layer as its writable root; yields its output line by line. Raises BuildFailed."""
    binds = (*_binds(tool), *more)
    scratch = step.stage / SCRATCH
    scratch.mkdir(mode=0o700)
    reader, writer = os.pipe()
    last: deque[str] = deque(maxlen=_LAST_LINES)
    spec = SandboxSpec(
        container_id=container_id(step.stage),
        argv=tuple(argv),
        env={**_host_settings(tool), **_uv_settings(chain), **chain.environment(), **dict(step.environ)},
        cwd=chain.cwd,
        layers=step.lower,
        interpreter=chain.interpreter,
        binds=binds,
        upper=step.tree,
        scratch=scratch,
        stdout=writer,
        stderr=writer,
        resources=Resources(cpu_millicores=1000, memory_mib=1024),
        hostname="build",
        build=True,
    )
    ended: list[Exit] = []
    lines = _output(runtime, spec, reader, writer, ended)
    async with contextlib.aclosing(lines):
        async for line in lines:
            last.append(line)
            yield line
    _clean(step.tree, binds)
    if ended[0].code != 0:
        raise failed(command, _how(ended[0]) + "".join(f"\n{line}" for line in last))


async def _output(
    runtime: Runtime, spec: SandboxSpec, reader: int, writer: int, ended: list[Exit]
) -> AsyncGenerator[str]:
    """Start the container and yield its lines; when it ends, or the build is given up, nothing of it is left."""
    try:
        process = await runtime.start(spec)
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)

    async def end() -> None:
        ended.append(await process.wait())
        await process.reap()  # what it left behind must not hold the pipe open

    ending = asyncio.ensure_future(end())
    try:
        async with contextlib.aclosing(_lines(reader)) as lines:
            async for line in lines:
                yield line
        await ending
    finally:
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
        await process.reap()


async def _lines(descriptor: int) -> AsyncGenerator[str]:
    """The lines of a pipe until it is closed; a carriage return ends one too (progress bars)."""
    loop = asyncio.get_running_loop()
    stream = asyncio.StreamReader(limit=2 * _LONGEST_LINE)
    pipe = os.fdopen(descriptor, "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
    rest = b""
    try:
        while chunk := await stream.read(_LONGEST_LINE):
            *whole, rest = re.split(rb"\r?\n|\r", rest + chunk)
            for line in whole:
                yield line.decode(errors="replace")
            if len(rest) > _LONGEST_LINE:
                yield rest.decode(errors="replace")
                rest = b""
        if rest:
            yield rest.decode(errors="replace")
    finally:
        transport.close()


def _how(end: Exit) -> str:
    if end.out_of_memory:
        return "It was killed: out of memory"
    if end.code is None:
        return "How it ended could not be recorded (is the disk full?)"
    return f"It was ended by signal {end.signal}" if end.signal else f"It ended with exit code {end.code}"


def _host_settings(tool: UvTool) -> dict[str, str]:
    """Proxies, certificates and package sources of the server's user: a step reaches what the user reaches."""
    kept = {n: v for n, v in tool.environ.items() if n.lower() in _PASSED_ON or n.startswith("UV_INDEX")}
    kept |= {n: v for n, v in tool.environ.items() if n in ("UV_DEFAULT_INDEX", "UV_FIND_LINKS", "UV_INSECURE_HOST")}
    return kept | dict(tool.pip) | {"PIP_ROOT_USER_ACTION": "ignore", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def _uv_settings(chain: Chain) -> dict[str, str]:
    """For uv, as for pip, "the system's Python" is the image's: not the host's in /usr, which it would find first."""
    own = {} if "VIRTUAL_ENV" in chain.env else {"UV_PYTHON": packages.PYTHON}
    return {"UV_LINK_MODE": "copy", "UV_PYTHON_DOWNLOADS": "manual", **own}


def _binds(tool: UvTool) -> tuple[Bind, ...]:
    """Local package indexes and certificates that the settings name, shown where they are."""
    settings = _host_settings(tool)
    names = ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "UV_INDEX", "UV_DEFAULT_INDEX", "UV_FIND_LINKS", "PIP_INDEX_URL")
    entries = {(name, entry) for name in names for entry in re.split(r"[\s,]+", settings.get(name, ""))}
    found = {_with_files(indexes.local_path(entry), "FIND_LINKS" not in name) for name, entry in entries}
    found |= {settings.get(name, "") for name in ("SSL_CERT_FILE", "PIP_CERT")}
    kept = [path for path in found if path and os.path.exists(path) and not path.startswith(("/usr/", "/etc/"))]
    return tuple(Bind(Path(path), path) for path in sorted(kept))


def _with_files(path: str, index: bool) -> str:
    """What to show of a local index: its pages name files beside it, so its directory (not one of /) comes too."""
    parent = os.path.dirname(path.rstrip("/"))
    return parent if index and parent.count("/") > 1 else path


def _clean(tree: Path, binds: Sequence[Bind]) -> None:
    """Take out of the layer what the sandbox itself left: mount points of binds."""
    for bind in binds:
        point = tree / bind.target.lstrip("/")
        with contextlib.suppress(OSError):
            if point.is_file() and point.stat().st_size == 0:
                point.unlink()
            while point != tree:
                if point.is_dir():
                    point.rmdir()
                point = point.parent


def source_build(op: PipInstall, stage: Path, tool: UvTool) -> tuple[list[str], tuple[Bind, ...]]:
    """How to install ``op`` inside a sandbox, where packages may be built from source: a command and what it needs.

    The cache is this build's own: what a package's build does to it reaches nobody else.
    """
    (stage / "beside" / "cache").mkdir(parents=True)
    args = [f"{_BESIDE}/uv", "pip", "install", "--python", packages.PYTHON, "--link-mode", "copy", *install.sources(op)]
    args += ["--cache-dir", f"{_BESIDE}/files/cache", *(["--no-deps"] if op.no_deps else [])]
    args += [*(["--prerelease", "allow"] if op.pre else []), *(["--upgrade"] if op.upgrade else []), *op.requirements]
    for option, texts in (("--requirements", op.files), ("--constraints", op.constraints)):
        for path in install.written(stage / "beside", option.strip("-"), texts):
            args += [option, f"{_BESIDE}/files/{path.name}"]
    files = Bind(stage / "beside", f"{_BESIDE}/files", read_only=False)
    return args, (Bind(tool.binary.resolve(), f"{_BESIDE}/uv"), files)


def accepted(command: str, argv: Sequence[str]) -> str | None:
    """Where there are no namespaces: why ``command`` counts as done, or None when it does not."""
    if argv:
        return None
    installed: list[str] = []
    for part in (part.strip() for part in command.split("&&")):
        if " ".join(part.split()) in _NO_OPS:
            continue
        wanted = _apt(part)
        if wanted is None or hostbase.missing_packages(wanted):
            return None
        installed += wanted
    return f"this host has {' '.join(installed)} already" if installed else "there is nothing to do on this host"


def _apt(part: str) -> list[str] | None:
    """The packages of an ``apt-get install`` ([] for ``update``), or None when it is another command."""
    if re.search(r"[$`\\;&|<>(){}*?\n]", part):
        return None
    words = [word for word in shlex.split(part) if word not in ("-y", "-q", "-qq", "--yes", "--no-install-recommends")]
    if words[:2] in (["apt-get", "update"], ["apt", "update"]):
        return [] if len(words) == 2 else None
    if words[:2] in (["apt-get", "install"], ["apt", "install"]) and not any(w.startswith("-") for w in words[2:]):
        return words[2:]
    return None


def missing(level: str, command: str) -> str:
    """What to say when a command cannot run here."""
    parts = [_apt(part.strip()) for part in command.split("&&")]
    wanted = [name for names in parts for name in names or ()]
    absent = hostbase.missing_packages(wanted) if None not in parts else []
    hint = f"install {' '.join(absent)} on this host, or " if absent else ""
    return (
        f"A build command needs a root file system of its own (namespaces); this server runs with {level} isolation. "
        f"To go on, {hint}see in `ionian status` what namespaces need here"
    )
