"""Secrets through the real clients: command line and library, what is said when one is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ionian.api import secrets as api_secrets
from ionian.api.context import Caller, Inside
from ionian.api.inside import admit, confine
from ionian.errors import PermissionDenied
from ionian.state import apps, environments, secrets
from ionian.wire import api_pb2
from tests.wire.stage import Stage

PROGRAM = """
import modal
app = modal.App("needs")
@app.function(image=modal.Image.debian_slim(), secrets=[{secrets}])
def f(): ...
"""
LIBRARY = """
import json, modal
modal.Secret.objects.create("made", {"A": "1"})
modal.Secret.objects.create("made", {"A": "other"}, allow_existing=True)
try:
    modal.Secret.objects.create("made", {"A": "other"})
except modal.exception.AlreadyExistsError as error:
    told = [str(error)]
secret = modal.Secret.from_name("made", required_keys=["A"])
secret.hydrate()
secret.update({"B": "2"})
info = secret.info(refresh=True)
told += [info.name, info.created_by, info.environment_name, info.last_used is None, secret.object_id]
told += [[s.name for s in modal.Secret.objects.list()]]
modal.Secret.objects.create("second", {"A": "1"})
told += [[s.name for s in modal.Secret.objects.list(max_objects=1)]]
modal.Secret.objects.delete("second")
modal.Secret.objects.delete("second", allow_missing=True)
try:
    modal.Secret.objects.delete("second")
except modal.exception.NotFoundError as error:
    told += [str(error)]
print(json.dumps(told))
"""


def _words(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


async def _opened(scene: Stage, secret_id: str) -> dict[str, str]:
    return await scene.database.read(secrets.opened, scene.context.config.secret_key_file, [secret_id])


async def _named(scene: Stage, name: str) -> Any:
    return await scene.database.read(secrets.find, "", name, (), 1.0)


async def test_the_command_line(scene: Stage, client: Path, work: Path) -> None:
    async def modal(*arguments: str) -> str:
        return (await scene.run(client / "modal", "secret", *arguments, cwd=work)).ok()

    assert "Created a new secret 'keys'" in await modal("create", "keys", "A=one=two", "B=")
    row = await _named(scene, "keys")
    assert await _opened(scene, row["secret_id"]) == {"A": "one=two", "B": ""}
    refused = await scene.run(client / "modal", "secret", "create", "keys", "A=three", cwd=work)
    assert refused.code == 1
    assert "exists already in environment 'main'; --force" in _words(refused.output)
    await modal("create", "keys", "C=4", "--force")
    assert await _opened(scene, row["secret_id"]) == {"C": "4"}
    [listed] = json.loads(await modal("list", "--json"))
    assert (listed["Name"] if "Name" in listed else listed["name"]) == "keys"
    assert "4" not in _words(json.dumps(sorted(listed))).split()
    if "client-" not in str(client):
        (work / "s.json").write_text('{"D": "5"}')
        await modal("create", "from-json", "--from-json", "s.json")
        assert await _opened(scene, (await _named(scene, "from-json"))["secret_id"]) == {"D": "5"}
        await modal("delete", "keys", "--yes")
        assert "not found" in (await scene.run(client / "modal", "secret", "delete", "keys", "--yes", cwd=work)).output


async def test_the_library(scene: Stage, new_client: Path, work: Path) -> None:
    (work / "main.py").write_text(LIBRARY)
    told = json.loads((await scene.run(new_client / "python", "main.py", cwd=work)).ok())
    secret_id = (await _named(scene, "made"))["secret_id"]
    assert "exists already" in told[0]
    assert told[1:6] == ["made", "acme", "main", True, secret_id]
    assert told[6:8] == [["made"], ["second"]]
    assert "secret 'second' not found" in told[8]
    assert await _opened(scene, secret_id) == {"A": "1", "B": "2"}


async def test_a_deploy_names_what_is_missing_and_how_to_make_it(scene: Stage, client: Path, work: Path) -> None:
    (work / "main.py").write_text(PROGRAM.format(secrets="modal.Secret.from_name('k', required_keys=['A', 'B'])"))
    done = await scene.run(client / "modal", "deploy", "main.py", cwd=work)
    assert done.code == 1
    command = "modal secret create k A=value B=value"
    assert f"secret 'k' not found in environment 'main'; create it with: {command}" in _words(done.output)
    (await scene.run(client / "modal", "secret", "create", "k", "A=1", cwd=work)).ok()
    done = await scene.run(client / "modal", "deploy", "main.py", cwd=work)
    assert done.code == 1
    assert f"has no B (it has A); set all of it with: {command} --force" in _words(done.output)
    assert not scene.played.live
    (await scene.run(client / "modal", "secret", "create", "k", "A=1", "B=2", "--force", cwd=work)).ok()
    (await scene.run(client / "modal", "deploy", "main.py", cwd=work)).ok()
    [spec] = scene.played.live
    assert spec.secret_ids == ((await _named(scene, "k"))["secret_id"],)


async def test_a_deploy_without_change_keeps_its_secrets(scene: Stage, client: Path, work: Path) -> None:
    (work / "main.py").write_text(PROGRAM.format(secrets="modal.Secret.from_dict({'A': '1'})"))
    found = []
    for _ in range(2):
        (await scene.run(client / "modal", "deploy", "main.py", cwd=work)).ok()
        found += [spec.secret_ids for spec in scene.played.live]
    assert found[0] == found[1]
    assert await _opened(scene, found[0][0]) == {"A": "1"}
    (work / "main.py").write_text(PROGRAM.format(secrets="modal.Secret.from_dict({'A': '2'})"))
    (await scene.run(client / "modal", "deploy", "main.py", cwd=work)).ok()
    [spec] = scene.played.live
    assert await _opened(scene, spec.secret_ids[0]) == {"A": "2"}


@pytest.mark.parametrize("damage", ["gone", "damaged", "readable"])
async def test_without_its_key_secrets_fail_by_name_and_all_else_works(
    scene: Stage, new_client: Path, work: Path, damage: str
) -> None:
    async def modal(*arguments: str) -> Any:
        return await scene.run(new_client / "modal", *arguments, cwd=work)

    (await modal("secret", "create", "k", "A=1")).ok()
    file = scene.context.config.secret_key_file
    if damage == "gone":
        file.unlink()
    elif damage == "damaged":
        file.write_bytes(file.read_bytes()[:-9])
    else:
        file.chmod(0o644)
    said = {"gone": "is gone", "damaged": "is damaged", "readable": "may be read by others"}[damage]
    (work / "main.py").write_text(PROGRAM.format(secrets="modal.Secret.from_name('k')"))
    (work / "plain.py").write_text(PROGRAM.format(secrets="").replace("needs", "plain"))
    for arguments in (("deploy", "main.py"), ("secret", "create", "other", "B=2")):
        done = await modal(*arguments)
        assert done.code == 1
        assert said in _words(done.output)
        assert "secrets.key" in done.output
        assert "Traceback" not in done.output
    assert "k" in (await modal("secret", "list")).ok()
    (await modal("deploy", "plain.py")).ok()
    assert [spec.app_name for spec in scene.played.live] == ["plain"]


async def test_names_are_of_their_environment(scene: Stage, new_client: Path, work: Path) -> None:
    async def modal(*arguments: str) -> Any:
        return await scene.run(new_client / "modal", *arguments, cwd=work)

    (await modal("environment", "create", "dev")).ok()
    (await modal("secret", "create", "k", "A=main")).ok()
    (work / "main.py").write_text(PROGRAM.format(secrets="modal.Secret.from_name('k')"))
    done = await modal("deploy", "main.py", "--env", "dev")
    assert done.code == 1
    assert "create it with: modal secret create k NAME=value --env dev" in _words(done.output)
    (await modal("secret", "create", "k", "A=dev", "--env", "dev")).ok()
    (await modal("deploy", "main.py", "--env", "dev")).ok()
    [spec] = scene.played.live
    assert await _opened(scene, spec.secret_ids[0]) == {"A": "dev"}
    assert await _opened(scene, (await _named(scene, "k"))["secret_id"]) == {"A": "main"}


async def test_a_container_finds_secrets_of_its_environment_and_makes_none_with_a_name(scene: Stage) -> None:
    app_id = (await scene.database.write(apps.create, "", "x", apps.EPHEMERAL, "1.6.4", {}, 1.0))["app_id"]
    inside = scene.context.of(Caller(inside=Inside("ta-1", app_id, "main")))
    key_file = scene.context.config.secret_key_file
    await scene.database.write(environments.create, "dev", 1.0)
    made = {}
    for environment in ("main", "dev"):
        row = await scene.database.write(secrets.put, key_file, environment, "k", {"A": environment}, "", "fail", 1.0)
        made[environment] = row["secret_id"]
    request = api_pb2.SecretGetOrCreateRequest(deployment_name="k")
    assert inside.caller.inside is not None
    await confine(inside, inside.caller.inside, request)
    found = await api_secrets.SecretGetOrCreate(inside, request)
    assert found.secret_id == made["main"]
    assert "main" not in found.metadata.keys  # names of variables, no values
    for kind in (
        api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING,
        api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS,
        api_pb2.OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS,
    ):
        request = api_pb2.SecretGetOrCreateRequest(deployment_name="n", object_creation_type=kind, env_dict={"A": "1"})
        with pytest.raises(PermissionDenied, match="'n': a container may use secrets by name"):
            await api_secrets.SecretGetOrCreate(inside, request)
    request = api_pb2.SecretGetOrCreateRequest(deployment_name="k", environment_name="dev")
    with pytest.raises(PermissionDenied, match="not the container's own"):
        await confine(inside, inside.caller.inside, request)
    for name in ("SecretList", "SecretGetInfo", "SecretUpdate", "SecretDelete", "TokensList", "EnvironmentDelete"):
        with pytest.raises(PermissionDenied, match="is not allowed from inside a container"):
            admit(name)
