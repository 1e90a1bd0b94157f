"""Between the client's Function message and our settings: reads a definition, writes what clients get back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ionian import wire
from ionian.errors import InvalidRequest
from ionian.model import Batching, Resources, Retries, Scaling, WebKind, WebSettings
from ionian.state.functions import Settings
from ionian.wire import api_pb2

WEB_KINDS = {
    api_pb2.WEBHOOK_TYPE_FUNCTION: WebKind.FUNCTION,
    api_pb2.WEBHOOK_TYPE_ASGI_APP: WebKind.ASGI,
    api_pb2.WEBHOOK_TYPE_WSGI_APP: WebKind.WSGI,
}
DEFAULT_TIMEOUT_S = 300
SHORTEST_STARTUP_S = 30  # of a function that says nothing about it
MAX_TIMEOUT_S = 86_400


def settings_of(
    function: api_pb2.Function, label: str, method_labels: Mapping[str, str] = MappingProxyType({})
) -> Settings:
    """What the server acts on. ``label`` is the web label, empty for a function without one. Raises InvalidRequest.

    ``method_labels``: of the web methods of a class.
    """
    timeout_s = function.timeout_secs or DEFAULT_TIMEOUT_S
    if timeout_s > MAX_TIMEOUT_S:
        raise InvalidRequest(f"{function.function_name}: timeout={timeout_s} is over the limit of {MAX_TIMEOUT_S} s")
    return Settings(
        name=function.function_name,
        module_name=function.module_name,
        function_name=function.implementation_name or function.function_name,
        is_generator=function.function_type == api_pb2.Function.FUNCTION_TYPE_GENERATOR,
        is_class=function.is_class,
        serialized=function.definition_type == api_pb2.Function.DEFINITION_TYPE_SERIALIZED,
        web=web_settings(function.webhook_config, label) if function.webhook_config.type else None,
        mount_ids=tuple(sorted(function.mount_ids)),
        secret_ids=tuple(function.secret_ids),
        resources=_resources(function.resources),
        scaling=_scaling(function),
        timeout_s=timeout_s,
        startup_timeout_s=_startup_timeout_s(function, timeout_s),
        supported_output_formats=tuple(function.supported_output_formats),
        block_network=function.block_network,
        retries=retries(function.retry_policy),
        batching=_batching(function),
        max_inputs=1 if function.single_use_containers else function.max_inputs,
        web_methods=tuple(
            web_settings(function.method_definitions[name].webhook_config, method_label, name)
            for name, method_label in sorted(method_labels.items())
        ),
        stands_for=wire.old_method(function) if wire.old_method(function)[0] else None,
        needs_params=any(not parameter.has_default for parameter in function.class_parameter_info.schema),
    )


def _startup_timeout_s(function: api_pb2.Function, timeout_s: int) -> int:
    """Clients send ``timeout`` where the user gave no startup_timeout; a short one is meant for inputs, not imports."""
    given = function.startup_timeout_secs or timeout_s
    return given if given != timeout_s else max(given, SHORTEST_STARTUP_S)


def retries(policy: api_pb2.FunctionRetryPolicy) -> Retries:
    """What a policy says.

    ``retries=3`` comes as a fixed delay of one second (and with clients that leave out a number, so does ours).
    """
    return Retries(
        max_retries=policy.retries,
        backoff=policy.backoff_coefficient or 1.0,
        initial_delay_s=policy.initial_delay_ms / 1000,
        max_delay_s=policy.max_delay_ms / 1000 or Retries().max_delay_s,
    )


def _batching(function: api_pb2.Function) -> Batching | None:
    if not function.batch_max_size:
        return None
    return Batching(function.batch_max_size, function.batch_linger_ms / 1000)


def web_settings(config: api_pb2.WebhookConfig, label: str, class_method: str = "") -> WebSettings:
    """How a web function answers, at its label."""
    return WebSettings(
        kind=WEB_KINDS[config.type],
        method=config.method or "GET",
        docs=config.web_endpoint_docs,
        label=label,
        class_method=class_method,
    )


def _resources(resources: api_pb2.Resources) -> Resources:
    return Resources(
        cpu_millicores=resources.milli_cpu or 125,
        memory_mib=resources.memory_mb or 128,
        cpu_limit_millicores=resources.milli_cpu_max or None,
        memory_limit_mib=resources.memory_mb_max or None,
    )


def _scaling(function: api_pb2.Function) -> Scaling:
    """Old clients fill only the old fields, new ones both; the autoscaler message wins where it is set."""
    new, name = function.autoscaler_settings, function.function_name
    lowest = new.min_containers if new.HasField("min_containers") else function.warm_pool_size
    highest = new.max_containers if new.HasField("max_containers") else function.concurrency_limit
    spare = new.buffer_containers if new.HasField("buffer_containers") else function._experimental_buffer_containers
    window = new.scaledown_window if new.HasField("scaledown_window") else function.task_idle_timeout_secs
    if highest and lowest > highest:
        raise InvalidRequest(f"{name}: min_containers={lowest} is more than max_containers={highest}")
    if window and not 2 <= window <= 3600:
        raise InvalidRequest(f"{name}: scaledown_window={window} is not between 2 and 3600 seconds")
    return Scaling(
        min_containers=lowest,
        max_containers=highest or None,
        buffer_containers=spare,
        scaledown_window_s=window or Scaling().scaledown_window_s,
        max_concurrent_inputs=max(function.max_concurrent_inputs, 1),
        target_concurrent_inputs=function.target_concurrent_inputs or None,
    )


def canonical(function: api_pb2.Function) -> bytes:
    """The message as bytes that are the same for the same function (the client sends mounts in random order)."""
    copy = api_pb2.Function()
    copy.CopyFrom(function)
    mount_ids = sorted(copy.mount_ids)
    del copy.mount_ids[:]
    copy.mount_ids.extend(mount_ids)
    return copy.SerializeToString(deterministic=True)


def function_data(function: api_pb2.Function) -> api_pb2.FunctionData:
    """The newer form of a definition, with the definition itself as its only variant."""
    data = api_pb2.FunctionData()
    source = {field.name: field for field in api_pb2.Function.DESCRIPTOR.fields}
    for field in api_pb2.FunctionData.DESCRIPTOR.fields:
        same = source.get(field.name)
        if same is None or (same.has_presence and not function.HasField(field.name)):  # type: ignore[arg-type]
            continue
        value = getattr(function, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _copy_map(getattr(data, field.name), value, field.message_type.fields_by_name["value"].message_type)
        elif wire.is_repeated(field):
            getattr(data, field.name).extend(value)
        elif field.message_type is not None:
            getattr(data, field.name).CopyFrom(value)
        else:
            setattr(data, field.name, value)
    data.ranked_functions.add(rank=0, function=function)
    return data


def _copy_map(target: object, source: object, message: object) -> None:
    for key, value in source.items():  # type: ignore[attr-defined]
        if message is None:
            target[key] = value  # type: ignore[index]
        else:
            target[key].CopyFrom(value)  # type: ignore[index]


def handle(
    function: api_pb2.Function | api_pb2.FunctionPrecreateRequest,
    app_id: str,
    definition_id: str,
    web_url: str,
    method_urls: Mapping[str, str] = MappingProxyType({}),
) -> api_pb2.FunctionHandleMetadata:
    """What a client keeps to call a function. ``method_urls``: addresses of the web methods of a class."""
    metadata = api_pb2.FunctionHandleMetadata(
        function_name=function.function_name,
        function_type=function.function_type,
        web_url=web_url,
        definition_id=definition_id,
        app_id=app_id,
        max_object_size_bytes=wire.MAX_INLINE_BYTES,
        max_async_object_size_bytes=wire.MAX_INLINE_BYTES,
        supported_input_formats=function.supported_input_formats,
        supported_output_formats=function.supported_output_formats,
    )
    if function.HasField("function_schema"):
        metadata.function_schema.CopyFrom(function.function_schema)
    if isinstance(function, api_pb2.Function):
        metadata.is_method = function.is_method
        metadata.class_parameter_info.CopyFrom(function.class_parameter_info)
    target, method_name = wire.old_method(function)
    if target:
        wire.set_old_target(metadata, target)
        metadata.is_method, metadata.use_method_name = True, method_name
    for name, method in function.method_definitions.items():
        metadata.method_handle_metadata[name].CopyFrom(_method_handle(name, method, app_id))
        metadata.method_handle_metadata[name].web_url = method_urls.get(name, "")
    return metadata


def _method_handle(name: str, method: api_pb2.MethodDefinition, app_id: str) -> api_pb2.FunctionHandleMetadata:
    metadata = api_pb2.FunctionHandleMetadata(
        function_name=method.function_name,
        function_type=method.function_type,
        is_method=True,
        use_method_name=name,
        app_id=app_id,
        max_object_size_bytes=wire.MAX_INLINE_BYTES,
        max_async_object_size_bytes=wire.MAX_INLINE_BYTES,
        supported_input_formats=method.supported_input_formats,
        supported_output_formats=method.supported_output_formats,
    )
    if method.HasField("function_schema"):
        metadata.function_schema.CopyFrom(method.function_schema)
    return metadata
