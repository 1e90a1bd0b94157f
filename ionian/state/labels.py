"""Web labels: the first DNS label of a function's address, ``<workspace>[-<suffix>]--<app>-<function>``. Pure.

The suffix is that of the environment: at first its name, for ``main`` none.
"""

from __future__ import annotations

import hashlib
import re

DNS_LIMIT = 63  # characters in one DNS label
LONGEST_SUFFIX = 30  # characters
MAIN = "main"  # the environment that is meant where none is named


def slug(text: str) -> str:
    """Lower case, digits and single dashes; what a DNS label may hold."""
    return re.sub(r"-+", "-", re.sub(r"[^a-z0-9]+", "-", text.lower())).strip("-")


def suffix(environment: str) -> str:
    """The web suffix that an environment begins with. A long name is cut, with a hash."""
    whole = "" if environment == MAIN else slug(environment)
    if len(whole) <= LONGEST_SUFFIX:
        return whole
    return f"{whole[: LONGEST_SUFFIX - 7].rstrip('-')}-{hashlib.sha256(environment.encode()).hexdigest()[:6]}"


def prefix(workspace: str, suffix: str) -> str:
    """The part before ``--``."""
    name = slug(workspace) or "local"
    return f"{name}-{slug(suffix)}" if slug(suffix) else name


def host(workspace: str, suffix: str, label: str) -> str:
    """The whole first DNS label of the address of a function with this ``label``."""
    return f"{prefix(workspace, suffix)}--{label}"


def function_label(
    workspace: str, suffix: str, app: str, function: str, requested: str = "", dev_suffix: str = ""
) -> str:
    """The label of a web function without workspace: ``requested`` or ``<app>-<function>``, plus ``-<dev_suffix>``.

    Cut with a hash when the whole would pass 63 characters; the same input always gives the same label.
    """
    label = slug(requested) if requested else f"{slug(app)}-{slug(function)}".strip("-")
    room = DNS_LIMIT - len(prefix(workspace, suffix)) - len("--")
    tail = f"-{slug(dev_suffix)}" if dev_suffix else ""
    if len(label) + len(tail) <= room:
        return label + tail
    digest = hashlib.sha256(label.encode()).hexdigest()[:6]
    return f"{label[: room - len(tail) - 7].rstrip('-')}-{digest}{tail}"
