"""The page of one app, at the address that clients print for a run or a deployment: what it is, and where to look.

It shows names and addresses, as every 404 of the gateway does, and never what was printed: so it needs no token.
"""

from __future__ import annotations

from ionian.api.blobs import HttpAnswer, HttpRequest
from ionian.api.context import Context
from ionian.state import apps, functions
from ionian.state.database import Row, Tx
from ionian.state.functions import Settings

_HEADERS = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)
_STATES = {
    apps.EPHEMERAL: "running as long as its client does",
    apps.DETACHED: "running, also without its client",
    apps.DETACHED_DISCONNECTED: "running without its client until its calls are done",
    apps.DEPLOYED: "deployed",
    apps.STOPPED: "stopped",
    apps.INITIALIZING: "not published yet",
}


async def answer(ctx: Context, app_id: str, request: HttpRequest) -> HttpAnswer:
    """One HTTP request for the page of an app. Raises NotFound."""
    if request.method not in ("GET", "HEAD"):
        return HttpAnswer(405, ((b"allow", b"GET, HEAD"),))
    data = "".join(f"{line}\n" for line in await ctx.database.read(_lines, ctx, app_id)).encode()
    return HttpAnswer(200, (*_HEADERS, (b"content-length", b"%d" % len(data))), data)


def _lines(tx: Tx, ctx: Context, app_id: str) -> list[str]:
    row = apps.get(tx, app_id)
    version = f", version {row['live_version']}" if row["live_version"] > 0 else ""
    return [
        f"App {row['name'] or row['description']} ({app_id}), environment {row['environment']}",
        f"{_STATES[row['state']]}{version}, made by client {row['client_version']}",
        "",
        *(_functions(tx, ctx, row) or ["no functions"]),
        "",
        f"what it printed:  modal app logs {app_id}",
        *([] if row["state"] == apps.STOPPED else [f"to stop it:       modal app stop {app_id}"]),
    ]


def _functions(tx: Tx, ctx: Context, app: Row) -> list[str]:
    """A line per function of the live version, with the address of those that have one."""
    rows = [
        functions.definition(tx, definition) for definition in apps.layout(tx, app["app_id"]).definition_ids.values()
    ]
    found = sorted(
        (str(functions.get(tx, row["function_id"])["name"]), label)
        for row in rows
        for label in Settings.decode(row["settings"]).labels or [""]
    )
    return [
        f"  {name}  {ctx.services.url(app['web_suffix'], label)}" if label else f"  {name}" for name, label in found
    ]
