"""The client's packages for containers: ``clients/VERSION-SERIES/pkg`` (modal, synchronicity) and ``deps`` (the rest).

Apart from the image on purpose: user packages come first, and the client that deployed an app is the one that runs it.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from ionian.config import Config
from ionian.errors import BuildFailed, InvalidRequest, Unavailable
from ionian.images import install, packages, uvtool, wheelhouse
from ionian.images.layers import readable, remove_tree
from ionian.images.uvtool import UvResult, UvTool
from ionian.runtimes.runtime import Interpreter

_LAYOUT = 2  # of these directories: pkg, deps, accel
_OWN = ("modal", "synchronicity")
_WARM = (  # writes the byte code of what containers import, and proves that the client works
    "import sys, importlib; sys.path[:0] = sys.argv[1:]; import modal, modal._serialization\n"
    "for name in ('modal._runtime.user_code_imports', 'modal._runtime.asgi', 'modal._partial_function', 'cbor2'):\n"
    "    try: importlib.import_module(name)\n"
    "    except ImportError: pass  # not in every version\n"
)
_making: dict[Path, asyncio.Task[Path]] = {}


async def client_layer(
    config: Config, version: str, interpreter: Interpreter, environ: Mapping[str, str] | None = None
) -> Path:
    """The directory with ``pkg``, ``deps`` and ``accel`` for this client version, made when it is not there.

    Raises InvalidRequest for a version that is none, Unavailable when it is not here and cannot be fetched.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+[A-Za-z0-9.+-]*", version):
        raise InvalidRequest(f"{version!r} is not a version of the modal client")
    final = config.home / "clients" / f"{version}-{interpreter.series}-{_LAYOUT}"
    if final.is_dir():
        return final
    task = _making.get(final)
    if task is None or task.get_loop() is not asyncio.get_running_loop():
        tool = uvtool.uv_tool(config, os.environ if environ is None else environ)
        task = asyncio.create_task(_make(config, tool, version, interpreter, final))
        _making[final] = task
        task.add_done_callback(lambda done: _making.pop(final, None))
    return await asyncio.shield(task)


async def _make(config: Config, tool: UvTool, version: str, interpreter: Interpreter, final: Path) -> Path:
    final.parent.mkdir(parents=True, exist_ok=True)
    for old in final.parent.glob(f".{final.name}-*"):
        remove_tree(old)
    stage = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
    stage.chmod(0o755)
    try:
        venv = await install.base_venv(tool, config.home / "pythons", interpreter)
        pins, links = await _resolved(config, tool, venv, version, stage)
        own = [line for line in pins if packages.normalised(line.split("==")[0]) in _OWN]
        await _put(tool, venv, stage, "pkg", own, links, version)
        await _put(tool, venv, stage, "deps", [line for line in pins if line not in own], links, version)
        await _warm(interpreter, stage, version)
        await _accelerate(tool, venv, stage)
        for name in ("pkg", "deps", "accel"):
            readable(stage / name)
        os.rename(stage, final)
    except BuildFailed as error:
        raise Unavailable(str(error)) from error
    finally:
        remove_tree(stage)
    return final


async def _resolved(config: Config, tool: UvTool, venv: Path, version: str, stage: Path) -> tuple[list[str], list[str]]:
    """All packages of the client, pinned, and uv's options for where the trusted wheel lies."""
    wanted = stage / "wanted.txt"
    wanted.write_text(f"modal=={version}\n")
    args = ["pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-build"]
    args += ["--python", str(venv / "bin" / "python"), str(wanted)]
    result = await uvtool.run(tool, args, cwd=stage)
    links: list[str] = []
    if result.code and wheelhouse.applies(result.stderr):
        house = await wheelhouse.folder(tool, config.home, venv)
        links = ["--find-links", str(house)] if house else []
        result = await uvtool.run(tool, [*args, *links], cwd=stage)
    if result.code:
        raise _unavailable(version, result)
    return [line.strip() for line in result.stdout.splitlines() if packages.pins(line)], links


async def _put(
    tool: UvTool, venv: Path, stage: Path, name: str, pins: list[str], links: list[str], version: str
) -> None:
    listing = stage / f"{name}.txt"
    listing.write_text("\n".join(pins) + "\n")
    args = ["pip", "install", "--no-deps", "--no-build", "--python", str(venv / "bin" / "python"), *links]
    result = await uvtool.run(tool, [*args, "--target", str(stage / name), "-r", str(listing)], cwd=stage)
    if result.code:
        raise _unavailable(version, result)
    shutil.rmtree(stage / name / "bin", ignore_errors=True)
    (stage / name / ".lock").unlink(missing_ok=True)


async def _accelerate(tool: UvTool, venv: Path, stage: Path) -> None:
    """uvloop for the runner's own web loop, in a place that user code does not see. All works without it."""
    (stage / "accel").mkdir()
    wanted = f"uvloop=={metadata.version('uvloop')}"
    args = ["pip", "install", "--no-deps", "--no-build", "--python", str(venv / "bin" / "python")]
    result = await uvtool.run(tool, [*args, "--target", str(stage / "accel"), wanted], cwd=stage)
    if result.code:
        remove_tree(stage / "accel")
        (stage / "accel").mkdir()
    (stage / "accel" / ".lock").unlink(missing_ok=True)


async def _warm(interpreter: Interpreter, stage: Path, version: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(interpreter.executable, "-I", "-S", "-c", _WARM, str(stage / "pkg"), str(stage / "deps")),
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(stage)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        umask=0o022,
    )
    _, err = await process.communicate()
    if process.returncode:
        last = err.decode(errors="replace").strip().splitlines()[-1:]
        raise Unavailable(
            f"the modal client {version} does not start with Python {interpreter.series} ({''.join(last)}); "
            "use another client or another python_version"
        )


def _unavailable(version: str, result: UvResult) -> Unavailable:
    return Unavailable(
        f"the modal client {version}, which deployed this app, is not on this machine and could not be fetched "
        f"(is a package index reachable?)\n{result.last_lines}"
    )
