"""``modal.web_endpoint``: today's ``fastapi_endpoint``, with FastAPI in the image, where old clients' images had it.

The mark sits on the user's own function, so that it survives other decorators stacked on top.
"""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType
from typing import Any

from .notes import note

_MARK = "_ionian_web_endpoint"
_PACKAGE = "fastapi[standard]"


def endpoint(modal: ModuleType) -> Any:
    """The ``web_endpoint`` decorator for this client."""
    today = modal.fastapi_endpoint

    def web_endpoint(
        _warn_parentheses_missing: Any = None, *, method: str = "GET", wait_for_response: bool = True, **options: Any
    ) -> Any:
        """Register a function as a web endpoint (retired name of ``fastapi_endpoint``)."""
        if isinstance(_warn_parentheses_missing, str):
            text = 'Positional arguments are not allowed. Suggestion: `@modal.web_endpoint(method="GET")`.'
            raise modal.exception.InvalidError(text)
        if _warn_parentheses_missing is not None:
            text = (
                "Positional arguments are not allowed. Did you forget parentheses? Suggestion: `@modal.web_endpoint()`."
            )
            raise modal.exception.InvalidError(text)
        check_waits(modal, "web_endpoint", wait_for_response)
        decorate = today(method=method, **options)

        def wrapper(function: Any) -> Any:
            raw = raw_function(modal, function)
            if raw is not None:
                setattr(raw, _MARK, True)
            return decorate(function)

        return wrapper

    return web_endpoint


def waiting(modal: ModuleType, name: str) -> Any:
    """Today's decorator ``name``, which also takes the retired ``wait_for_response``."""
    today = getattr(modal, name)

    def decorator(*args: Any, wait_for_response: bool = True, **options: Any) -> Any:
        check_waits(modal, name, wait_for_response)
        return today(*args, **options)

    decorator.__name__ = decorator.__qualname__ = name
    decorator.__doc__ = today.__doc__
    return decorator


def check_waits(modal: ModuleType, name: str, wait_for_response: bool) -> None:
    """Refuse what has no successor."""
    if not wait_for_response:
        text = f"@modal.{name}(wait_for_response=False) is retired: answer at once and `.spawn()` the slow part."
        raise modal.exception.InvalidError(text)


def raw_function(modal: ModuleType, found: Any) -> Any:
    """The user's function behind a partially decorated one; None when there is none."""
    if inspect.isfunction(found):
        return found
    if not type(found).__module__.startswith("modal."):
        return None
    raw = getattr(synchronizer()._translate_in(found), "raw_f", None)
    return raw if inspect.isfunction(raw) else None


def synchronizer() -> Any:
    """The client's translator between its public objects and their implementations."""
    return importlib.import_module("modal._utils.async_utils").synchronizer


def retired(modal: ModuleType, decorated: Any) -> list[str]:
    """Names of the functions (of a class: its methods) that were registered with the retired decorator."""
    candidates = list(vars(decorated).values()) if inspect.isclass(decorated) else [decorated]
    raws = [raw_function(modal, candidate) for candidate in candidates]
    return [raw.__name__ for raw in raws if raw is not None and getattr(raw, _MARK, False)]


def with_fastapi(image: Any, names: list[str]) -> Any:
    """``image`` with FastAPI installed on top."""
    listed = ", ".join(names)
    note(f"web_endpoint is retired: {listed} becomes a fastapi_endpoint, and its image gets {_PACKAGE}")
    return image.pip_install(_PACKAGE)
