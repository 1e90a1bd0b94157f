"""The client package of the user's environment, reached by name. All knowledge of its versions is in this file.

A band names where the pieces live in a range of versions. A version newer than all bands gets the newest one.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from . import handles, interactive
from .spec import Launch, series

PICKLE = 1  # the client's DataFormat values
GENERATOR_DONE = 3
CBOR = 4
_DECLARED = 2  # the client's ParameterSerializationFormat of ``modal.parameter()``


class Band(NamedTuple):
    """Where a range of client versions keeps what the runner needs."""

    below: tuple[int, int]  # first version that is no longer in the band
    context: str  # module with the context variables and the import context
    marks: tuple[tuple[str, str], ...]  # (module, class) whose _singleton decides is_local()
    asgi: str
    fastapi: str  # function in ``asgi`` that wraps a handler, for its error message
    partial: str  # module of _find_callables_for_obj


_MANAGER = ("modal._runtime.container_io_manager", "_ContainerIOManager")
_LIFE = ("modal._runtime.task_lifecycle_manager", "_TaskLifecycleManager")
_OLD_MANAGER = ("modal._container_io_manager", "_ContainerIOManager")
_NEWEST = (9999, 0)
BANDS = (
    Band((0, 65), "modal.execution_context", (_OLD_MANAGER, _MANAGER), "modal._asgi", "webhook_asgi_app",
         "modal.partial_function"),
    Band((0, 78), "modal._runtime.execution_context", (_MANAGER,), "modal._runtime.asgi", "magic_fastapi_app",
         "modal._partial_function"),
    Band((1, 2), "modal._runtime.execution_context", (_MANAGER,), "modal._runtime.asgi", "magic_fastapi_app",
         "modal._partial_function"),
    Band((1, 6), "modal._runtime.execution_context", (_MANAGER,), "modal._runtime.asgi", "magic_fastapi_app",
         "modal._partial_function"),
    Band(_NEWEST, "modal._runtime.execution_context", (_LIFE, _MANAGER), "modal._runtime.asgi", "magic_fastapi_app",
         "modal._partial_function"),
)  # fmt: skip


class NotBuilt(Exception):
    """Something of the client that this runner does not serve. The message names it."""


class _Remote:
    """Stands where the client keeps its container manager: present, so that ``modal.is_local()`` is False."""

    def __init__(self, container_id: str, function_id: str) -> None:
        self.task_id = container_id
        self.function_id = function_id

    async def interact(self, from_breakpoint: bool = False) -> None:
        """``modal.interact()``."""
        interactive.begin("modal.interact()")

    def __getattr__(self, name: str) -> Any:
        raise NotBuilt(f"{name!r} of the client's container manager is not available in an Ionian container")


class Client:
    """The imported ``modal`` package, marked as running in a container."""

    def __init__(self, container_id: str, function_id: str) -> None:
        self.container_id = container_id
        self.modal = importlib.import_module("modal")
        self.version = str(getattr(self.modal, "__version__", "0.0.0"))
        self.band = band_of(self.version)
        self._serialization = importlib.import_module("modal._serialization")
        self._exceptions = importlib.import_module("modal.exception")
        self._context = importlib.import_module(self.band.context)
        self._mark_remote(_Remote(container_id, function_id))
        self._calls_with = self._connection()

    def _mark_remote(self, remote: _Remote) -> None:
        for module_name, class_name in self.band.marks:
            with contextlib.suppress(ImportError):
                getattr(importlib.import_module(module_name), class_name)._singleton = remote
        if self.modal.is_local():
            raise NotBuilt(f"client {self.version} cannot be told that it runs in a container")

    def _connection(self) -> Any:
        """The client that handles in this process call with. It says who we are, and connects when it is first used."""
        token_id, secret = os.environ.get("MODAL_TOKEN_ID", ""), os.environ.get("MODAL_TOKEN_SECRET", "")
        if token_id and secret:
            handles.introduce(token_id, secret)
        return handles.connecting_later()

    def attach(self, launch: Launch) -> None:
        """Give the functions and classes of the user's module their ids, so that they can be called from here."""
        if not launch.layout:
            return
        app = importlib.import_module("modal.app")._App
        layout = handles.Layout(launch.layout)
        names = launch.app_name, launch.app_id, launch.environment_name
        handles.attach(app, *names, launch.function_name, layout, self._calls_with)

    @property
    def proto(self) -> Any:
        return importlib.import_module("modal_proto.api_pb2")

    def error(self, name: str, message: str) -> BaseException:
        """An exception of the client's ``modal.exception`` module, or of its base class where it has no such name."""
        kind = getattr(self._exceptions, name, None) or self._exceptions.Error
        error: BaseException = kind(message)
        return error

    @property
    def cancellation(self) -> Any:
        """The exception class that user code sees when its input is cancelled."""
        return getattr(self._exceptions, "InputCancellation", KeyboardInterrupt)

    def serialize(self, value: Any) -> bytes:
        data: bytes = self._serialization.serialize(value)
        return data

    def deserialize(self, data: bytes) -> Any:
        return self._serialization.deserialize(data, self._calls_with)

    def encode(self, value: Any, data_format: int) -> bytes:
        data: bytes = self._serialization.serialize_data_format(value, data_format)
        return data

    def arguments(self, data: bytes, data_format: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and keyword arguments of an input."""
        if not data:
            return (), {}
        args, kwargs = self._serialization.deserialize_data_format(data, data_format or PICKLE, self._calls_with)
        return args, kwargs

    def generator_done(self, items: int) -> bytes:
        data: bytes = self.proto.GeneratorDone(items_total=items).SerializeToString(deterministic=True)
        return data

    def extract_traceback(self, error: BaseException) -> tuple[Any, Any]:
        tree, lines = importlib.import_module("modal._traceback").extract_traceback(error, self.container_id)
        return tree, lines

    @contextlib.contextmanager
    def importing(self) -> Iterator[None]:
        """The client's own state while user modules are imported."""
        enter = getattr(self._context, "_import_context", None)
        with enter() if enter is not None else contextlib.nullcontext():
            yield

    def set_ids(self, input_id: str, call_id: str) -> None:
        """What ``modal.current_input_id()`` and ``current_function_call_id()`` answer in this context."""
        for name, value in (("_current_input_id", input_id), ("_current_function_call_id", call_id)):
            variable = getattr(self._context, name, None)
            if variable is not None:
                variable.set(value)

    def inner(self, wrapped: Any) -> Any:
        """The implementation object behind a public one."""
        synchronizer = importlib.import_module("modal._utils.async_utils").synchronizer
        return synchronizer._translate_in(wrapped)

    def user_instance(self, wrapper: Any) -> Any:
        """The user's own object behind an instance of a decorated class."""
        inner = self.inner(wrapper)
        if hasattr(type(inner), "_cached_user_cls_instance"):
            return wrapper._cached_user_cls_instance()
        return inner._get_user_cls_instance()  # before 0.73

    def find_callables(self, instance: Any, *flags: str) -> dict[str, Callable[..., Any]]:
        """Bound methods of a class instance that carry one of these flags, such as ``EXIT``."""
        module = importlib.import_module(self.band.partial)
        found: dict[str, Callable[..., Any]] = {}
        for flag in flags:
            value = getattr(module._PartialFunctionFlags, flag, None)
            if value is not None:
                found.update(module._find_callables_for_obj(instance, value))
        return found

    def methods(self, instance: Any) -> dict[str, Callable[..., Any]]:
        """Bound methods that inputs can ask for, web endpoints among them. Before 0.73 the flag was FUNCTION."""
        return self.find_callables(instance, "CALLABLE_INTERFACE", "FUNCTION")

    def function_message(self, data: bytes) -> Any:
        return self.proto.Function.FromString(data)

    def class_params(self, data: bytes, message: Any | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Constructor arguments of a bound class."""
        if not data:
            return (), {}
        reader = getattr(self._serialization, "deserialize_params", None)
        info = getattr(message, "class_parameter_info", None)
        if reader is not None and message is not None:
            args, kwargs = reader(data, message, self._calls_with)
        elif info is not None and info.format == _DECLARED:  # before 0.73
            args, kwargs = (), self._serialization.deserialize_proto_params(data, list(info.schema))
        else:
            args, kwargs = self.deserialize(data)
        return args, kwargs

    def fastapi_app(self, function: Callable[..., Any], method: str, docs: bool) -> Any:
        """A FastAPI application with ``function`` at "/", set up as the client does. Its own error without FastAPI."""
        try:
            fastapi = importlib.import_module("fastapi")
            cors = importlib.import_module("fastapi.middleware.cors").CORSMiddleware
        except ImportError:  # the client's function raises the message that its users know
            return getattr(importlib.import_module(self.band.asgi), self.band.fastapi)(function, method, docs)
        application = fastapi.FastAPI(openapi_url="/openapi.json" if docs else None)
        every = {name: ["*"] for name in ("allow_origins", "allow_methods", "allow_headers")}
        application.add_middleware(cors, allow_credentials=True, **every)
        application.add_api_route("/", function, methods=[method])
        return application


def band_of(version: str) -> Band:
    """The band of a client version such as "1.6.4"."""
    return next((band for band in BANDS if series(version) < band.below), BANDS[-1])


def is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
