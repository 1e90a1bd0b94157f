"""The tree of calls that a call is part of: ``FunctionCall.get_call_graph()``."""

from __future__ import annotations

from ionian.api.context import Context
from ionian.errors import NotFound
from ionian.state import callgraph, functions
from ionian.state.callgraph import Graph
from ionian.state.database import Tx
from ionian.state.functions import Settings
from ionian.wire import api_pb2

MOST_INPUTS = 1000  # of one answer; the client says that it is not all


async def FunctionGetCallGraph(
    ctx: Context, request: api_pb2.FunctionGetCallGraphRequest
) -> api_pb2.FunctionGetCallGraphResponse:
    """All calls from the root of this one's tree down, with the state of each input."""
    return await ctx.database.read(_answer, request.function_call_id)


def _answer(tx: Tx, call_id: str) -> api_pb2.FunctionGetCallGraphResponse:
    graph = callgraph.tree(tx, call_id, MOST_INPUTS)
    response = api_pb2.FunctionGetCallGraphResponse(truncated=graph.truncated)
    for row in graph.inputs:
        response.inputs.add(
            input_id=row["input_id"],
            status=row["status"],
            function_call_id=row["call_id"],
            task_id=row["container_id"],
        )
    _describe_calls(tx, graph, response)
    return response


def _describe_calls(tx: Tx, graph: Graph, response: api_pb2.FunctionGetCallGraphResponse) -> None:
    methods = {row["call_id"]: row["method"] for row in reversed(graph.inputs)}
    names: dict[str, tuple[str, str]] = {}
    for row in graph.calls:
        function_id = row["function_id"]
        if function_id not in names:
            names[function_id] = _names(tx, function_id)
        name, module = names[function_id]
        response.function_calls.add(
            function_call_id=row["call_id"],
            parent_input_id=row["parent_input_id"],
            function_name=name.removesuffix("*") + methods[row["call_id"]] if name.endswith(".*") else name,
            module_name=module,
        )


def _names(tx: Tx, function_id: str) -> tuple[str, str]:
    """The function's name and its module; none for a function that is gone."""
    try:
        settings = Settings.decode(functions.current(tx, function_id)["settings"])
    except NotFound:
        return "", ""
    return settings.name, settings.module_name
