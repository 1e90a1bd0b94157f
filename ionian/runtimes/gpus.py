"""The NVIDIA GPUs of this machine, by name. Asks the driver's own files first: no program runs where they are there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

_QUERY = ("--query-gpu=name", "--format=csv,noheader")
_QUERY_TIMEOUT_S = 20


def names(root: Path = Path("/")) -> tuple[str, ...]:
    """Such as ``("NVIDIA H100 80GB HBM3",)``; empty without a GPU. ``root``: where /proc and /dev are."""
    models = [_model(path) for path in sorted(root.glob("proc/driver/nvidia/gpus/*/information"))]
    if models:
        return tuple(models)
    devices = sorted(path.name for path in root.glob("dev/nvidia*") if re.fullmatch(r"nvidia\d+", path.name))
    if not devices:
        return ()
    return _queried() or tuple(f"an NVIDIA GPU (/dev/{device})" for device in devices)


def _model(information: Path) -> str:
    try:
        found = re.search(r"^Model:\s*(\S.*?)\s*$", information.read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else "an NVIDIA GPU"


def _queried() -> tuple[str, ...]:
    """What nvidia-smi says; nothing where it is missing or fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        done = subprocess.run([program, *_QUERY], capture_output=True, text=True, timeout=_QUERY_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip()) if done.returncode == 0 else ()
