"""What the compatibility names say: one line on stderr for each thing, once, and nothing inside a container."""

from __future__ import annotations

import os
import sys

_said: set[str] = set()


def remote() -> bool:
    """Whether this is a container, where everything was said at deploy time already."""
    return os.environ.get("MODAL_IS_REMOTE") == "1"


def note(text: str) -> None:
    """Say ``text`` unless it was said before."""
    if text not in _said and not remote():
        _said.add(text)
        print("ionian: " + text, file=sys.stderr)  # noqa: T201
