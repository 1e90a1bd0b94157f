"""Gives programs written for clients before 1.0 their names back, under a client that has retired them.

Standard library only: it runs beside the user's own client, where a program is deployed and inside its container.
``install`` does nothing to a client that still has those names, and imports nothing before the program does.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

_TARGET = "modal"


def install() -> None:
    """From now on, or at once when it is imported already, ``import modal`` gives the retired names too. Idempotent."""
    present = sys.modules.get(_TARGET)
    if present is not None:
        _restore(present)
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _restore(module: ModuleType) -> None:
    from .names import restore

    restore(module)


class _Finder:
    """Finds ``modal`` where Python would, and lets the names be restored after its body has run."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> Any:
        if name != _TARGET:
            return None
        spec: Any = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader:
    """The real loader, and one more step at the end."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
        self._loader.exec_module(module)
        _restore(module)
