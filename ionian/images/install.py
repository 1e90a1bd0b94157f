"""The PipInstall step: uv, outside any sandbox, straight into the layer, hard-linked from one shared cache.

Outside, only wheels are ever installed: nothing of a package runs. What is installed in lower layers stays when it
satisfies; only the difference goes into the layer, and replaced packages are hidden.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ionian.errors import BuildFailed
from ionian.images import indexes, packages, uvtool, wheelhouse, whiteouts
from ionian.images.chain import failed
from ionian.images.layers import readable
from ionian.images.ops import PipInstall
from ionian.images.packages import PREFIX
from ionian.images.uvtool import UvResult, UvTool
from ionian.runtimes.runtime import Interpreter

_NEEDS_BUILD = (
    "no usable wheels",
    "building from source is disabled",
    "no wheels with a matching",
    "source distribution",
)
_NAME = re.compile(r"[A-Za-z0-9._-]*[A-Za-z0-9]")


class NeedsBuild(Exception):
    """A requirement has no wheel for this Python: it must be built, which only a sandbox may do."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Installation:
    """What a step installs into: the layer's stage, what lies below, and for which Python."""

    tool: UvTool
    venv: Path  # an empty virtual environment of the interpreter: uv asks it for tags and paths, and never writes to it
    interpreter: Interpreter
    lower: tuple[Path, ...]
    stage: Path
    home: Path
    environ: Mapping[str, str]  # the image's variables and secrets: those for uv and pip count

    @property
    def tree(self) -> Path:
        return self.stage / "tree"


async def base_venv(tool: UvTool, folder: Path, interpreter: Interpreter) -> Path:
    """An empty virtual environment of ``interpreter`` under ``folder``. Raises BuildFailed."""
    venv = folder / f"venv-{interpreter.series}-{str(interpreter.prefix).strip('/').replace('/', '-')}"
    if not (venv / "bin" / "python").exists():
        folder.mkdir(parents=True, exist_ok=True)
        args = ["venv", "--no-project", "--python", str(interpreter.executable), "--allow-existing", str(venv)]
        result = await uvtool.run(tool, args, cwd=folder)
        if result.code:
            raise BuildFailed(f"cannot make a virtual environment of {interpreter.executable}:\n{result.last_lines}")
    return venv


async def install(op: PipInstall, at: Installation) -> tuple[list[str], tuple[str, ...]]:
    """Install into the layer; returns lines for the log and "name==version" of what the layer holds.

    Raises NeedsBuild when a wheel is missing, BuildFailed with the command and uv's last lines.
    """
    try:
        return await _install(op, at)
    except NeedsBuild as error:
        house = await wheelhouse.folder(at.tool, at.home, at.venv) if wheelhouse.applies(error.reason) else None
        if house is None:
            raise
        return await _install(replace(op, find_links=(*op.find_links, str(house))), at)


async def _install(op: PipInstall, at: Installation) -> tuple[list[str], tuple[str, ...]]:
    series = at.interpreter.series
    have = packages.installed(at.lower, series)
    resolved, cached = await _resolved(op, at, {d.name: d.version for d in have.values()})
    notes = ["No package source answers: taken from the cache, as it was last seen"] if cached else []
    pins = packages.pins(resolved)
    new = [line for line in resolved.splitlines() if _is_new(line, pins, have)]
    if not new:
        return [*notes, "Nothing to install: the image has all of it already"], ()
    listing = at.stage / "install.txt"
    listing.write_text("\n".join(new) + "\n")
    args = ["pip", "install", "--no-deps", "--no-build", "--python", str(at.venv / "bin" / "python")]
    args += ["--prefix", str(at.tree / PREFIX), *sources(op), "-r", str(listing)]
    result = await uvtool.run(at.tool, args, cwd=at.stage, extra=index_environ(at.environ))
    if result.code:
        raise _failure(op, result)
    _finish(at, have)
    added = packages.installed((at.tree,), series).values()
    done = tuple(sorted(f"{d.name}=={d.version}" for d in added))
    kept = len(pins) - sum(1 for d in added if d.name in pins)
    kept_text = f" (kept {kept} that the image has already)" if kept > 0 else ""
    return [*notes, f"Installed {' '.join(done)}{kept_text}"], done


def _is_new(line: str, pins: Mapping[str, str], have: Mapping[str, packages.Distribution]) -> bool:
    """Whether a resolved line is something that lower layers lack (or have in another version)."""
    text = line.strip()
    if not text or text.startswith(("#", "--", "-")):
        return False
    for name in packages.pins(text):
        return name not in have or have[name].version != pins[name]
    return True


async def _resolved(op: PipInstall, at: Installation, have: Mapping[str, str]) -> tuple[str, bool]:
    """The full list of pins for ``op``, preferring versions that are installed; whether only the cache was asked."""
    wanted = at.stage / "requirements.txt"
    wanted.write_text("\n".join(op.requirements) + "\n")
    paths = [wanted, *written(at.stage, "file", op.files)]
    out = at.stage / "resolved.txt"
    named = {packages.normalised(m[0]) for r in op.requirements if (m := _NAME.match(r))} if op.upgrade else set()
    out.write_text("".join(f"{n}=={v}\n" for n, v in sorted(have.items()) if n not in named))
    args = ["pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-build", "--python"]
    args += [str(at.venv / "bin" / "python"), "--output-file", str(out), *sources(op)]
    args += ["--no-deps"] if op.no_deps else []
    args += ["--prerelease", "allow"] if op.pre else []
    for path in written(at.stage, "constraint", op.constraints):
        args += ["--constraint", str(path)]
    result = await uvtool.run(at.tool, [*args, *map(str, paths)], cwd=at.stage, extra=index_environ(at.environ))
    if result.code:
        raise _failure(op, result)
    return out.read_text(), result.offline


def written(folder: Path, name: str, texts: Sequence[str]) -> list[Path]:
    """Each text in a file of its own in ``folder``."""
    paths = []
    for number, text in enumerate(texts):
        path = folder / f"{name}-{number}.txt"
        path.write_text(text)
        paths.append(path)
    return paths


def sources(op: PipInstall) -> list[str]:
    """uv's options for where ``op`` takes packages from."""
    args = ["--default-index", op.index_url] if op.index_url else []
    for url in op.extra_index_urls:
        args += ["--index", url]
    for place in op.find_links:
        args += ["--find-links", place]
    for host in op.trusted_hosts:
        args += ["--allow-insecure-host", host]
    if op.extra_index_urls and not op.uv:
        args += ["--index-strategy", "unsafe-best-match"]
    return [*args, "--no-index"] if op.no_index else args


def index_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables of the image or its secrets that say where packages come from (private indexes)."""
    pip = {name: value for name, value in environ.items() if name.startswith("PIP_")}
    mapped = indexes.uv_settings({}, pip, lambda path: False)
    own = {n: v for n, v in environ.items() if n.startswith(("UV_INDEX", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL"))}
    return mapped | own


def _finish(at: Installation, have: Mapping[str, packages.Distribution]) -> None:
    """What uv leaves is made a layer: no lock file, scripts for the container's Python, replaced packages hidden."""
    series = at.interpreter.series
    (at.tree / PREFIX / ".lock").unlink(missing_ok=True)
    packages.point_scripts(at.tree)
    for name, new in packages.installed((at.tree,), series).items():
        old = have.get(name)
        if old is not None and old.version != new.version:
            files = packages.owned_files(at.lower, old, series)
            files |= {f"{old.folder}/{entry}" for entry in whiteouts.listing(at.lower, old.folder)}
            whiteouts.hide(at.lower, at.tree, files, packages.site_packages(series))
    readable(at.tree)


def _failure(op: PipInstall, result: UvResult) -> Exception:
    if any(sign in result.stderr for sign in _NEEDS_BUILD):
        return NeedsBuild(result.last_lines)
    lost = "\nno package source answers, and the cache does not have it" if result.no_network else ""
    return failed(op.command, result.last_lines + lost)


async def tools(at: Installation, names: tuple[str, ...]) -> bool:
    """The package tools that the official Python images have, and uv as in the client's base.

    False when they cannot be had (no network and nothing cached).
    """
    try:
        await install(PipInstall("pip install " + " ".join(names), names, no_deps=True), at)
    except (BuildFailed, NeedsBuild):
        return False
    place_uv(at.tool, at.tree / PREFIX / "bin" / "uv")
    return True


def tool_names(series: str, have: Mapping[str, packages.Distribution]) -> tuple[str, ...]:
    """The package tools to add to an image that has ``have``."""
    wanted = {"pip": "pip", "wheel": "wheel<0.46"} | ({} if series >= "3.12" else {"setuptools": "setuptools<81"})
    return tuple(requirement for name, requirement in wanted.items() if name not in have)


def place_uv(tool: UvTool, target: Path) -> None:
    """The server's own uv binary at ``target``, as a copy (hard links to a program would share its mode)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(tool.binary, target)
    target.chmod(0o755)
