"""A user's exception in the form the calling client re-raises: pickled exception, text, traceback with its lines."""

from __future__ import annotations

import contextlib
import os
import traceback
from types import TracebackType
from typing import Any

from . import environment
from .client import Client

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_MAX_TEXT = 2 * 1024 * 1024  # characters of an exception's repr, and of its traceback
_MAX_PICKLED = 64 * 1024 * 1024  # bytes of an exception; a longer one travels as its text


def user_traceback(error: BaseException) -> TracebackType | None:
    """The traceback without this runner's (and importlib's) frames in front; all of it if nothing else is left."""
    found = error.__traceback__
    while found is not None and found.tb_frame.f_code.co_filename.startswith((_HERE, "<frozen importlib")):
        found = found.tb_next
    return found if found is not None else error.__traceback__


def show(error: BaseException) -> str:
    """Print the traceback to stderr, where the logs take it. Returns its text."""
    error.__traceback__ = user_traceback(error)
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    environment.say(text.removesuffix("\n"))
    return text


def parts(client: Client | None, error: BaseException, text: str, pickled: bool = True) -> tuple[dict[str, Any], bytes]:
    """Header fields and payload of a failure: exception, then serialized traceback, then its line cache."""
    pieces: list[bytes] = [b"", b"", b""]
    if client is not None and pickled:
        pieces = [_exception(client, error), *_traceback(client, error)]
    header = {"exception": _repr(error), "traceback": _cut(text), "parts": [len(piece) for piece in pieces]}
    return header, b"".join(pieces)


def _exception(client: Client, error: BaseException) -> bytes:
    try:
        data = client.serialize(error)
        if len(data) <= _MAX_PICKLED:
            return data
        reason = f"it has {len(data)} bytes, the limit is {_MAX_PICKLED}"
    except Exception as raised:  # noqa: BLE001  a user's __reduce__ may raise anything
        reason = _str(raised)
    message = f"Failed to serialize exception {_str(error)} of type {type(error)}: {reason}"
    return client.serialize(client.error("SerializationError", message))


def _traceback(client: Client, error: BaseException) -> tuple[bytes, bytes]:
    with contextlib.suppress(Exception):  # a traceback is a help, never a reason to lose the failure itself
        tree, lines = client.extract_traceback(error)
        return client.serialize(tree), client.serialize(lines)
    return b"", b""


def _repr(error: BaseException) -> str:
    try:
        return _cut(repr(error))
    except Exception:  # noqa: BLE001  a user's __repr__ may raise anything
        return f"<{type(error).__name__} whose repr failed>"


def _str(error: BaseException) -> str:
    try:
        return _cut(str(error))
    except Exception:  # noqa: BLE001  a user's __str__ may raise anything
        return f"<{type(error).__name__} whose str failed>"


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "... (cut)"
