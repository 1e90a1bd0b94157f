"""``mounts=`` and the renamed settings on ``App(...)``, ``@app.function`` and ``@app.cls``."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

from . import mounts as mounting
from . import web
from .notes import note

_RENAMED = {
    "keep_warm": "min_containers",
    "concurrency_limit": "max_containers",
    "container_idle_timeout": "scaledown_window",
    "_experimental_buffer_containers": "buffer_containers",
}
_WITHOUT_EFFECT = ("allow_cross_region_volumes", "show_progress")
_APP_MOUNTS = "_ionian_mounts"


def restore(modal: ModuleType) -> None:
    """Let the client's App take what it took before 1.0."""
    app = modal.App
    app.__init__ = _init(app.__init__)
    app.function = _decorator(modal, app.function)
    app.cls = _decorator(modal, app.cls)


def _init(today: Any) -> Any:
    @functools.wraps(today)
    def init(self: Any, *args: Any, mounts: Any = (), **options: Any) -> None:
        today(self, *args, **options)
        setattr(self, _APP_MOUNTS, tuple(mounts or ()))

    return init


def _decorator(modal: ModuleType, today: Any) -> Any:
    """``App.function`` or ``App.cls`` with the retired settings."""

    @functools.wraps(today)
    def register(self: Any, *args: Any, mounts: Any = (), allow_concurrent_inputs: Any = None, **options: Any) -> Any:
        for old, new in _RENAMED.items():
            value = options.pop(old, None)
            if value is not None:
                note(f"{old}= is retired: used as {new}=")
                options.setdefault(new, value)
        for old in _WITHOUT_EFFECT:
            options.pop(old, None)
        files = (*getattr(self, _APP_MOUNTS, ()), *(mounts or ()))

        def decorate(decorated: Any) -> Any:
            settings = {**options, **_image(modal, self, decorated, files, options.get("image"))}
            if allow_concurrent_inputs is not None:
                note("allow_concurrent_inputs= is retired: used as @modal.concurrent(max_inputs=...)")
                decorated = modal.concurrent(max_inputs=allow_concurrent_inputs)(decorated)
            return today(self, *args, **settings)(decorated)

        return decorate

    return register


def _image(modal: ModuleType, app: Any, decorated: Any, files: Any, image: Any) -> dict[str, Any]:
    """The ``image`` setting with FastAPI and files added; nothing when there is nothing to add."""
    names = web.retired(modal, decorated)
    if not names and not files:
        return {}
    if image is None:
        image = _default_image(app)
    if names:
        image = web.with_fastapi(image, names)
    return {"image": mounting.apply(image, files)}


def _default_image(app: Any) -> Any:
    translator = web.synchronizer()
    return translator._translate_out(translator._translate_in(app)._get_default_image())
