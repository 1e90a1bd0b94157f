"""Sandboxes: one container each, from creation to its end. A sandbox is never started a second time."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from ionian.errors import FailedPrecondition, NotFound
from ionian.model import FunctionSpec, MountRef, Resources, RunnerSpec
from ionian.state import apps, images, mounts
from ionian.state.database import Row, Tx

PREFIX = "sb"
RUNNING = 0  # in place of the client's GenericStatus


@dataclass(frozen=True, slots=True)
class Settings:
    """What a sandbox runs, and in what."""

    command: tuple[str, ...]
    workdir: str = ""  # empty: the image's
    mount_ids: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)
    timeout_s: int = 300
    block_network: bool = False

    def encode(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def decode(text: str) -> Settings:
        raw: dict[str, Any] = json.loads(text)
        raw["resources"] = Resources(**raw["resources"])
        raw["command"], raw["mount_ids"] = tuple(raw["command"]), tuple(raw["mount_ids"])
        return Settings(**raw)


def topic(sandbox_id: str) -> str:
    """Woken when a sandbox has ended."""
    return f"sandbox/{sandbox_id}"


def is_one(function_id: str) -> bool:
    """Whether what a container runs is a sandbox, and not a function."""
    return function_id.startswith(f"{PREFIX}-")


def create(
    tx: Tx,
    sandbox_id: str,
    container_id: str,
    app_id: str,
    image_id: str,
    settings: Settings,
    client_version: str,
    now: float,
) -> None:
    """A new sandbox of an app. Raises NotFound (app or image), FailedPrecondition (stopped, or not built)."""
    if apps.get(tx, app_id)["state"] == apps.STOPPED:
        raise FailedPrecondition(f"app {app_id} is stopped: a sandbox needs one that runs")
    if images.get(tx, image_id)["status"] != images.BUILT:
        raise FailedPrecondition(f"image {image_id} of the sandbox is not built")
    tx.execute(
        "INSERT INTO sandboxes (sandbox_id, container_id, app_id, image_id, client_version, settings, status, "
        "exit_code, error, created_at, finished_at) VALUES (?, ?, ?, ?, ?, ?, ?, 0, '', ?, 0)",
        sandbox_id,
        container_id,
        app_id,
        image_id,
        client_version,
        settings.encode(),
        RUNNING,
        now,
    )


def get(tx: Tx, sandbox_id: str) -> Row:
    """The sandbox's row. Raises NotFound."""
    row = tx.one("SELECT * FROM sandboxes WHERE sandbox_id = ?", sandbox_id)
    if row is None:
        raise NotFound(f"sandbox {sandbox_id} not found")
    return row


def of_container(tx: Tx, container_id: str) -> Row:
    """The row of the sandbox in this container. Raises NotFound."""
    row = tx.one("SELECT * FROM sandboxes WHERE container_id = ?", container_id)
    if row is None:
        raise NotFound(f"no sandbox is in container {container_id}")
    return row


def finish(tx: Tx, sandbox_id: str, status: int, exit_code: int, error: str, now: float) -> bool:
    """Note how it ended; the first to say so is right. False when that was said before."""
    if get(tx, sandbox_id)["status"] != RUNNING:
        return False
    tx.execute(
        "UPDATE sandboxes SET status = ?, exit_code = ?, error = ?, finished_at = ? WHERE sandbox_id = ?",
        status,
        exit_code,
        error,
        now,
        sandbox_id,
    )
    return True


def unfinished(tx: Tx) -> list[Row]:
    """Every sandbox that should be running."""
    return tx.all("SELECT * FROM sandboxes WHERE status = ? ORDER BY created_at", RUNNING)


def expire(tx: Tx, before: float) -> None:
    """Forget sandboxes that ended before (unix seconds)."""
    tx.execute("DELETE FROM sandboxes WHERE status <> ? AND finished_at < ?", RUNNING, before)


def spec(tx: Tx, sandbox_id: str) -> FunctionSpec:
    """A sandbox as what a container runs. Raises NotFound."""
    row = get(tx, sandbox_id)
    app, image = apps.get(tx, row["app_id"]), images.get(tx, row["image_id"])
    settings = Settings.decode(row["settings"])
    mounted = [mounts.get(tx, mount_id) for mount_id in settings.mount_ids]
    name = app["name"] or app["description"]
    return FunctionSpec(
        function_id=sandbox_id,
        app_id=app["app_id"],
        app_name=name,
        environment=app["environment"],
        name=sandbox_id,
        version=0,
        image_id=row["image_id"],
        layers=tuple(json.loads(image["layers"])),
        mounts=tuple(MountRef(m["mount_id"], m["digest"]) for m in mounted if not mounts.is_provided(m["digest"])),
        secret_ids=(),
        runner=RunnerSpec(sandbox_id, app["app_id"], name, "", "", row["client_version"]),
        resources=settings.resources,
        timeout_s=settings.timeout_s,
        python_version=image["python_version"],
        image_env=tuple((key, value) for key, value in json.loads(image["env"])),
        image_workdir=settings.workdir or image["workdir"],
        block_network=settings.block_network,
    )
