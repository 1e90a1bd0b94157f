"""Which web function a host and a path mean. Pure; ``replace`` swaps the whole table at once.

Addresses: ``LABEL.localhost``; ``WORKSPACE--APP.localhost/FUNCTION``; on any other host ``/_web/LABEL`` and
``/_web/WORKSPACE--APP/FUNCTION``. A prefix that was taken from the path is the target's ``root_path``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from ionian.errors import NotFound

PATH_FORM = b"/_web/"
_LISTED = 50  # names in an error message


@dataclass(frozen=True, slots=True)
class WebFunction:
    """One web function of a live app. ``label`` is its whole DNS label, workspace included."""

    function_id: str
    workspace: str
    app: str
    name: str
    label: str
    timeout_s: float
    environment: str = "main"
    class_method: str = ""  # the method of a class that answers


class Target(NamedTuple):
    """Where a request goes. ``path`` is raw (percent-encoded) and starts with ``root_path``."""

    function: WebFunction
    path: bytes
    root_path: bytes


def app_label(function: WebFunction) -> str:
    """The label of the app as a whole: the first part of the function's own label, and the app's name."""
    prefix = function.label.split("--", 1)[0] if "--" in function.label else function.workspace
    return prefix.lower() + "--" + re.sub(r"[^a-z0-9]+", "-", function.app.lower()).strip("-")


class Router:
    """The table in force. ``suffixes`` are host endings after a label; ``localhost`` is always one."""

    def __init__(self, suffixes: Iterable[str] = ()) -> None:
        self._suffixes = tuple("." + suffix.strip(".").lower() for suffix in ("localhost", *suffixes))
        self._labels: dict[str, WebFunction] = {}
        self._apps: dict[str, dict[str, WebFunction]] = {}
        self._hosts: dict[bytes, str | None] = {}  # a cache: Host header -> label, None for a plain host

    def replace(self, entries: Iterable[WebFunction]) -> None:
        """From now on exactly ``entries`` are known."""
        labels: dict[str, WebFunction] = {}
        apps: dict[str, dict[str, WebFunction]] = {}
        for entry in entries:
            labels[entry.label.lower()] = entry
            apps.setdefault(app_label(entry), {})[entry.name.lower()] = entry
        self._labels, self._apps = labels, apps

    def resolve(self, host: bytes, path: bytes) -> Target | None:
        """The target; None when host and path are not a web address. Raises ``NotFound``, saying what exists."""
        label = self._hosts[host] if host in self._hosts else self._label(host)
        if label is not None:
            function = self._labels.get(label)
            if function is not None:
                return Target(function, path, b"")
            return self._in_app(label, b"", path, f"host {host.decode('ascii', 'replace')!r}")
        if not path.startswith(PATH_FORM):
            return None
        first, slash, rest = path[len(PATH_FORM) :].partition(b"/")
        label = unquote_to_bytes(first).decode("utf-8", "replace").lower()
        root = PATH_FORM + first
        function = self._labels.get(label)
        if function is not None:
            return Target(function, root + b"/" + rest, root)
        return self._in_app(label, root, slash + rest, f"path {root.decode('ascii', 'replace')!r}")

    def _in_app(self, label: str, root: bytes, path: bytes, where: str) -> Target:
        """The target of ``/FUNCTION/...`` below an app's address."""
        functions = self._apps.get(label)
        if functions is None:
            raise NotFound(f"no web function answers at {where}; {self._neighbours(label)}")
        first, _, rest = path[1:].partition(b"/")
        function = functions.get(unquote_to_bytes(first).decode("utf-8", "replace").lower())
        if function is None:
            names = ", ".join("/" + function.name for function in list(functions.values())[:_LISTED])
            raise NotFound(
                f"app {label!r} ({where}) has no web function at {path.decode('ascii', 'replace')!r}; it has {names}"
            )
        root = root + b"/" + first
        return Target(function, root + b"/" + rest, root)

    def _neighbours(self, label: str) -> str:
        """What exists near an unknown label: the functions of its app, else the apps there are."""
        near = [known for app, functions in self._apps.items() if label.startswith(app) for known in _labels(functions)]
        if near:
            return "its app has " + ", ".join(sorted(near)[:_LISTED])
        if not self._apps:
            return "no app with web functions is deployed"
        return "there are " + ", ".join(sorted(self._apps)[:_LISTED])

    def _label(self, host: bytes) -> str | None:
        """The label of a Host header, None for a plain host. Case, port and trailing dot do not matter."""
        text = host.decode("ascii", "replace").lower()
        name = text if text.startswith("[") else text.rsplit(":", 1)[0]
        name = name.rstrip(".")
        found = next((name[: -len(suffix)] for suffix in self._suffixes if name.endswith(suffix)), None)
        if len(self._hosts) > 1024:
            self._hosts.clear()
        self._hosts[host] = found or None
        return found or None


def _labels(functions: dict[str, WebFunction]) -> list[str]:
    return [function.label for function in functions.values()]
