"""Web labels: the first DNS label of a function's address, ``<workspace>[-<environment>]--<app>-<function>``. Pure."""

from __future__ import annotations

import hashlib
import re

DNS_LIMIT = 63  # characters in one DNS label
MAIN = "main"  # the environment without a suffix


def slug(text: str) -> str:
    """Lower case, digits and single dashes; what a DNS label may hold."""
    return re.sub(r"-+", "-", re.sub(r"[^a-z0-9]+", "-", text.lower())).strip("-")


def prefix(workspace: str, environment: str) -> str:
    """The part before ``--``."""
    name = slug(workspace) or "local"
    return name if environment in ("", MAIN) else f"{name}-{slug(environment)}"


def host(workspace: str, environment: str, label: str) -> str:
    """The whole first DNS label of the address of a function with this ``label``."""
    return f"{prefix(workspace, environment)}--{label}"


def function_label(
    workspace: str, environment: str, app: str, function: str, requested: str = "", dev_suffix: str = ""
) -> str:
    """The label of a web function without workspace: ``requested`` or ``<app>-<function>``, plus ``-<dev_suffix>``.

    Cut with a hash when the whole would pass 63 characters; the same input always gives the same label.
    """
    label = slug(requested) if requested else f"{slug(app)}-{slug(function)}".strip("-")
    room = DNS_LIMIT - len(prefix(workspace, environment)) - len("--")
    tail = f"-{slug(dev_suffix)}" if dev_suffix else ""
    if len(label) + len(tail) <= room:
        return label + tail
    digest = hashlib.sha256(label.encode()).hexdigest()[:6]
    return f"{label[: room - len(tail) - 7].rstrip('-')}-{digest}{tail}"
