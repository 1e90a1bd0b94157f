"""Classes: a name under which an app publishes the function that runs all methods of a user's class."""

from __future__ import annotations

from ionian.errors import NotFound
from ionian.model import new_id
from ionian.state import apps
from ionian.state.database import Row, Tx


def create(tx: Tx, app_id: str, existing_id: str, now: float) -> Row:
    """A class of this app, or the existing one. Which class it is, the publish says."""
    apps.get(tx, app_id)
    if existing_id:
        row = get(tx, existing_id)
        if row["app_id"] != app_id:
            raise NotFound(f"class {existing_id} is not one of app {app_id}")
        return row
    class_id = new_id("cs")
    tx.execute("INSERT INTO classes (class_id, app_id, created_at) VALUES (?, ?, ?)", class_id, app_id, now)
    return get(tx, class_id)


def get(tx: Tx, class_id: str) -> Row:
    """The class's row. Raises NotFound."""
    row = tx.one("SELECT * FROM classes WHERE class_id = ?", class_id)
    if row is None:
        raise NotFound(f"class {class_id} not found")
    return row
