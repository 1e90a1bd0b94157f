"""A batched function's view of its inputs: a list for each parameter in, a list of results out. The client's words."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Mismatch(Exception):
    """The inputs do not fit the function, or its result does not fit the inputs. Users see it as InvalidError."""


def transpose(function: Callable[..., Any], inputs: Sequence[Arguments]) -> dict[str, list[Any]]:
    """Keyword arguments: for each parameter the values of all inputs, in their order. Raises Mismatch."""
    names = list(inspect.signature(function).parameters)
    rows = [_row(_name(function), names, args, kwargs) for args, kwargs in inputs]
    return {name: [row[name] for row in rows] for name in names}


def _row(function: str, names: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    given = len(args) + len(kwargs)
    if given != len(names):
        raise Mismatch(
            f"Modal batched function {function} takes {len(names)} positional arguments, "
            f"but one invocation in the batch has {given}."
        )
    row = dict(zip(names, args))  # noqa: B905 - older interpreters run this file too
    for name, value in kwargs.items():
        problem = "unexpected keyword" if name not in names else "multiple values for" if name in row else ""
        if problem:
            text = f"Modal batched function {function} got {problem} argument {name} in one invocation in the batch."
            raise Mismatch(text)
        row[name] = value
    return row


def results(function: Callable[..., Any], value: Any, inputs: int) -> list[Any]:
    """The results of as many inputs. Raises Mismatch."""
    name = _name(function)
    if not isinstance(value, list):
        raise Mismatch(f"Output of batched function {name} must be a list.")
    if len(value) != inputs:
        raise Mismatch(f"Output of batched function {name} must be a list of equal length as its inputs.")
    return value


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", function))
