"""Puts the retired names on an imported client, if it is one that has retired them."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, NoReturn

from . import apps, images, web
from .mounts import Mount

_DONE = "_ionian_compat"


def restore(modal: ModuleType) -> None:
    """Give ``modal`` its old names back. Does nothing to a client that still has them, nor twice."""
    if hasattr(modal, _DONE):
        return
    if hasattr(modal, "Mount"):
        _vanish()
        return
    names: dict[str, Any] = {
        "Mount": Mount,
        "web_endpoint": web.endpoint(modal),
        "asgi_app": web.waiting(modal, "asgi_app"),
        "wsgi_app": web.waiting(modal, "wsgi_app"),
        "build": _build(modal),
        "Stub": modal.App,
        _DONE: True,
    }
    apps.restore(modal)
    images.restore(modal)
    for name, value in names.items():
        setattr(modal, name, value)


def _vanish() -> None:
    """Leave sys.modules: clients that old upload every module of the program that they find there."""
    package = __name__.rpartition(".")[0]
    for name in [name for name in sys.modules if name == package or name.startswith(package + ".")]:
        del sys.modules[name]


def _build(modal: ModuleType) -> Any:
    def build(*args: Any, **kwargs: Any) -> NoReturn:
        text = "@modal.build was retired without a successor of the same form. Use Image.run_function or @modal.enter."
        raise modal.exception.InvalidError(text)

    return build
