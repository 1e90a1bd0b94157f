"""What ``ionian status`` shows of a running server: read from memory, changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ionian.api import schedules
from ionian.services import Server


def of(server: Server, scheduled: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Apps with their functions, and containers. ``scheduled``: see ``scheduling.answer``."""
    upcoming = {entry["function_id"]: entry for entry in scheduled}
    by_app: dict[str, dict[str, Any]] = {}
    place = {function_id: number for number, function_id in enumerate(server.dispatch.pools)}
    for pool in sorted(
        server.dispatch.pools.values(), key=lambda pool: place.get(pool.spec.base_id or pool.spec.function_id, 0)
    ):
        if pool.retired:
            continue
        spec = pool.spec
        app = by_app.setdefault(
            spec.app_id,
            {
                "app_id": spec.app_id,
                "name": spec.app_name,
                "environment": spec.environment,
                "state": "deployed" if spec.version else "ephemeral",
                "functions": [],
            },
        )
        app["functions"].append(
            {
                "function_id": spec.function_id,
                "name": spec.name,
                "version": spec.version,
                "urls": server.addresses(spec),
                "containers": len(pool.containers),
                "queued": len(pool.waiting),
                "schedule": schedules.described(spec.definition),
                **_upcoming(upcoming.get(spec.function_id)),
                "in_flight": sum(c.in_flight for c in pool.containers.values()),
            }
        )
    containers = [
        {
            "container_id": c.container_id,
            "function_id": c.function_id,
            "app_id": pool.spec.app_id,
            "state": str(c.state),
            "in_flight": c.in_flight,
            "served": c.served,
            "started_at": c.started_at,
        }
        for pool in server.dispatch.pools.values()
        for c in pool.containers.values()
    ]
    return {"apps": list(by_app.values()), "containers": containers + server.sandboxes.described()}


def _upcoming(entry: Mapping[str, Any] | None) -> dict[str, Any]:
    """When a function with a schedule runs next (unix seconds). Only those of deployed apps do."""
    if entry is None:
        return {"schedule_fires": False, "schedule_paused": False, "next_run": None}
    return {"schedule_fires": not entry["paused"], "schedule_paused": entry["paused"], "next_run": entry["next"]}
