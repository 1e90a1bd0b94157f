"""Apps and their deployments. A deployment is one version of an app's functions; publishing makes it live atomically.

Invariant: what an app serves is ``deployments(app_id, live_version)``. Until a publish commits, nothing live changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from ionian.errors import AlreadyExists, FailedPrecondition, NotFound
from ionian.model import new_id
from ionian.state import environments
from ionian.state.database import Row, Tx

# The client's AppState numbers.
EPHEMERAL, DETACHED, DEPLOYED, STOPPED, INITIALIZING, DETACHED_DISCONNECTED = 1, 2, 3, 5, 6, 8
SERVING = (EPHEMERAL, DETACHED, DEPLOYED, DETACHED_DISCONNECTED)
NO_VERSION = -1


@dataclass(frozen=True, slots=True)
class Layout:
    """What one version of an app consists of."""

    function_ids: Mapping[str, str] = field(default_factory=dict)
    class_ids: Mapping[str, str] = field(default_factory=dict)
    definition_ids: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Release:
    """What goes into the history with a version."""

    client_version: str
    tag: str = ""
    commit_info: bytes = b""
    rollback_version: int = 0


def create(
    tx: Tx, environment: str, description: str, state: int, client_version: str, tags: Mapping[str, str], now: float
) -> Row:
    """A new app without functions."""
    name = environments.get(tx, environment, now)["name"]
    app_id = new_id("ap")
    tx.execute(
        "INSERT INTO apps (app_id, environment, name, description, state, live_version, client_version, tags, staged, "
        "created_at, heartbeat_at, deployed_at, stopped_at, stopped_by) "
        "VALUES (?, ?, '', ?, ?, ?, ?, ?, '{}', ?, ?, 0, 0, '')",
        app_id,
        name,
        description,
        state,
        NO_VERSION,
        client_version,
        json.dumps(dict(tags)),
        now,
        now,
    )
    return get(tx, app_id)


def get(tx: Tx, app_id: str) -> Row:
    """The app's row, and the web suffix of its environment. Raises NotFound."""
    row = tx.one(
        "SELECT apps.*, environments.web_suffix FROM apps JOIN environments ON environments.name = apps.environment "
        "WHERE apps.app_id = ?",
        app_id,
    )
    if row is None:
        raise NotFound(f"app {app_id} not found")
    return row


def deployed(tx: Tx, environment: str, name: str) -> Row | None:
    """The deployed app of this name."""
    return tx.one("SELECT * FROM apps WHERE environment = ? AND name = ? AND state = ?", environment, name, DEPLOYED)


def previous(tx: Tx, environment: str, name: str) -> Row | None:
    """The app of this name that was stopped last."""
    return tx.one(
        "SELECT * FROM apps WHERE environment = ? AND name = ? AND state = ? ORDER BY stopped_at DESC LIMIT 1",
        environment,
        name,
        STOPPED,
    )


def every(tx: Tx, environment: str, stopped_since: float) -> list[Row]:
    """Apps of an environment: the running ones, and those that stopped after a time (unix seconds)."""
    return tx.all(
        "SELECT * FROM apps WHERE environment = ? AND (state <> ? OR stopped_at >= ?) ORDER BY created_at DESC",
        environment,
        STOPPED,
        stopped_since,
    )


def heartbeat(tx: Tx, app_id: str, now: float) -> None:
    """The client that made this app is alive. Raises FailedPrecondition when the app has ended."""
    if get(tx, app_id)["state"] == STOPPED:
        raise FailedPrecondition(f"app {app_id} is stopped")
    tx.execute("UPDATE apps SET heartbeat_at = ? WHERE app_id = ?", now, app_id)


def move_heartbeats(tx: Tx, by: float) -> None:
    """The clock was moved by so many seconds: what was heard a moment ago was heard a moment ago still."""
    tx.execute("UPDATE apps SET heartbeat_at = heartbeat_at + ? WHERE state IN (?, ?)", by, EPHEMERAL, INITIALIZING)


def stage(tx: Tx, app_id: str, objects: Mapping[str, str]) -> None:
    """Remember the objects of a client that publishes in two steps (set objects, then deploy)."""
    get(tx, app_id)
    tx.execute("UPDATE apps SET staged = ? WHERE app_id = ?", json.dumps(dict(objects)), app_id)


def publish(tx: Tx, app_id: str, name: str, state: int, layout: Layout, release: Release, now: float) -> int:
    """Make ``layout`` the live version, all or nothing. Returns the version; 0 for an app that is not deployed.

    Raises FailedPrecondition for a stopped app, AlreadyExists when another app has the name.
    """
    app = get(tx, app_id)
    if app["state"] == STOPPED:
        raise FailedPrecondition(f"app {app_id} is stopped; deploy it again to start a new one")
    if state == DEPLOYED:
        name = name or app["name"] or app["description"]
        other = deployed(tx, app["environment"], name)
        if other and other["app_id"] != app_id:
            raise AlreadyExists(
                f"another deploy of {name!r} was published while this one ran; run the deploy again to replace it"
            )
    version = _next_version(tx, app_id) if state == DEPLOYED else 0
    _insert_deployment(tx, app_id, version, layout, release, now)
    tx.execute(
        "UPDATE apps SET name = ?, state = ?, live_version = ?, client_version = ?, deployed_at = ?, heartbeat_at = ? "
        "WHERE app_id = ?",
        name if state == DEPLOYED else app["name"],
        state,
        version,
        release.client_version,
        now,
        now,
        app_id,
    )
    return version


def _next_version(tx: Tx, app_id: str) -> int:
    row = tx.one("SELECT MAX(version) AS version FROM deployments WHERE app_id = ?", app_id)
    return int(row["version"] or 0) + 1 if row else 1


def _insert_deployment(tx: Tx, app_id: str, version: int, layout: Layout, release: Release, now: float) -> None:
    tx.execute("DELETE FROM deployments WHERE app_id = ? AND version = ? AND version = 0", app_id, version)
    tx.execute(
        "INSERT INTO deployments (app_id, version, client_version, tag, commit_info, rollback_version, function_ids, "
        "class_ids, definition_ids, deployed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        app_id,
        version,
        release.client_version,
        release.tag,
        release.commit_info,
        release.rollback_version,
        json.dumps(dict(layout.function_ids)),
        json.dumps(dict(layout.class_ids)),
        json.dumps(dict(layout.definition_ids)),
        now,
    )


def layout(tx: Tx, app_id: str, version: int | None = None) -> Layout:
    """The functions of a version (None: the live one). Empty before the first publish. Raises NotFound."""
    wanted = get(tx, app_id)["live_version"] if version is None else version
    row = tx.one("SELECT * FROM deployments WHERE app_id = ? AND version = ?", app_id, wanted)
    if row is None and version is not None:
        raise NotFound(f"app {app_id} has no version {version}")
    if row is None:
        return Layout()
    return Layout(json.loads(row["function_ids"]), json.loads(row["class_ids"]), json.loads(row["definition_ids"]))


def history(tx: Tx, app_id: str) -> list[Row]:
    """The deployments of an app, newest first."""
    get(tx, app_id)
    return tx.all("SELECT * FROM deployments WHERE app_id = ? AND version > 0 ORDER BY version DESC", app_id)


def stop(tx: Tx, app_id: str, by: str, now: float) -> bool:
    """End an app: its functions serve no more and its labels are free. False when it had ended before."""
    if get(tx, app_id)["state"] == STOPPED:
        return False
    tx.execute("UPDATE apps SET state = ?, stopped_at = ?, stopped_by = ? WHERE app_id = ?", STOPPED, now, by, app_id)
    tx.execute("DELETE FROM web_labels WHERE app_id = ?", app_id)
    return True


def disconnect(tx: Tx, app_id: str, now: float) -> bool:
    """The client that ran this app has left. True when that ends the app.

    A deployed app goes on; a detached one does while it has work, see ``lost``.
    """
    state = get(tx, app_id)["state"]
    if state == DETACHED:
        tx.execute("UPDATE apps SET state = ? WHERE app_id = ?", DETACHED_DISCONNECTED, app_id)
    ends = state in (EPHEMERAL, INITIALIZING) or (state in (DETACHED, DETACHED_DISCONNECTED) and not _works(tx, app_id))
    return ends and stop(tx, app_id, "", now)


def ended(tx: Tx, before: float) -> set[str]:
    """Apps that stopped before a time (unix seconds)."""
    rows = tx.all("SELECT app_id FROM apps WHERE state = ? AND stopped_at < ?", STOPPED, before)
    return {row["app_id"] for row in rows}


def lost(tx: Tx, before: float) -> list[str]:
    """Apps that live no longer than their client, or detached only as long as they have work, and have outlived both.

    A client has left when it has said so, or was not heard from since ``before`` (unix seconds).
    """
    left = "(state = ? OR (state IN (?, ?, ?) AND heartbeat_at < ?))"
    states = DETACHED_DISCONNECTED, EPHEMERAL, INITIALIZING, DETACHED
    rows = tx.all(f"SELECT app_id, state FROM apps WHERE {left} ORDER BY created_at, app_id", *states, before)
    return [row["app_id"] for row in rows if row["state"] in (EPHEMERAL, INITIALIZING) or not _works(tx, row["app_id"])]


def _works(tx: Tx, app_id: str) -> bool:
    """Whether a call to one of its functions has not ended, or a sandbox of it runs."""
    call = tx.one(
        "SELECT 1 AS one FROM inputs JOIN functions ON functions.function_id = inputs.function_id "
        "WHERE inputs.finished = 0 AND functions.app_id = ? LIMIT 1",
        app_id,
    )
    sandbox = tx.one("SELECT 1 AS one FROM sandboxes WHERE app_id = ? AND status = 0 LIMIT 1", app_id)
    return call is not None or sandbox is not None
