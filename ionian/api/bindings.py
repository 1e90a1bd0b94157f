"""Bound functions: a class with constructor arguments, a class or function with settings of its own.

Arguments are compared by value where the class declares its parameters, byte by byte where the client pickles them.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence

from google.protobuf.message import DecodeError

from ionian import wire
from ionian.api import autoscaler, definitions, gpus
from ionian.api.context import Context
from ionian.api.functions import describe
from ionian.errors import InvalidRequest, NotFound, PermissionDenied, Unimplemented
from ionian.model import Batching
from ionian.state import bindings, functions, secrets
from ionian.state.bindings import Overrides
from ionian.state.database import Row, Tx
from ionian.state.functions import Settings
from ionian.wire import api_pb2

MAX_PARAMS_BYTES = 16 * 1024  # as documented for the hosted service
LISTED = 200  # variants in one answer
_SHOWN = 40  # characters of one argument in a name

HONOURED = frozenset(
    {
        "secret_ids",
        "replace_secret_ids",
        "resources",  # its parts: as in fields.py
        "retry_policy",
        "concurrency_limit",
        "timeout_secs",
        "task_idle_timeout_secs",
        "warm_pool_size",
        "buffer_containers",
        "max_concurrent_inputs",
        "target_concurrent_inputs",
        "batch_max_size",
        "batch_linger_ms",
    }
)
HARMLESS = {
    "scheduler_placement": "there is one machine",
    "cloud_provider_str": "there is one machine",
    "routing_region": "there is one machine",
    "replace_volume_mounts": "said with the volumes",
    "replace_cloud_bucket_mounts": "said with the buckets",
}
REFUSED = {
    "mount_ids": "mounts",
    "volume_mounts": "volumes",
    "cloud_bucket_mounts": "cloud bucket mounts",
    "pinned_app_version": "a pinned version",
}

# Of a constructor without arguments, as clients before 0.73 send them, and later ones for options alone.
_NO_ARGUMENTS = frozenset(pickle.dumps(((), {}), protocol) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1))


async def FunctionBindParams(
    ctx: Context, request: api_pb2.FunctionBindParamsRequest
) -> api_pb2.FunctionBindParamsResponse:
    """An instance of a class, or a function with settings of its own. Equal requests give the same function."""
    if request.auth_secret:
        raise Unimplemented("functions of other workspaces are not built in this server yet")
    options = request.function_options
    wanted = list(gpus.named([options.resources]))
    if wanted:
        raise gpus.refusal("with_options", wanted, await ctx.services.gpus())
    overrides = _overrides(options)

    def commit(tx: Tx) -> tuple[str, bool]:
        base = functions.get(tx, bindings.base_of(tx, request.function_id))
        row = functions.current(tx, request.function_id)
        bound = bindings.get(tx, request.function_id)
        wanted = overrides.over(Overrides.decode(bound["overrides"])) if bound else overrides
        _check_secrets(tx, ctx, options.secret_ids)
        params, shown = _params(api_pb2.Function.FromString(row["definition"]), request.serialized_params)
        params = params or (bound["params"] if bound else b"")
        autoscaler.check(base["name"], wanted.applied(Settings.decode(row["settings"])).scaling)
        if not params and wanted == Overrides():
            return str(base["function_id"]), False
        label = ", ".join([*shown, *_said(wanted)])
        message = options.SerializeToString(deterministic=True)
        same = (secrets.identity(tx, wanted.secret_ids or ()),)
        function_id = bindings.bind(tx, base, params, wanted, message, label, ctx.now, same)
        return function_id, _renewed(tx, function_id, wanted)

    function_id, renewed = await ctx.database.write(commit)
    if renewed:
        await ctx.services.reload()
    _, handle = await ctx.database.read(lambda tx: describe(ctx, tx, function_id))
    return api_pb2.FunctionBindParamsResponse(bound_function_id=function_id, handle_metadata=handle)


def _renewed(tx: Tx, function_id: str, wanted: Overrides) -> bool:
    """Whether it had secrets that are gone, and has these now. Living ones stay: other containers have them."""
    bound = bindings.get(tx, function_id)
    try:
        secrets.identity(tx, Overrides.decode(bound["overrides"]).secret_ids or () if bound else ())
    except NotFound:
        bindings.renew(tx, function_id, wanted)
        return True
    return False


def _check_secrets(tx: Tx, ctx: Context, secret_ids: Sequence[str]) -> None:
    """That containers can be given them, as at a deploy; and that a container asks for those of its environment."""
    inside = ctx.caller.inside
    for secret_id in secret_ids:
        if inside is not None and secrets.get(tx, secret_id)["environment"] != inside.environment:
            raise PermissionDenied(
                f"with_options: secret {secret_id} belongs to another environment than this container"
            )
    secrets.opened(tx, ctx.config.secret_key_file, secret_ids)


def _params(function: api_pb2.Function, given: bytes) -> tuple[bytes, list[str]]:
    """Constructor arguments in the one form that they have, and as people write them. Raises InvalidRequest."""
    if len(given) > MAX_PARAMS_BYTES:
        raise InvalidRequest(
            f"{function.function_name}: class parameters of {len(given)} bytes are over the limit of "
            f"{MAX_PARAMS_BYTES}; pass large values to a method instead"
        )
    info = function.class_parameter_info
    if info.format != api_pb2.ClassParameterInfo.PARAM_SERIALIZATION_FORMAT_PROTO:
        return (b"", []) if given in _NO_ARGUMENTS or not given else (given, ["..."])
    try:
        values = {value.name: value for value in api_pb2.ClassParameterSet.FromString(given).parameters}
    except DecodeError:
        return given, ["..."]  # pickled, for an earlier definition of the class: its containers read both
    for parameter in info.schema:
        if parameter.name not in values:
            if not parameter.has_default:
                raise InvalidRequest(f"{function.function_name}: the parameter {parameter.name!r} is missing")
            values[parameter.name] = _default(parameter)
    canonical = api_pb2.ClassParameterSet(parameters=[values[name] for name in sorted(values)])
    ordered = dict.fromkeys([*(parameter.name for parameter in info.schema), *values])
    return canonical.SerializeToString(deterministic=True), [_shown(values[name]) for name in ordered]


def _default(parameter: api_pb2.ClassParameterSpec) -> api_pb2.ClassParameterValue:
    kind = parameter.WhichOneof("default_oneof") or ""
    value = api_pb2.ClassParameterValue(name=parameter.name, type=parameter.type)
    if kind:
        setattr(value, kind.replace("_default", "_value"), getattr(parameter, kind))
    return value


def _shown(value: api_pb2.ClassParameterValue) -> str:
    kind = value.WhichOneof("value_oneof")
    text = "..." if kind in (None, "pickle_value") else repr(getattr(value, str(kind)))
    return f"{value.name}={text if len(text) <= _SHOWN else text[: _SHOWN - 3] + '...'}"


def _overrides(options: api_pb2.FunctionOptions) -> Overrides:
    """What of the options takes the place of the function's own settings. Raises Unimplemented, InvalidRequest."""
    _refuse(options)
    resources, given = options.resources, _given(options)
    timeout_s = given("timeout_secs")
    if timeout_s is not None and not 0 < timeout_s <= definitions.MAX_TIMEOUT_S:
        raise InvalidRequest(f"with_options: timeout={timeout_s} is not between 1 and {definitions.MAX_TIMEOUT_S} s")
    batched = options.HasField("batch_max_size") and options.batch_max_size
    concurrent = given("max_concurrent_inputs")
    if concurrent is None:  # how clients before 0.74 say it
        concurrent = given("target_concurrent_inputs")
    return Overrides(
        cpu=(resources.milli_cpu, resources.milli_cpu_max or None) if resources.milli_cpu else None,
        memory=(resources.memory_mb, resources.memory_mb_max or None) if resources.memory_mb else None,
        timeout_s=timeout_s,
        retries=definitions.retries(options.retry_policy) if options.HasField("retry_policy") else None,
        batching=Batching(options.batch_max_size, options.batch_linger_ms / 1000) if batched else None,
        secret_ids=tuple(options.secret_ids) if options.secret_ids or options.replace_secret_ids else None,
        min_containers=given("warm_pool_size"),
        max_containers=given("concurrency_limit"),
        buffer_containers=given("buffer_containers"),
        scaledown_window_s=given("task_idle_timeout_secs"),
        max_concurrent_inputs=concurrent,
        target_concurrent_inputs=given("target_concurrent_inputs") if options.max_concurrent_inputs else None,
    )


def _refuse(options: api_pb2.FunctionOptions) -> None:
    for name in wire.given_fields(options):
        if name in REFUSED:
            raise Unimplemented(f"with_options: {REFUSED[name]} is not built in this server yet")
        if name not in HONOURED and name not in HARMLESS:
            raise Unimplemented(f"with_options: {name} is not built in this server yet")
    if options.resources.rdma:
        raise Unimplemented("with_options: rdma is not built in this server yet")


def _given(options: api_pb2.FunctionOptions):  # type: ignore[no-untyped-def]
    def value(name: str) -> int | None:
        return int(getattr(options, name)) if options.HasField(name) else None  # type: ignore[arg-type]

    return value


def _said(overrides: Overrides) -> Iterable[str]:
    """Settings as people read them in the name of a bound function."""
    if overrides.cpu:
        yield f"cpu={overrides.cpu[0] / 1000:g}"
    if overrides.memory:
        yield f"memory={overrides.memory[0]}"
    if overrides.retries:
        yield f"retries={overrides.retries.max_retries}"
    if overrides.batching:
        yield f"max_batch_size={overrides.batching.max_size}"
    for name in ("timeout_s", "min_containers", "max_containers", "buffer_containers", "scaledown_window_s"):
        if (value := getattr(overrides, name)) is not None:
            yield f"{name.removesuffix('_s')}={value}"
    if overrides.secret_ids is not None:
        yield f"{len(overrides.secret_ids)} secrets"
    if overrides.max_concurrent_inputs is not None:
        yield f"max_inputs={overrides.max_concurrent_inputs}"


async def FunctionListVariants(
    ctx: Context, request: api_pb2.FunctionListVariantsRequest
) -> api_pb2.FunctionListVariantsResponse:
    """The bound functions of a function, newest first."""

    def look_up(tx: Tx) -> list[Row]:
        return bindings.of_base(tx, str(functions.get(tx, bindings.base_of(tx, request.function_id))["function_id"]))

    rows = await ctx.database.read(look_up)
    if request.HasField("cursor"):
        ids = [row["function_id"] for row in rows]
        rows = rows[ids.index(request.cursor.function_id) + 1 :] if request.cursor.function_id in ids else []
    limit = min(request.limit or LISTED, LISTED)
    response = api_pb2.FunctionListVariantsResponse()
    for row in rows[:limit]:
        info = response.infos.add(function_id=row["function_id"], serialized_params=row["params"])
        if row["options"]:
            info.function_options.ParseFromString(row["options"])
    if len(rows) > limit:
        last = rows[limit - 1]
        response.next_cursor.function_id = last["function_id"]
        response.next_cursor.created_before = last["created_at"]
    return response
