"""A migrated database, used synchronously: state functions are plain functions of a transaction."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ionian.model import Scaling, WebKind, WebSettings
from ionian.state import apps, functions, images, migrate
from ionian.state.apps import Layout, Release
from ionian.state.database import SqliteDatabase, Tx
from ionian.state.functions import Settings


def open_tables(folder: Path) -> SqliteDatabase:
    """A database with the whole schema; the caller closes it."""
    path = folder / "state.db"
    with sqlite3.connect(path) as connection:
        for _, sql in migrate.migrations():
            connection.executescript(sql)
    connection.close()
    return SqliteDatabase(path)


def built_image(tx: Tx, app_id: str, command: str = "RUN one") -> str:
    row = images.get_or_create(tx, app_id, images.Recipe((command,), "2025.06"), False, 1.0)
    images.begin(tx, row["image_id"])
    images.finish(tx, row["image_id"], ("l1",), (("A", "1"),), "/work", "3.11", {}, 2.0)
    return str(row["image_id"])


def add_function(tx: Tx, app_id: str, name: str, label: str = "", timeout_s: int = 300, now: float = 3.0) -> str:
    """A defined function. Returns its id."""
    web = WebSettings(WebKind.ASGI, label=label) if label else None
    settings = Settings(name, "module", name, web=web, timeout_s=timeout_s, scaling=Scaling(max_containers=2))
    function_id = functions.precreate(tx, app_id, name, "", now)
    functions.define(tx, function_id, settings, built_image(tx, app_id), b"opaque", "1.6.4", now)
    return function_id


def publish(tx: Tx, app_id: str, name: str, *function_ids: str, state: int = apps.DEPLOYED) -> int:
    """Make these functions the live version."""
    chosen = functions.definitions_of(tx, function_ids, {})
    functions.claim_labels(tx, app_id, "acme", chosen.values())
    tags = {functions.get(tx, function_id)["name"]: function_id for function_id in function_ids}
    return apps.publish(tx, app_id, name, state, Layout(tags, {}, chosen), Release("1.6.4"), 4.0)


def new_app(tx: Tx, name: str, state: int = apps.INITIALIZING, now: float = 1.0) -> str:
    return str(apps.create(tx, "", name, state, "1.6.4", {}, now)["app_id"])
