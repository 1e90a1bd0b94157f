"""What a client inside a container may ask, with the token of its container: calls, look-ups, and data of its programs.

Everything else is for who runs the server: deploying, stopping, tokens, lists of secrets. A new RPC is refused until
it is named here. Objects of other environments are refused too.
"""

from __future__ import annotations

from typing import Any

from ionian.api.context import Context, Inside
from ionian.errors import PermissionDenied
from ionian.state import apps, calls, functions, objects
from ionian.state.database import Tx
from ionian.wire import api_pb2

ALLOWED = frozenset(
    {
        # that it is there, and where it is
        "AuthTokenGet",  # the JavaScript client asks for one before it calls; nothing accepts it as a token
        "ClientHello",
        "EnvironmentGetOrCreate",  # the settings that a client reads of its own environment before it looks up a name
        "WorkspaceNameLookup",
        # calls of functions, and what becomes of them
        "FunctionMap",
        "FunctionPutInputs",
        "FunctionFinishInputs",
        "FunctionRetryInputs",
        "FunctionGetOutputs",
        "FunctionCallCancel",
        "FunctionCallFromId",
        "FunctionCallGetDataOut",
        "FunctionCallGetInfo",
        "FunctionCallList",
        "FunctionGetCallGraph",
        # arguments and results that are too large for a message
        "BlobCreate",
        "BlobGet",
        # look-ups, by name or id
        "AppGetLayout",
        "AppGetObjects",
        "ClassGet",
        "FunctionBindParams",
        "FunctionGet",
        "FunctionGetById",
        "FunctionGetCurrentStats",
        "FunctionGetSchedulingParams",
        "FunctionUpdateSchedulingParams",  # f.update_autoscaler(): programs scale their own functions
        "SecretGetOrCreate",  # a handle by name; values never leave the server
    }
)

# Data that programs make, fill and remove while they run. Each of these has no RPC that manages the server.
ALLOWED_FAMILIES = ("Dict", "Queue", "SharedVolume", "Volume", "Sandbox", "Tunnel")

# Fields of requests that name something with an environment.
_OWNED = ("app_id", "function_id", "function_call_id", "dict_id", "queue_id")


def admit(name: str) -> None:
    """Raises PermissionDenied for an RPC that is not for containers."""
    if name in ALLOWED or name.startswith(ALLOWED_FAMILIES):
        return
    raise PermissionDenied(
        f"{name} is not allowed from inside a container: a container may call functions and use objects of its own "
        "environment; deploy, stop and manage apps from outside"
    )


async def confine(ctx: Context, inside: Inside, request: Any) -> None:
    """Keep a request in the container's environment; where it names none it gets this one. PermissionDenied."""
    fields = request.DESCRIPTOR.fields_by_name if request is not None else ()
    naming = "deployment_name" if isinstance(request, api_pb2.EnvironmentGetOrCreateRequest) else "environment_name"
    if naming in fields:
        named = getattr(request, naming)
        if named and named != inside.environment:
            raise _elsewhere(named, inside)
        setattr(request, naming, inside.environment)
    for field in _OWNED:
        object_id = getattr(request, field, "") if field in fields else ""
        if object_id and object_id != inside.app_id:
            found = await ctx.database.read(_environment_of, field, object_id)
            if found != inside.environment:
                raise _elsewhere(found, inside)


def _elsewhere(named: str, inside: Inside) -> PermissionDenied:
    return PermissionDenied(
        f"environment {named!r} is not the container's own ({inside.environment!r}); "
        "from inside a container only objects of its own environment can be used"
    )


def _environment_of(tx: Tx, field: str, object_id: str) -> str:
    """Raises NotFound."""
    if field in ("dict_id", "queue_id"):
        return objects.environment(tx, object_id)
    if field == "function_call_id":
        field, object_id = "function_id", calls.get(tx, object_id)["function_id"]
    if field == "function_id":
        object_id = functions.get(tx, object_id)["app_id"]
    return str(apps.get(tx, object_id)["environment"])
