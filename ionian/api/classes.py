"""Classes: created empty, named by the publish, looked up through their service function (tag ``Name.*``)."""

from __future__ import annotations

from collections.abc import Iterator

from ionian.api.context import Context
from ionian.api.functions import describe, find
from ionian.errors import Unimplemented
from ionian.state import apps, classes
from ionian.state import functions as state
from ionian.state.database import Tx
from ionian.wire import api_pb2, set_old_target


async def ClassCreate(ctx: Context, request: api_pb2.ClassCreateRequest) -> api_pb2.ClassCreateResponse:
    """A class of an app."""
    row = await ctx.database.write(classes.create, request.app_id, request.existing_class_id, ctx.now)
    metadata = api_pb2.ClassHandleMetadata(methods=request.methods)  # of clients before 0.73
    return api_pb2.ClassCreateResponse(class_id=row["class_id"], handle_metadata=metadata)


async def ClassGet(ctx: Context, request: api_pb2.ClassGetRequest) -> api_pb2.ClassGetResponse:
    """A class of a deployed app, by name."""
    if request.app_version:
        raise Unimplemented("looking up a class in an older version of its app is not built in this server yet")

    def look_up(tx: Tx) -> api_pb2.ClassGetResponse:
        class_id = find(tx, request.environment_name, request.app_name, request.object_tag, "class")
        service = find(tx, request.environment_name, request.app_name, f"{request.object_tag}.*", "function")
        metadata = api_pb2.ClassHandleMetadata(class_function_id=service)
        metadata.class_function_metadata.CopyFrom(describe(ctx, tx, service)[1])
        if not request.only_class_function:
            metadata.methods.extend(_methods(ctx, tx, service, request.object_tag))
        return api_pb2.ClassGetResponse(class_id=class_id, handle_metadata=metadata)

    return await ctx.database.read(look_up)


def _methods(ctx: Context, tx: Tx, service: str, tag: str) -> Iterator[api_pb2.ClassMethod]:
    """What clients before 0.73 made of a class's methods: functions of their own, which stand for the class's."""
    functions = apps.layout(tx, state.get(tx, service)["app_id"]).function_ids
    for name, function_id in functions.items():
        if name.startswith(f"{tag}.") and function_id != service:
            handle = describe(ctx, tx, function_id)[1]
            yield api_pb2.ClassMethod(
                function_name=name.removeprefix(f"{tag}."), function_id=function_id, function_handle_metadata=handle
            )
    for name, handle in describe(ctx, tx, service)[1].method_handle_metadata.items():  # of a class of a later client
        set_old_target(handle, service)
        yield api_pb2.ClassMethod(function_name=name, function_id=service, function_handle_metadata=handle)
