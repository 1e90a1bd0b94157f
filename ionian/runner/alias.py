"""Where a web function answers: at ``/`` and, unless its app defines that path, also at ``/NAME``.

The alias is a mount: ``root_path`` grows by ``/NAME``, and ``path`` still includes it, as ASGI asks.
"""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import quote

Scope = dict[str, Any]


def apply(scope: Scope, app: Any, name: str) -> None:
    """Make ``scope`` a request below ``/NAME`` when it is one, and the app lets us see that no route of it matches."""
    root = scope["root_path"]
    prefix = root + "/" + name
    path = scope["path"]
    if path != prefix and not path.startswith(prefix + "/"):
        return
    if _defined(scope, app):
        return
    scope["root_path"] = prefix
    if path == prefix:
        scope["path"] = path + "/"
        scope["raw_path"] = quote(path).encode() + b"/"


def _defined(scope: Scope, app: Any) -> bool:
    """Whether the app itself answers this path; an app whose routes cannot be seen counts as yes."""
    routes = getattr(app, "routes", None)
    if routes is None:
        return True
    for route in routes:
        matches = getattr(route, "matches", None)
        if matches is None or getattr(matches(scope)[0], "value", 1) != 0:  # Starlette's Match.NONE is 0
            return True
    return False


def paths_are_relative() -> bool:
    """Whether the installed Starlette predates full paths: it expects ``path`` without ``root_path``."""
    if "starlette.routing" not in sys.modules:
        return False
    return not hasattr(sys.modules.get("starlette._utils"), "get_route_path")
