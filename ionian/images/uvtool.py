"""The one door to uv: its binary, the environment it runs in, and running it. It never touches the host's Python."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ionian.config import Config
from ionian.errors import Unavailable
from ionian.images import indexes

_REDIRECTING = {
    "UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_BREAK_SYSTEM_PACKAGES", "UV_PROJECT_ENVIRONMENT", "UV_COMPILE_BYTECODE",
    "UV_NO_CACHE", "UV_TARGET", "UV_PREFIX", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_PRERELEASE", "UV_WORKING_DIR",
    "UV_CACHE_DIR", "UV_LINK_MODE", "UV_EXCLUDE_NEWER", "UV_RESOLUTION", "VIRTUAL_ENV", "CONDA_PREFIX",
}  # fmt: skip
_NO_NETWORK = ("error sending request", "Failed to fetch", "dns error", "Could not connect", "Network is unreachable")


@dataclass(frozen=True, slots=True)
class UvTool:
    """How to run uv. ``environ`` is complete; ``pip`` are pip's settings, for builds inside a sandbox."""

    binary: Path
    environ: Mapping[str, str] = field(repr=False)
    pip: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class UvResult:
    code: int
    stdout: str
    stderr: str
    offline: bool = False  # no package source answered; it was done from the cache alone

    @property
    def no_network(self) -> bool:
        """Whether it failed because a package source did not answer."""
        return self.code != 0 and any(sign in self.stderr for sign in _NO_NETWORK)

    @property
    def last_lines(self) -> str:
        """What uv said, without blank lines, at most the last 12."""
        lines = [line.rstrip() for line in self.stderr.splitlines() if line.strip()]
        return "\n".join(lines[-12:])


def uv_tool(config: Config, environ: Mapping[str, str]) -> UvTool:
    """uv with the user's settings, its cache under HOME. Raises Unavailable when uv is not installed."""
    home = environ.get("HOME", "/root")
    prefixes = [environ["VIRTUAL_ENV"]] if environ.get("VIRTUAL_ENV") else []
    texts = []
    for path in indexes.config_paths(environ, home, prefixes):
        with contextlib.suppress(OSError):
            texts.append(Path(path).read_text())
    pip = indexes.pip_settings(environ, texts)
    kept = {
        name: value
        for name, value in environ.items()
        if name not in _REDIRECTING and not name.startswith(("PYTHON", "PIP_", "IONIAN_", "MODAL_"))
    }
    kept |= indexes.uv_settings(environ, pip, os.path.exists)
    kept |= {
        "UV_CACHE_DIR": str(config.uv_cache),
        "UV_LINK_MODE": "hardlink",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
        "NO_COLOR": "1",
    }
    return UvTool(_binary(), kept, pip)


def _binary() -> Path:
    try:
        import uv

        return Path(uv.find_uv_bin())
    except (ImportError, FileNotFoundError) as error:
        raise Unavailable("uv is not installed beside ionian; install ionian again (it depends on uv)") from error


async def run(
    tool: UvTool, args: Sequence[str], *, cwd: Path, extra: Mapping[str, str] | None = None, timeout_s: float = 1800
) -> UvResult:
    """Run uv to its end. When the network does not answer: from the cache alone, and only then with all retries."""
    given = dict(extra or {})
    quick = {"UV_HTTP_RETRIES": "1", **{n: v for n, v in tool.environ.items() if n == "UV_HTTP_RETRIES"}, **given}
    result = await _once(tool, args, cwd, quick, timeout_s)
    if not result.no_network:
        return result
    offline = await _once(tool, [*args, "--offline"], cwd, given, timeout_s)
    if not offline.code:
        return replace(offline, offline=True)
    return await _once(tool, args, cwd, given, timeout_s)


async def _once(tool: UvTool, args: Sequence[str], cwd: Path, extra: Mapping[str, str], timeout_s: float) -> UvResult:
    process = await asyncio.create_subprocess_exec(
        tool.binary,
        *args,
        cwd=cwd,
        env={**tool.environ, **extra},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        umask=0o022,
        start_new_session=True,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), timeout_s)
    except TimeoutError:
        return UvResult(124, "", f"uv gave no answer in {timeout_s:.0f} s")
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return UvResult(process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))
