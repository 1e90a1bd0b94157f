"""Environments through the real clients: names are their own, a rename takes everything along, a deletion ends it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from ionian.errors import InvalidRequest
from ionian.state import apps, environments, functions
from ionian.state.database import Tx
from ionian.state.migrate import migrations
from tests.wire.stage import Done, Stage

PROGRAM = """
import modal
app = modal.App("shop")
@app.function(image=modal.Image.debian_slim(), secrets=[modal.Secret.from_name("keys")])
@modal.asgi_app(label={label!r})
def page(): ...
"""
DATA = """
import modal
modal.Dict.from_name("d", create_if_missing=True).put("a", 1)
modal.Queue.from_name("q", create_if_missing=True).put(1)
"""


def test_every_table_that_names_an_environment_is_known() -> None:
    connection = sqlite3.connect(":memory:")
    for _, sql in migrations():
        connection.executescript(sql)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {
        table
        for table in tables
        if "environment" in {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    }
    connection.close()
    assert found == set(environments.TABLES)


@pytest.fixture
def modal(scene: Stage, new_client: Path, work: Path) -> Any:
    async def run(*arguments: str, **environ: str) -> Done:
        env = {**scene.environment(), **environ}
        return await scene.run(new_client / "modal", *arguments, cwd=work, env=env)

    return run


async def _furnish(scene: Stage, modal: Any, work: Path, new_client: Path, environment: str) -> None:
    """An app with an address, a secret, a dict and a queue in this environment."""
    (work / "main.py").write_text(PROGRAM.format(label="shop"))
    (work / "data.py").write_text(DATA)
    (await modal("secret", "create", "keys", f"A={environment}", "--env", environment)).ok()
    (await modal("deploy", "main.py", "--env", environment)).ok()
    env = {**scene.environment(), "MODAL_ENVIRONMENT": environment}
    (await scene.run(new_client / "python", "data.py", cwd=work, env=env)).ok()


async def _shown(modal: Any, environment: str) -> dict[str, list[str]]:
    found = {}
    for kind in ("app", "secret", "dict", "queue"):
        rows = json.loads((await modal(kind, "list", "--json", "--env", environment)).ok())
        running = [row for row in rows if kind != "app" or row.get("state", row.get("State")) != "stopped"]
        names = ("Name", "name", "Description", "description")
        found[kind] = [next(row[name] for name in names if name in row) for row in running]
    return found


async def test_a_rename_takes_everything_along(scene: Stage, modal: Any, work: Path, new_client: Path) -> None:
    (await modal("environment", "create", "dev")).ok()
    await _furnish(scene, modal, work, new_client, "dev")
    everything = {"app": ["shop"], "secret": ["keys"], "dict": ["d"], "queue": ["q"]}
    assert await _shown(modal, "dev") == everything
    assert await _shown(modal, "main") == {"app": [], "secret": [], "dict": [], "queue": []}
    (await modal("environment", "update", "dev", "--set-name", "test")).ok()
    assert await _shown(modal, "test") == everything
    assert "environment 'dev' not found" in (await modal("secret", "list", "--env", "dev")).output
    [spec] = scene.played.live
    assert (spec.environment, spec.web_suffix) == ("test", "dev")


async def test_a_web_suffix_changes_the_addresses_at_once(
    scene: Stage, modal: Any, work: Path, new_client: Path
) -> None:
    (await modal("environment", "create", "dev")).ok()
    await _furnish(scene, modal, work, new_client, "dev")

    def hosts(tx: Tx) -> list[str]:
        return [row["host"] for row in tx.all("SELECT host FROM web_labels ORDER BY host")]

    assert await scene.database.read(hosts) == ["acme-dev--shop"]
    (await modal("environment", "update", "dev", "--set-web-suffix", "Beta 2")).ok()
    assert await scene.database.read(hosts) == ["acme-beta-2--shop"]
    assert [spec.web_suffix for spec in scene.played.live] == ["beta-2"]
    assert "acme-beta-2--shop" in (await modal("deploy", "main.py", "--env", "dev")).ok()
    for suffix, said in {
        "": "'main' exists already with no web suffix",
        "x" * 31: "has 31 characters; the limit is 30",
    }.items():
        refused = await modal("environment", "update", "dev", "--set-web-suffix", suffix)
        assert refused.code == 1
        assert said in refused.output
    refused = await modal("environment", "update", "dev", "--set-image-builder-version", "2024.10")
    assert refused.code == 1
    assert "image_builder_version" in refused.output
    assert await scene.database.read(hosts) == ["acme-beta-2--shop"]


async def test_a_deletion_ends_what_lives_there_and_frees_the_name(
    scene: Stage, modal: Any, work: Path, new_client: Path
) -> None:
    (await modal("environment", "create", "dev")).ok()
    await _furnish(scene, modal, work, new_client, "dev")
    await _furnish(scene, modal, work, new_client, "main")
    [dev] = [spec for spec in scene.played.live if spec.environment == "dev"]
    (await modal("environment", "delete", "dev", "--yes")).ok()
    assert [spec.environment for spec in scene.played.live] == ["main"]
    assert scene.played.released == [dev.app_id]
    row = await scene.database.read(apps.get, dev.app_id)
    assert row["state"] == apps.STOPPED
    assert "environment 'dev' not found" in (await modal("app", "list", "--env", "dev")).output
    listed = json.loads((await modal("environment", "list", "--json")).ok())
    assert [found["name"] for found in listed] == ["main"]
    (await modal("environment", "create", "dev")).ok()
    nothing: dict[str, list[str]] = {"app": [], "secret": [], "dict": [], "queue": []}
    assert await _shown(modal, "dev") == nothing
    assert await _shown(modal, "main") == {"app": ["shop"], "secret": ["keys"], "dict": ["d"], "queue": ["q"]}
    await _furnish(scene, modal, work, new_client, "dev")
    again = await modal("app", "logs", dev.app_id)  # what has ended is still there to look at
    assert "Traceback" not in again.output
    refused = await modal("environment", "delete", "main", "--yes")
    assert refused.code == 1
    assert "is the default and cannot be deleted" in refused.output
    assert await scene.database.read(functions.live)


@pytest.mark.parametrize("name", ["dev#1", "", "-", "a b"])
async def test_a_name_that_could_be_no_address_is_refused(scene: Stage, name: str) -> None:
    with pytest.raises(InvalidRequest, match="must have letters"):
        await scene.database.write(environments.create, name, 1.0)


async def test_the_old_client_deletes_and_renames_too(scene: Stage, old_client: Path, work: Path) -> None:
    async def modal(*arguments: str) -> str:
        return (await scene.run(old_client / "modal", "environment", *arguments, cwd=work)).ok()

    await modal("create", "dev")
    await modal("update", "dev", "--set-name", "test", "--set-web-suffix", "t")
    assert "test" in await modal("list")
    await modal("delete", "test", "--confirm")
    assert "test" not in await modal("list")


async def test_the_workspace_has_one_member_and_fixed_settings(scene: Stage, modal: Any) -> None:
    [member] = json.loads((await modal("workspace", "members", "list", "--json")).ok())
    assert {"acme"} <= set(member.values())
    settings = (await modal("workspace", "settings", "list", "--json")).ok()
    assert "main" in settings
    refused = await modal("workspace", "settings", "set", "default-environment", "dev")
    assert refused.code == 1
    assert "set-environment dev" in refused.output
    for arguments in (("proxy-tokens", "list"), ("service-users", "list")):
        refused = await modal("workspace", *arguments)
        assert refused.code == 1
        assert "is not built in this server yet" in refused.output
