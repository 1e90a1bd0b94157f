"""Functions: announced, created (checked, stored as a definition), looked up by name or id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ionian.api import definitions, fields, gpus, interactive, schedules
from ionian.api.context import Context
from ionian.errors import InvalidRequest, NotFound, Unimplemented
from ionian.model import FunctionSpec
from ionian.runner import spec as launch
from ionian.state import apps, bindings, functions, labels, secrets
from ionian.state.bindings import Overrides
from ionian.state.database import Row, Tx
from ionian.state.functions import Settings
from ionian.wire import api_pb2, old_method, set_old_web_url


async def FunctionPrecreate(
    ctx: Context, request: api_pb2.FunctionPrecreateRequest
) -> api_pb2.FunctionPrecreateResponse:
    """Gives a function its id before it is created, so that others can refer to it."""
    if not request.function_name:
        raise InvalidRequest("a function needs a name")
    function_id = await ctx.database.write(
        functions.precreate, request.app_id, request.function_name, request.existing_function_id, ctx.now
    )
    app = await ctx.database.read(apps.get, request.app_id)
    url = _url(ctx, app, _label(ctx, app, request.function_name, request.webhook_config))
    urls = _urls(ctx, app, _method_labels(ctx, app, request))
    return api_pb2.FunctionPrecreateResponse(
        function_id=function_id, handle_metadata=definitions.handle(request, request.app_id, "", url, urls)
    )


async def FunctionCreate(ctx: Context, request: api_pb2.FunctionCreateRequest) -> api_pb2.FunctionCreateResponse:
    """Checks and stores a definition. Nothing that is live changes until AppPublish."""
    wanted = gpus.asked(request)
    if wanted:
        raise gpus.refusal(_name(request), wanted, await ctx.services.gpus())
    if request.HasField("function_data"):
        raise Unimplemented(f"{_name(request)}: a choice of machines is not built in this server yet")
    function = request.function
    if request.HasField("schedule") and not function.HasField("schedule"):  # where clients up to 0.64 put it
        function.schedule.CopyFrom(request.schedule)
    warnings = [*fields.check(function), *_newness(ctx.caller.client_version)]
    schedules.check(function, ctx.now)
    interactive.tame(function)
    app = await ctx.database.read(apps.get, request.app_id)
    label = _label(ctx, app, function.function_name, function.webhook_config)
    method_labels = _method_labels(ctx, app, function)
    settings = definitions.settings_of(function, label, method_labels)
    function_id, definition_id, spec = await ctx.database.write(_store, ctx, app, request, settings)
    if spec.image_id:
        await ctx.services.prepare(spec)
    url, urls = _url(ctx, app, label), _urls(ctx, app, method_labels)
    answer = api_pb2.Function()
    answer.CopyFrom(function)
    answer.web_url = url
    for method, method_url in urls.items():
        answer.method_definitions[method].web_url = method_url
    response = api_pb2.FunctionCreateResponse(
        function_id=function_id,
        function=answer,
        function_data=definitions.function_data(answer),
        handle_metadata=definitions.handle(function, app["app_id"], definition_id, url, urls),
        server_warnings=[api_pb2.Warning(message=message) for message in warnings],
    )
    set_old_web_url(response, url)
    return response


def _name(request: api_pb2.FunctionCreateRequest) -> str:
    return request.function.function_name or request.function_data.function_name


def _store(
    tx: Tx, ctx: Context, app: Row, request: api_pb2.FunctionCreateRequest, settings: Settings
) -> tuple[str, str, FunctionSpec]:
    function = request.function
    for label in settings.labels:
        host = labels.host(ctx.config.workspace, app["web_suffix"], label)
        functions.check_label(tx, host, app["app_id"], function.function_name)
    if not function.image_id and not old_method(function)[0]:
        raise InvalidRequest(f"{function.function_name} has no image")
    secrets.opened(tx, ctx.config.secret_key_file, function.secret_ids)  # what a container would fail with is said now
    name, existing = function.function_name, request.existing_function_id
    function_id = functions.precreate(tx, app["app_id"], name, existing, ctx.now)
    definition_id = functions.define(
        tx,
        function_id,
        replace(settings, runner=_runner(ctx), interactive=interactive.settings(function)),
        function.image_id,
        definitions.canonical(function),
        ctx.caller.client_version,
        ctx.now,
    )
    return function_id, definition_id, functions.spec(tx, definition_id)


def _runner(ctx: Context) -> str:
    return launch.chosen(ctx.config.runner, ctx.caller.client_version)


def _newness(version: str) -> list[str]:
    """A warning for clients that this server has never been tested with."""
    if not launch.is_newer(version):
        return []
    known = ".".join(map(str, launch.NEWEST_KNOWN))
    return [
        f"client {version} is newer than this server knows (up to {known}): functions run with the client's own "
        "container entrypoint, which is slower; an update of Ionian may know this client"
    ]


def _label(ctx: Context, app: Row, function: str, config: api_pb2.WebhookConfig) -> str:
    """The web label of a function; empty when it has no web address."""
    if not config.type:
        return ""
    ephemeral = app["state"] in (apps.EPHEMERAL, apps.DETACHED, apps.DETACHED_DISCONNECTED)
    return labels.function_label(
        ctx.config.workspace,
        app["web_suffix"],
        app["name"] or app["description"],
        function,
        requested=config.requested_suffix,
        dev_suffix=(config.ephemeral_suffix or "dev") if ephemeral else "",
    )


def _method_labels(
    ctx: Context, app: Row, function: api_pb2.Function | api_pb2.FunctionPrecreateRequest
) -> dict[str, str]:
    """The web labels of the methods of a class, by method."""
    prefix = function.function_name.removesuffix("*")
    return {
        name: _label(ctx, app, prefix + name, method.webhook_config)
        for name, method in function.method_definitions.items()
        if method.webhook_config.type
    }


def _url(ctx: Context, app: Row, label: str) -> str:
    return ctx.services.url(app["web_suffix"], label) if label else ""


def _urls(ctx: Context, app: Row, method_labels: Mapping[str, str]) -> dict[str, str]:
    return {method: _url(ctx, app, label) for method, label in method_labels.items()}


def describe(ctx: Context, tx: Tx, function_id: str) -> tuple[api_pb2.FunctionData, api_pb2.FunctionHandleMetadata]:
    """The current definition of a function, as clients want it. Raises NotFound."""
    row = functions.current(tx, function_id)
    app = apps.get(tx, functions.get(tx, function_id)["app_id"])
    function = api_pb2.Function.FromString(row["definition"])
    function.web_url = _url(ctx, app, row["web_label"])
    urls = _urls(ctx, app, {web.class_method: web.label for web in Settings.decode(row["settings"]).web_methods})
    for method, url in urls.items():
        function.method_definitions[method].web_url = url
    handle = definitions.handle(function, app["app_id"], row["definition_id"], function.web_url, urls)
    base_id = bindings.base_of(tx, function_id)
    handle.base_function_id = base_id if base_id != function_id else ""
    return definitions.function_data(function), handle


def find(tx: Tx, environment: str, app_name: str, tag: str, kind: str, version: int | None = None) -> str:
    """The id of an object of a deployed app, in its live or another version. Raises NotFound."""
    app = apps.deployed(tx, environment or labels.MAIN, app_name)
    if app is None:
        raise NotFound(f"app {app_name!r} is not deployed in environment {environment or labels.MAIN!r}")
    layout = apps.layout(tx, app["app_id"], version)
    found = (layout.class_ids if kind == "class" else layout.function_ids).get(tag)
    if found is None:
        raise NotFound(f"app {app_name!r} has no {kind} {tag!r}" + (f" in version {version}" if version else ""))
    return found


async def FunctionGet(ctx: Context, request: api_pb2.FunctionGetRequest) -> api_pb2.FunctionGetResponse:
    """A function of a deployed app, by name; as it is now, or as it was in a version of its app."""
    where, app_name, tag = request.environment_name, request.app_name, request.object_tag

    def look_up(tx: Tx) -> api_pb2.FunctionGetResponse:
        function_id = find(tx, where, app_name, tag, "function", request.app_version or None)
        if request.app_version:
            pinned = Overrides(version=request.app_version)
            base = functions.get(tx, function_id)
            function_id = bindings.bind(tx, base, b"", pinned, b"", f"version {request.app_version}", ctx.now)
        function, handle = describe(ctx, tx, function_id)
        if request.app_version:
            handle.base_function_id = ""  # it binds nothing that the client would bind again
        return api_pb2.FunctionGetResponse(function_id=function_id, function=function, handle_metadata=handle)

    return await (ctx.database.write(look_up) if request.app_version else ctx.database.read(look_up))


async def FunctionGetById(ctx: Context, request: api_pb2.FunctionGetByIdRequest) -> api_pb2.FunctionGetByIdResponse:
    """A function by its id."""
    function, handle = await ctx.database.read(lambda tx: describe(ctx, tx, request.function_id))
    return api_pb2.FunctionGetByIdResponse(function=function, handle_metadata=handle)


async def FunctionGetCurrentStats(
    ctx: Context, request: api_pb2.FunctionGetCurrentStatsRequest
) -> api_pb2.FunctionStats:
    """How many containers a function has now, and how many inputs wait for one."""
    await ctx.database.read(functions.get, request.function_id)
    running = [c for c in ctx.services.containers() if c.function_id == request.function_id]
    return api_pb2.FunctionStats(backlog=ctx.services.queued(request.function_id), num_total_tasks=len(running))
