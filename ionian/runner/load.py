"""From a launch spec to callables: import the user's module on the main thread and find the function or class in it.

The launch spec decides what a thing is (web, generator, class), never the object that was found.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from .client import CBOR, PICKLE, Client, NotBuilt, is_async
from .spec import Launch


class Target(NamedTuple):
    """One callable that inputs can ask for."""

    function: Callable[..., Any]
    is_async: bool
    is_generator: bool
    formats: tuple[int, ...]  # data formats it may answer in
    is_batched: bool = False  # takes a list for each parameter, and returns one


class Service:
    """What a container serves: callables by method name ("" for a function), the web callables, and the class hooks."""

    def __init__(self) -> None:
        self.targets: dict[str, Target] = {}
        self.web: Callable[..., Any] | None = None
        self.web_methods: dict[str, Callable[..., Any]] = {}  # of a class
        self.enter: list[Callable[..., Any]] = []
        self.exit: list[Callable[..., Any]] = []


def service(client: Client, launch: Launch) -> Service:
    """Import and look up what the spec names. Raises whatever the user's module raises."""
    message = None
    if launch.definition:
        message = client.function_message(Path(launch.definition).read_bytes())
    with client.importing():
        if launch.is_class:
            return _class_service(client, launch, message)
        return _function_service(client, launch, message)


def _function_service(client: Client, launch: Launch, message: Any) -> Service:
    if launch.serialized:
        function = client.deserialize(_serialized(message, "function_serialized", launch))
    else:
        function = _raw(client, _global(launch))
    found = Service()
    if launch.web is not None:
        found.web = function
    else:
        generator = launch.is_generator or _is_generator(function)
        formats = _formats(launch.supported_output_formats)
        found.targets[""] = Target(function, is_async(function), generator, formats, launch.batch_max_size > 0)
    return found


def _class_service(client: Client, launch: Launch, message: Any) -> Service:
    params = Path(launch.params).read_bytes() if launch.params else b""
    args, kwargs = client.class_params(params, message)
    if launch.serialized:
        kind = client.deserialize(_serialized(message, "class_serialized", launch))
    else:
        kind = _global(launch)
    instance = _instance(client, kind, args, kwargs)
    found = Service()
    found.enter = list(client.find_callables(instance, "ENTER_PRE_SNAPSHOT", "ENTER_POST_SNAPSHOT").values())
    found.exit = list(client.find_callables(instance, "EXIT").values())
    methods = {**client.methods(instance), **client.find_callables(instance, "WEB_INTERFACE")}
    web = [known.class_method for known in launch.web_methods]
    found.web_methods = {name: _web_method(launch, methods, name) for name in web}
    for name, method in methods.items():
        if name not in found.web_methods:
            formats = _formats(launch.supported_output_formats)
            batched = launch.batch_max_size > 0
            found.targets[name] = Target(method, is_async(method), _is_generator(method), formats, batched)
    return found


def _web_method(launch: Launch, found: dict[str, Callable[..., Any]], name: str) -> Callable[..., Any]:
    if name not in found:
        raise AttributeError(
            f"{launch.function_name} has no web method {name!r} when its module is imported in the container"
        )
    return found[name]


def _global(launch: Launch) -> Any:
    """The module-level object that the spec names."""
    name = launch.function_name.split(".")[0]
    if "<locals>" in launch.function_name:
        raise NotBuilt(f"{launch.function_name} is defined inside another function; use serialized=True")
    module = importlib.import_module(launch.module_name)
    try:
        return getattr(module, name)
    except AttributeError:
        text = "module %r has no %r: the deployed function is not defined when the module is imported in the container"
        raise AttributeError(text % (launch.module_name, name)) from None


def _raw(client: Client, found: Any) -> Callable[..., Any]:
    """The user's function behind a decorated one; an undecorated one is itself."""
    if not isinstance(found, client.modal.Function):
        function: Callable[..., Any] = found
        return function
    inner = client.inner(found)
    image = getattr(getattr(inner, "_spec", None), "image", None)
    for error in getattr(image, "inside_exceptions", None) or ():
        raise error  # what ``with image.imports():`` held back, in the container that has this image
    raw: Callable[..., Any] | None = getattr(inner, "_raw_f", None)
    if raw is None:
        raise NotBuilt(f"client {client.version} does not give the function behind {found!r}")
    return raw


def _instance(client: Client, kind: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An instance of the user's class, through the client's wrapper where the class is decorated."""
    if isinstance(kind, client.modal.Cls):
        wrapper = kind(*args, **kwargs)
        wrapper._entered = True  # .local() must not run the enter hooks again
        return client.user_instance(wrapper)
    if kind.__init__ is object.__init__ and kwargs:
        instance = kind()
        vars(instance).update(kwargs)
        return instance
    return kind(*args, **kwargs)


def _serialized(message: Any, name: str, launch: Launch) -> bytes:
    data = bytes(getattr(message, name)) if message is not None else b""
    if not data:
        raise NotBuilt(f"the definition of {launch.function_name} has no {name}")
    return data


def _is_generator(function: Callable[..., Any]) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _formats(formats: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(formats) or (PICKLE, CBOR)
