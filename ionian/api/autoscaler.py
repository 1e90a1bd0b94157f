"""``update_autoscaler``: a function's scaling changed while it runs, until its app is deployed the next time."""

from __future__ import annotations

from ionian.api.context import Context
from ionian.errors import InvalidRequest
from ionian.model import Scaling
from ionian.state import bindings, functions
from ionian.state.bindings import Overrides
from ionian.state.database import Tx
from ionian.wire import api_pb2

_SETTINGS = {
    "min_containers": "min_containers",
    "max_containers": "max_containers",
    "buffer_containers": "buffer_containers",
    "scaledown_window": "scaledown_window_s",
}


async def FunctionUpdateSchedulingParams(
    ctx: Context, request: api_pb2.FunctionUpdateSchedulingParamsRequest
) -> api_pb2.FunctionUpdateSchedulingParamsResponse:
    """Changes what is given, keeps the rest, and says what holds now."""
    wanted = _wanted(request)

    def commit(tx: Tx) -> Scaling:
        changed = wanted.over(bindings.autoscaled(tx, request.function_id))
        scaling = changed.applied(functions.settings(tx, request.function_id)).scaling
        check(functions.get(tx, request.function_id)["name"], scaling)
        bindings.autoscale(tx, request.function_id, changed)
        return scaling

    scaling = await ctx.database.write(commit)
    await ctx.services.reload()
    return api_pb2.FunctionUpdateSchedulingParamsResponse(current_settings=_message(scaling))


async def FunctionGetSchedulingParams(
    ctx: Context, request: api_pb2.FunctionGetSchedulingParamsRequest
) -> api_pb2.FunctionGetSchedulingParamsResponse:
    """How a function scales now."""
    settings = await ctx.database.read(functions.settings, request.function_id)
    response = api_pb2.FunctionGetSchedulingParamsResponse()
    response.autoscaler_configuration.settings.CopyFrom(_message(settings.scaling))
    return response


def check(name: str, scaling: Scaling) -> None:
    """Raises InvalidRequest where settings do not fit each other."""
    lowest, highest, window = scaling.min_containers, scaling.max_containers, scaling.scaledown_window_s
    if highest is not None and lowest > highest:
        raise InvalidRequest(f"{name}: min_containers={lowest} is more than max_containers={highest}")
    if not 2 <= window <= 3600:
        raise InvalidRequest(f"{name}: scaledown_window={window} is not between 2 and 3600 seconds")


def _wanted(request: api_pb2.FunctionUpdateSchedulingParamsRequest) -> Overrides:
    """Clients up to 0.73 know ``keep_warm`` alone."""
    if not request.HasField("settings"):
        return Overrides(min_containers=request.warm_pool_size_override)
    given = request.settings
    return Overrides(
        **{ours: getattr(given, name) for name, ours in _SETTINGS.items() if given.HasField(name)}  # type: ignore[arg-type]
    )


def _message(scaling: Scaling) -> api_pb2.AutoscalerSettings:
    values = {name: getattr(scaling, ours) for name, ours in _SETTINGS.items()}
    return api_pb2.AutoscalerSettings(**{name: value for name, value in values.items() if value is not None})
