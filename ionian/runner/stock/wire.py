"""The deploying client's own protocol files, reached by name: what the entrypoint is started with, and its RPC server.

Fields that a version lacks are left out, so that one text serves all versions.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .. import handles
from ..spec import Launch

MAX_INLINE_BYTES = 200 * 1024 * 1024  # below this nothing goes through a blob, in versions that let us say so
_ENTRYPOINT_CLASS = "cs-"  # class ids, where the layout has none
_FUNCTION = "fu-"
_CONCURRENT, _TARGET = "max_concurrent_inputs", "target_concurrent_inputs"

# What the entrypoint alone asks, and the server never answers: refused here by name.
_ENTRYPOINTS_OWN = (
    "ContainerCheckpoint",
    "ContainerReload",
    "ContainerServerLifecycleReady",
    "ContainerStop",
    "FunctionStartPtyShell",
    "TaskClusterHello",
    "TaskCurrentInputs",
)

Handler = Callable[[Any, Any], Awaitable[None]]  # the request, the RPC's stream to answer on
Forward = Callable[[str, Any, Any], Awaitable[None]]  # the RPC's name, its request, its stream


def protocol() -> Any:
    """The module with the client's messages."""
    return importlib.import_module("modal_proto.api_pb2")


def message(kind: Any, **values: Any) -> Any:
    """A message with those of the fields that this version has."""
    known = kind.DESCRIPTOR.fields_by_name
    return kind(**{name: value for name, value in values.items() if name in known})


def arguments(api: Any, launch: Launch, container_id: str, definition: bytes, params: bytes) -> Any:
    """The ContainerArguments of a launch. The layout names this function, its class and what it depends on."""
    function = _bound(api.Function.FromString(definition), launch)
    values: dict[str, Any] = {
        "task_id": container_id,
        "function_id": launch.function_id,
        "app_id": launch.app_id,
        "function_def": function,
        "serialized_params": params,
        "environment_name": launch.environment_name,
    }
    if hasattr(api, "AppLayout"):
        values["app_layout"] = layout(api, launch, function)
    return message(api.ContainerArguments, **values)


def _bound(function: Any, launch: Launch) -> Any:
    """The definition with what holds for this container, where ``with_concurrency`` or ``with_batching`` changed it."""
    known = function.DESCRIPTOR.fields_by_name
    if function.batch_max_size != launch.batch_max_size:
        function.batch_max_size, function.batch_linger_ms = launch.batch_max_size, function.batch_linger_ms or 1
    name = _CONCURRENT if _CONCURRENT in known else "allow_concurrent_inputs"  # up to 0.64
    if max(1, getattr(function, name)) != launch.max_concurrent_inputs:
        setattr(function, name, launch.max_concurrent_inputs)
        if _TARGET in known:
            setattr(function, _TARGET, launch.max_concurrent_inputs)
    return function


def layout(api: Any, launch: Launch, function: Any) -> Any:
    """What the entrypoint knows of the app."""
    tags, known = tagged(api, launch, function)
    functions = {tag: object_id for object_id, tag in tags.items() if object_id.startswith(_FUNCTION)}
    classes = {tag: object_id for object_id, tag in tags.items() if not object_id.startswith(_FUNCTION)}
    return api.AppLayout(function_ids=functions, class_ids=classes, objects=known)


def tagged(api: Any, launch: Launch, function: Any) -> tuple[dict[str, str], list[Any]]:
    """The tags of the app's objects by id, and all objects: functions, classes, what this function depends on."""
    app = handles.Layout(launch.layout)
    classes = dict(app.classes)
    if function.is_class:
        classes.setdefault(function.function_name.replace(".*", ""), _ENTRYPOINT_CLASS + launch.function_id)
    tags = {object_id: tag for tag, object_id in {**app.functions, **classes}.items()}
    tags[launch.function_id] = function.function_name
    metadata = app.metadata(api)
    metadata[launch.function_id] = _handle(api, launch, function)
    own, others = [], []
    for object_id in tags:
        if object_id in classes.values():
            handle = metadata.get(object_id, api.ClassHandleMetadata())
            others.append(api.Object(object_id=object_id, class_handle_metadata=handle))
        else:
            own.append(api.Object(object_id=object_id, function_handle_metadata=metadata.get(object_id)))
    depends = {dependency.object_id for dependency in function.object_dependencies} - set(tags)
    return tags, [*own, *others, *(api.Object(object_id=object_id) for object_id in sorted(depends))]


def _handle(api: Any, launch: Launch, function: Any) -> Any:
    kind = api.FunctionHandleMetadata
    handle = _same_fields(kind, function)
    for name, value in (
        ("app_id", launch.app_id),
        ("max_object_size_bytes", MAX_INLINE_BYTES),
        ("max_async_object_size_bytes", MAX_INLINE_BYTES),
    ):
        if name in kind.DESCRIPTOR.fields_by_name:
            setattr(handle, name, value)
    for name, method in getattr(function, "method_definitions", {}).items():
        handle.method_handle_metadata[name].CopyFrom(_same_fields(kind, method))
        handle.method_handle_metadata[name].use_method_name = name
    return handle


def _same_fields(kind: Any, source: Any) -> Any:
    """A message with the fields that ``source`` has set, where both have them, and of one kind."""
    target = kind()
    known = kind.DESCRIPTOR.fields_by_name
    for field, value in source.ListFields():
        same = known.get(field.name)
        if same is None or same.message_type is not field.message_type:
            continue
        if isinstance(value, (str, bytes, int, float)):
            setattr(target, field.name, value)
        elif hasattr(value, "CopyFrom"):
            getattr(target, field.name).CopyFrom(value)
        elif isinstance(value, Mapping):
            continue  # entries of generated types: none of them is needed
        else:
            getattr(target, field.name).extend(value)
    return target


def server(handlers: Mapping[str, Handler], forward: Forward) -> Any:
    """A gRPC server of the client's API: the given RPCs, and ``forward`` for every other one of user code."""
    base = importlib.import_module("modal_proto.api_grpc").ModalClientBase
    methods = {name: _answered(functools.partial(forward, name)) for name in base.__abstractmethods__}
    methods.update({name: _refused(name) for name in _ENTRYPOINTS_OWN if name in methods})
    methods.update({name: _answered(handler) for name, handler in handlers.items() if name in methods})
    return importlib.import_module("grpclib.server").Server([type("Entrypoint", (base,), methods)()])


def _answered(handler: Handler) -> Any:
    async def answer(self: Any, stream: Any) -> None:
        await handler(await stream.recv_message(), stream)

    return answer


def _refused(name: str) -> Any:
    async def refuse(self: Any, stream: Any) -> None:
        grpc = importlib.import_module("grpclib")
        text = f"{name} is not available to the client's own entrypoint in this version of Ionian"
        raise grpc.GRPCError(grpc.const.Status.UNIMPLEMENTED, text)

    return refuse
