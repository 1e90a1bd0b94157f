"""Which modules a container has imported, seen from the byte code that Python wrote for them. Names only.

The byte code itself is not taken over: user code may have written it. It is compiled again from the image's sources.
"""

from __future__ import annotations

import os
from pathlib import Path


def imported(written: Path) -> list[str]:
    """Sources, as paths in the container, for which ``written`` holds fresh byte code."""
    found: list[str] = []
    for folder, _, names in os.walk(written / "usr" / "local"):
        path = Path(folder)
        if path.name != "__pycache__":
            continue
        inside = "/" / path.parent.relative_to(written)
        found += [str(inside / f"{name.split('.')[0]}.py") for name in names if name.endswith(".pyc")]
    return found
