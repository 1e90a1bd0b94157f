"""What an app consists of, for clients that deploy over it or look inside."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

from ionian.api import definitions
from ionian.api.context import Context
from ionian.api.functions import describe
from ionian.state import apps, functions
from ionian.state.database import Tx
from ionian.state.functions import Settings
from ionian.wire import api_pb2


async def AppGetLayout(ctx: Context, request: api_pb2.AppGetLayoutRequest) -> api_pb2.AppGetLayoutResponse:
    """The objects of the live version. Empty before the first publish."""
    layout = await ctx.database.read(_layout, ctx, request.app_id)
    return api_pb2.AppGetLayoutResponse(app_layout=layout)


def _layout(tx: Tx, ctx: Context, app_id: str) -> api_pb2.AppLayout:
    live = apps.layout(tx, app_id)
    layout = api_pb2.AppLayout(function_ids=live.function_ids, class_ids=live.class_ids)
    for function_id in live.function_ids.values():
        item = layout.objects.add(object_id=function_id)
        item.function_handle_metadata.CopyFrom(describe(ctx, tx, function_id)[1])
    for class_id in live.class_ids.values():
        layout.objects.add(object_id=class_id).class_handle_metadata.SetInParent()
    return layout


async def AppGetObjects(ctx: Context, request: api_pb2.AppGetObjectsRequest) -> api_pb2.AppGetObjectsResponse:
    """The same for clients up to 0.64: a list of tagged objects."""
    layout = await ctx.database.read(_layout, ctx, request.app_id)
    tags = {object_id: tag for tag, object_id in [*layout.function_ids.items(), *layout.class_ids.items()]}
    items = [api_pb2.AppGetObjectsItem(tag=tags[item.object_id], object=item) for item in layout.objects]
    return api_pb2.AppGetObjectsResponse(items=items)


def written(tx: Tx, app_id: str, version: int, url: Callable[[str, str], str]) -> str:
    """The objects of one version for its containers, as JSON: ids by tag, and what a client keeps of each function."""
    layout = apps.layout(tx, app_id, version)
    suffix = apps.get(tx, app_id)["web_suffix"]
    handles = {}
    for function_id, definition_id in layout.definition_ids.items():
        row = functions.definition(tx, definition_id)
        function = api_pb2.Function.FromString(row["definition"])
        web_url = url(suffix, row["web_label"]) if row["web_label"] else ""
        methods = Settings.decode(row["settings"]).web_methods
        urls = {web.class_method: url(suffix, web.label) for web in methods}
        handle = definitions.handle(function, app_id, definition_id, web_url, urls)
        handles[function_id] = base64.b64encode(handle.SerializeToString()).decode()
    return json.dumps({"functions": layout.function_ids, "classes": layout.class_ids, "handles": handles})
