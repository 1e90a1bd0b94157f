"""The wheel of the one source distribution that clients before 1.0 and old image builders need: grpclib 0.4.7.

Nothing else is ever built outside a sandbox. Its ``setup.py`` is as trusted as the server's own dependencies, of which
grpclib is one. The wheel is kept under HOME, so the build runs once per machine.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

from ionian.images import uvtool
from ionian.images.uvtool import UvTool

TRUSTED = "grpclib==0.4.7"
_BLOCKED = re.compile(r"grpclib==0\.4\.7 has no (usable )?wheels")


def applies(reason: str) -> bool:
    """Whether what uv says is about the trusted source distribution."""
    return bool(_BLOCKED.search(reason))


async def folder(tool: UvTool, home: Path, venv: Path) -> Path | None:
    """The directory with the wheel, for ``--find-links``; None when it could not be built."""
    house = home / "wheels"
    if any(house.glob("grpclib-0.4.7-*.whl")):
        return house
    work = house / ".work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        args = ["pip", "install", "--no-deps", "--python", str(venv / "bin" / "python"), "--target", str(work)]
        if (await uvtool.run(tool, [*args, TRUSTED], cwd=house, extra={"UV_LINK_MODE": "copy"})).code:
            return None
        _pack(work, house / "grpclib-0.4.7-py3-none-any.whl")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return house


def _pack(tree: Path, wheel: Path) -> None:
    """The installed pure-Python package as a wheel again, without what the installer added."""
    info = tree / "grpclib-0.4.7.dist-info"
    lines = (info / "RECORD").read_text().splitlines()
    added = ("INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json")
    kept = [line for line in lines if not line.startswith("..") and line.split(",")[0].rpartition("/")[2] not in added]
    kept = [line for line in kept if (tree / line.split(",")[0]).is_file() and not line.startswith("bin/")]
    (info / "RECORD").write_text("\n".join(kept) + "\n")
    fresh = wheel.with_suffix(".new")
    with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED) as archive:
        for line in kept:
            archive.write(tree / line.split(",")[0], line.split(",")[0])
    fresh.rename(wheel)
