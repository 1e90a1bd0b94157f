"""Images: how to make one (as the client sent it), how far it is, what came out. One digest is one image row.

A forced or repeated build gets a fresh row; the digest moves to it, so functions keep the image they were made with.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ionian.errors import FailedPrecondition, NotFound
from ionian.model import MountFile, new_id
from ionian.state import mounts
from ionian.state.database import Row, Tx

PENDING, BUILDING, BUILT, FAILED = "pending", "building", "built", "failed"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the client sent. ``bases`` are pairs of tag and image id; the layers of ``base`` lie under this image."""

    dockerfile_commands: tuple[str, ...]
    builder_version: str
    bases: tuple[tuple[str, str], ...] = ()
    context_files: tuple[tuple[str, bytes], ...] = ()
    context_mount_id: str = ""
    build_args: tuple[tuple[str, str], ...] = ()
    secret_ids: tuple[str, ...] = ()
    secrets_key: str = ""  # of which secrets, and for one without a name of its content; see ``secrets.identity``

    def encode(self) -> str:
        raw = asdict(self)
        raw["context_files"] = [[name, base64.b64encode(data).decode()] for name, data in self.context_files]
        return json.dumps(raw, sort_keys=True)

    @staticmethod
    def decode(text: str) -> Recipe:
        raw = json.loads(text)
        return Recipe(
            dockerfile_commands=tuple(raw["dockerfile_commands"]),
            builder_version=raw["builder_version"],
            bases=tuple((tag, image_id) for tag, image_id in raw["bases"]),
            context_files=tuple((name, base64.b64decode(data)) for name, data in raw["context_files"]),
            context_mount_id=raw["context_mount_id"],
            build_args=tuple((name, value) for name, value in raw["build_args"]),
            secret_ids=tuple(raw.get("secret_ids", ())),
            secrets_key=raw.get("secrets_key", ""),
        )


@dataclass(frozen=True, slots=True)
class Order:
    """All that a build needs: the recipe, and what it stands on."""

    image_id: str
    app_id: str
    recipe: Recipe
    python_version: str  # series of the base image; empty when there is none
    base_layers: tuple[str, ...]
    base_env: tuple[tuple[str, str], ...]
    base_workdir: str
    base_metadata: Mapping[str, object]
    context_mount: tuple[MountFile, ...]
    force: bool


def get_or_create(tx: Tx, app_id: str, recipe: Recipe, force: bool, now: float) -> Row:
    """The image of this recipe. A new row is pending; one that failed before is tried again as a new row."""
    digest = _digest(tx, recipe)
    row = tx.one("SELECT * FROM images WHERE digest = ?", digest)
    if row and row["status"] != FAILED and not (force and row["status"] == BUILT):
        return row
    if row:
        old = f"{digest}#{row['image_id']}"
        tx.execute("UPDATE images SET digest = ? WHERE image_id = ?", old, row["image_id"])
    image_id = new_id("im")
    base = next((image for tag, image in recipe.bases if tag in ("base", "")), "")
    tx.execute(
        "INSERT INTO images (image_id, digest, status, recipe, base_image_id, app_id, layers, env, workdir, "
        "python_version, metadata, error, created_at, finished_at) "
        "VALUES (?, ?, ?, ?, ?, ?, '[]', '[]', '', '', ?, '', ?, 0)",
        image_id,
        digest,
        PENDING,
        recipe.encode(),
        base,
        app_id,
        json.dumps({"force": True} if force else {}),
        now,
    )
    return get(tx, image_id)


def _digest(tx: Tx, recipe: Recipe) -> str:
    """Of content, not of ids: two apps that want the same image share it."""
    bases = [(tag, get(tx, image_id)["digest"]) for tag, image_id in recipe.bases]
    mount = mounts.get(tx, recipe.context_mount_id)["digest"] if recipe.context_mount_id else ""
    plain = {**json.loads(recipe.encode()), "bases": bases, "context_mount_id": mount}
    del plain["secret_ids"]  # one without a name has another id in each run
    if not recipe.secrets_key:
        del plain["secrets_key"]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def get(tx: Tx, image_id: str) -> Row:
    """The image's row. Raises NotFound."""
    row = tx.one("SELECT * FROM images WHERE image_id = ?", image_id)
    if row is None:
        raise NotFound(f"image {image_id} not found")
    return row


def pending(tx: Tx) -> list[str]:
    """Images that wait for a build, oldest first. One whose base is not built yet is left out."""
    rows = tx.all(
        "SELECT images.image_id FROM images LEFT JOIN images AS base ON base.image_id = images.base_image_id "
        "WHERE images.status = ? AND (images.base_image_id = '' OR base.status = ?) ORDER BY images.created_at",
        PENDING,
        BUILT,
    )
    return [row["image_id"] for row in rows]


def restart(tx: Tx) -> None:
    """After a server start nobody builds: what was building is pending again."""
    tx.execute("UPDATE images SET status = ? WHERE status = ?", PENDING, BUILDING)


def begin(tx: Tx, image_id: str) -> bool:
    """Take a pending image to build it. False when it is no longer pending."""
    return (
        tx.execute("UPDATE images SET status = ? WHERE image_id = ? AND status = ?", BUILDING, image_id, PENDING) == 1
    )


def build_request(tx: Tx, image_id: str) -> Order:
    """All that is needed to build this image. Raises FailedPrecondition while its base is not built."""
    row = get(tx, image_id)
    recipe = Recipe.decode(row["recipe"])
    base = get(tx, row["base_image_id"]) if row["base_image_id"] else None
    if base and base["status"] != BUILT:
        raise FailedPrecondition(f"image {image_id} stands on {base['image_id']}, which is {base['status']}")
    return Order(
        image_id=image_id,
        app_id=row["app_id"],
        recipe=recipe,
        python_version=base["python_version"] if base else "",
        base_layers=tuple(json.loads(base["layers"])) if base else (),
        base_env=tuple((name, value) for name, value in json.loads(base["env"])) if base else (),
        base_workdir=base["workdir"] if base else "",
        base_metadata=json.loads(base["metadata"]) if base else {},
        context_mount=mounts.files(tx, recipe.context_mount_id) if recipe.context_mount_id else (),
        force=bool(json.loads(row["metadata"]).get("force")),
    )


def finish(
    tx: Tx,
    image_id: str,
    layers: tuple[str, ...],
    env: tuple[tuple[str, str], ...],
    workdir: str,
    python_version: str,
    metadata: Mapping[str, object],
    now: float,
) -> None:
    """The build succeeded; ``layers`` are all layers, base included, bottom first."""
    tx.execute(
        "UPDATE images SET status = ?, layers = ?, env = ?, workdir = ?, python_version = ?, metadata = ?, "
        "finished_at = ? WHERE image_id = ?",
        BUILT,
        json.dumps(layers),
        json.dumps(env),
        workdir,
        python_version,
        json.dumps(dict(metadata)),
        now,
        image_id,
    )


def built_layers(tx: Tx) -> dict[str, tuple[str, ...]]:
    """The layers of every image that is built, by image id."""
    rows = tx.all("SELECT image_id, layers FROM images WHERE status = ?", BUILT)
    return {row["image_id"]: tuple(json.loads(row["layers"])) for row in rows}


def recent_layers(tx: Tx, since: float) -> set[str]:
    """The layers of every image that was built since then (unix seconds)."""
    rows = tx.all("SELECT layers FROM images WHERE status = ? AND finished_at >= ?", BUILT, since)
    return {layer for row in rows for layer in json.loads(row["layers"])}


def ended(tx: Tx, before: float) -> set[str]:
    """Images whose build ended before a time (unix seconds)."""
    rows = tx.all("SELECT image_id FROM images WHERE status IN (?, ?) AND finished_at < ?", BUILT, FAILED, before)
    return {row["image_id"] for row in rows}


def fail(tx: Tx, image_id: str, error: str, now: float) -> None:
    """The build failed; ``error`` holds the failing command and its last lines."""
    tx.execute(
        "UPDATE images SET status = ?, error = ?, finished_at = ? WHERE image_id = ?", FAILED, error, now, image_id
    )
