"""Deploying with the real client: what it prints, what becomes live, and what does not."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from pathlib import Path

import aiohttp
import pytest

from ionian import timetable
from ionian.errors import InvalidRequest
from ionian.model import WebKind
from ionian.state import apps, images, mounts, schedules
from tests.wire.conftest import NEW_CLIENT
from tests.wire.stage import Stage

IRIS = Path(__file__).parents[2] / "examples" / "iris"

PLAIN = """
import modal
app = modal.App("plain")

@app.function({options})
def add(a, b=1):
    return a + b
"""


def _write(work: Path, text: str, name: str = "main.py") -> Path:
    file = work / name
    file.write_text(text)
    return file


def _copy_iris(work: Path, name: str) -> None:
    shutil.copy(IRIS / name, work / name)
    (work / "iris_model.pkl").write_bytes(b"a model")


async def test_the_program_of_2024_deploys_unchanged(scene: Stage, old_client: Path, work: Path) -> None:
    _copy_iris(work, "app_modal.py")
    output = (await scene.run(old_client / "modal", "deploy", "app_modal.py", cwd=work)).ok()
    assert "acme--iris-classifier-predict.localhost" in output
    [spec] = scene.played.live
    assert (spec.app_name, spec.name, spec.runner.module_name) == ("iris-classifier", "predict", "app_modal")
    assert spec.runner.web is not None
    assert (spec.runner.web.kind, spec.runner.web.method) == (WebKind.FUNCTION, "POST")
    assert spec.runner.client_version == "0.73.173"
    assert len(spec.layers) == 2
    row = await scene.database.read(images.get, spec.image_id)
    recipe = images.Recipe.decode(row["recipe"])
    assert any("scikit-learn" in command for command in recipe.dockerfile_commands)
    assert recipe.builder_version == "2024.04"
    files = [file for mount in spec.mounts for file in await scene.database.read(mounts.files, mount.mount_id)]
    assert {file.path for file in files} == {"/root/iris_model.pkl", "/root/app_modal.py"}
    model = next(file for file in files if file.path == "/root/iris_model.pkl")
    assert await scene.context.blobs.get(model.sha256) == b"a model"


async def test_the_program_of_today_deploys(scene: Stage, new_client: Path, work: Path) -> None:
    _copy_iris(work, "app.py")
    output = (await scene.run(new_client / "modal", "deploy", "app.py", cwd=work)).ok()
    [spec] = scene.played.live
    assert spec.runner.web is not None
    assert f"acme--{spec.runner.web.label}.localhost" in output


async def test_an_app_without_web_functions_has_a_page(scene: Stage, client: Path, work: Path) -> None:
    _write(work, PLAIN.format(options=""))
    output = (await scene.run(client / "modal", "deploy", "main.py", cwd=work)).ok()
    address = re.search(r"http://\S+/_ionian/app/(ap-\w+)", output)
    assert address, output
    status, text = await _get(address[0])
    assert status == 200
    lines = text.splitlines()
    assert lines[:2] == [f"App plain ({address[1]}), environment main", lines[1]]
    assert lines[1].startswith("deployed, version 1, made by client ")
    assert "  add" in lines
    assert f"modal app logs {address[1]}" in text
    (await scene.run(client / "modal", "app", "stop", address[1], *_yes(client), cwd=work)).ok()
    assert (await _get(address[0]))[1].splitlines()[1].startswith("stopped, version 1")
    assert (await _get(address[0] + "0"))[0] == 404


async def _get(address: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(address) as answer:
        return answer.status, await answer.text()


def _yes(client: Path) -> list[str]:
    """Clients before 1.0 stop an app without asking."""
    return ["--yes"] if client == NEW_CLIENT else []


async def test_a_deploy_without_change_makes_no_version(scene: Stage, client: Path, work: Path) -> None:
    _write(work, PLAIN.format(options=""))
    for _ in range(2):
        (await scene.run(client / "modal", "deploy", "main.py", cwd=work)).ok()
    [spec] = scene.played.live
    assert spec.version == 1
    assert scene.rpcs("AppPublish") == 2
    assert scene.played.reloads == 1


async def test_a_deploy_with_a_change_replaces_the_function_in_place(scene: Stage, client: Path, work: Path) -> None:
    _write(work, PLAIN.format(options="timeout=60"))
    (await scene.run(client / "modal", "deploy", "main.py", cwd=work)).ok()
    [before] = scene.played.live
    _write(work, PLAIN.format(options="timeout=90"))
    (await scene.run(client / "modal", "deploy", "main.py", cwd=work)).ok()
    [after] = scene.played.live
    assert before.function_id == after.function_id
    assert (before.version, before.timeout_s) == (1, 60)
    assert (after.version, after.timeout_s) == (2, 90)


async def test_an_interrupted_deploy_leaves_the_old_version_live(scene: Stage, client: Path, work: Path) -> None:
    _write(work, PLAIN.format(options="timeout=60"))
    (await scene.run(client / "modal", "deploy", "main.py", cwd=work)).ok()
    scene.played.hanging_builds = True
    _write(work, PLAIN.format(options="timeout=90, image=modal.Image.debian_slim().pip_install('x')"))
    process = await asyncio.create_subprocess_exec(
        client / "modal",
        "deploy",
        "main.py",
        cwd=work,
        env=scene.environment(),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(30):
        while scene.rpcs("ImageJoinStreaming") < 2:  # the first was of the first deploy
            await asyncio.sleep(0.02)
    process.kill()
    await process.wait()
    await scene.played.reload()
    [spec] = scene.played.live
    assert (spec.version, spec.timeout_s) == (1, 60)


async def test_what_cannot_run_here_fails_the_deploy(scene: Stage, client: Path, work: Path) -> None:
    scene.played.refuse = InvalidRequest("/etc/passwd exists on this machine and cannot be shown")
    _write(work, PLAIN.format(options=""))
    done = await scene.run(client / "modal", "deploy", "main.py", cwd=work)
    assert done.code == 1
    assert "/etc/passwd exists on this machine" in done.output
    assert not scene.played.live


async def test_options_that_are_not_built_are_refused_by_name(scene: Stage, new_client: Path, work: Path) -> None:
    for options, name in {
        "gpu='T4'": "gpu=T4 cannot run here: this machine has no GPU",
        "gpu='any'": "gpu=ANY cannot run here: this machine has no GPU",
        "gpu=['T4', 'A10G:2']": "gpu=T4 or A10G:2 cannot run here",
        "block_network=True": "block_network",
        "volumes={'/v': modal.Volume.from_name('v', create_if_missing=True)}": "VolumeGetOrCreate",
        "secrets=[modal.Secret.from_name('s')]": "secret 's' not found",
    }.items():
        _write(work, PLAIN.format(options=options))
        done = await scene.run(new_client / "modal", "deploy", "main.py", cwd=work)
        assert done.code == 1, (options, done.output)
        assert name in done.output, (options, done.output)
    assert not scene.played.live


async def test_settings_reach_the_spec_from_old_and_new_names(scene: Stage, client: Path, work: Path) -> None:
    old = client.parent.parent.name.startswith("client-")
    names = ("keep_warm", "concurrency_limit", "container_idle_timeout")
    scaling = names if old else ("min_containers", "max_containers", "scaledown_window")
    options = ", ".join(f"{name}={value}" for name, value in zip(scaling, (1, 3, 20), strict=True))
    _write(work, PLAIN.format(options=f"cpu=2.0, memory=(256, 512), {options}"))
    (await scene.run(client / "modal", "deploy", "main.py", cwd=work)).ok()
    [spec] = scene.played.live
    assert spec.resources.cpu_millicores == 2000
    assert (spec.resources.memory_mib, spec.resources.memory_limit_mib) == (256, 512)
    found = spec.scaling
    assert (found.min_containers, found.max_containers, found.scaledown_window_s) == (1, 3, 20)
    assert found.max_concurrent_inputs == 1


async def test_schedules_are_those_of_the_last_deploy(scene: Stage, client: Path, work: Path) -> None:
    async def deployed(schedule: str) -> list[str]:
        _write(work, PLAIN.format(options=f"schedule={schedule}").replace("a, b=1", "a=1, b=1"))
        (await scene.run(client / "modal", "deploy", "main.py", cwd=work)).ok()
        rows = await scene.played.database.read(schedules.listing)
        return [timetable.described(timetable.decode(row["schedule"])) for row in rows]

    assert await deployed("modal.Period(hours=1, seconds=1.1)") == ["every 1 hour 1.1 seconds"]
    zone = "" if client.parent.parent.name.startswith("client-") else ", timezone='Asia/Tokyo'"
    assert await deployed(f"modal.Cron('0 9 * * 1-5'{zone})") == [
        f"cron 0 9 * * 1-5 ({'Asia/Tokyo' if zone else 'UTC'})"
    ]
    assert await deployed("None") == []


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        ("modal.Cron('61 * * * *')", "Cron('61 * * * *'): bad minute"),
        ("modal.Cron('* * * * *', timezone='Mars/Base')", "'Mars/Base' is no zone"),
        ("modal.Period(days=0)", "Period() has no length"),
    ],
)
async def test_a_schedule_that_cannot_work_is_refused_by_the_deploy(
    scene: Stage, new_client: Path, work: Path, schedule: str, text: str
) -> None:
    _write(work, PLAIN.format(options=f"schedule={schedule}").replace("a, b=1", "a=1, b=1"))
    done = await scene.run(new_client / "modal", "deploy", "main.py", cwd=work)
    assert done.code != 0
    assert text in " ".join(done.output.replace("│", " ").split())
    assert await scene.played.database.read(schedules.listing) == []


async def test_a_run_has_no_schedules(scene: Stage, new_client: Path, work: Path) -> None:
    _write(work, PLAIN.format(options="schedule=modal.Period(seconds=1)").replace("a, b=1", "a=1, b=1"))
    await scene.run(new_client / "modal", "run", "main.py::f", cwd=work)
    assert await scene.played.database.read(schedules.listing) == []


async def test_history_rollback_and_stop(scene: Stage, new_client: Path, work: Path) -> None:
    modal = new_client / "modal"
    for timeout in (60, 90):
        _write(work, PLAIN.format(options=f"timeout={timeout}"))
        (await scene.run(modal, "deploy", "main.py", cwd=work)).ok()
    history = json.loads((await scene.run(modal, "app", "history", "plain", "--json", cwd=work)).ok())
    assert [entry["version"] for entry in history] == ["v2", "v1"]
    (await scene.run(modal, "app", "rollback", "plain", cwd=work)).ok()
    [spec] = scene.played.live
    assert (spec.version, spec.timeout_s) == (3, 60)
    listed = (await scene.run(modal, "app", "list", "--json", cwd=work)).ok()
    assert [app["state"] for app in json.loads(listed)] == ["deployed"]
    (await scene.run(modal, "app", "stop", "-y", "plain", cwd=work)).ok()
    assert not scene.played.live
    assert "already stopped" in (await scene.run(modal, "app", "stop", "-y", "plain", cwd=work)).output
    missing = await scene.run(modal, "app", "stop", "-y", "nosuch", cwd=work)
    assert missing.code == 1
    assert "nosuch" in missing.output


async def test_two_apps_cannot_have_one_address(scene: Stage, new_client: Path, work: Path) -> None:
    text = """
import modal
app = modal.App("{name}")

@app.function(image=modal.Image.debian_slim().pip_install("fastapi"))
@modal.fastapi_endpoint(label="same")
def hello():
    return 1
"""
    _write(work, text.format(name="one"))
    (await scene.run(new_client / "modal", "deploy", "main.py", cwd=work)).ok()
    _write(work, text.format(name="two"))
    done = await scene.run(new_client / "modal", "deploy", "main.py", cwd=work)
    assert done.code == 1
    assert "acme--same" in done.output
    assert "'one'" in done.output
    assert [spec.app_name for spec in scene.played.live] == ["one"]


async def test_lookup_by_name(scene: Stage, client: Path, work: Path) -> None:
    _copy_iris(work, "app.py" if "client-" not in str(client) else "app_modal.py")
    [source] = work.glob("*.py")
    (await scene.run(client / "modal", "deploy", source.name, cwd=work)).ok()
    [spec] = scene.played.live
    _write(work, f"import modal\nf = modal.Function.from_name({spec.app_name!r}, 'predict')\n"
        "print(f.get_web_url() if hasattr(f, 'get_web_url') else f.web_url)\n", "look.py")  # fmt: skip
    output = (await scene.run(client / "python", "look.py", cwd=work)).ok()
    assert re.search(r"http://acme--iris-classifier\S*-predict\.localhost", output)


async def test_an_app_in_another_environment_has_its_own_address(scene: Stage, new_client: Path, work: Path) -> None:
    _copy_iris(work, "app.py")
    (await scene.run(new_client / "modal", "environment", "create", "Staging", cwd=work)).ok()
    output = (await scene.run(new_client / "modal", "deploy", "-e", "Staging", "app.py", cwd=work)).ok()
    assert "acme-staging--iris-classifier" in output
    assert [spec.environment for spec in scene.played.live] == ["Staging"]
    unknown = await scene.run(new_client / "modal", "deploy", "-e", "nosuch", "app.py", cwd=work)
    assert unknown.code == 1
    assert "environment 'nosuch' not found" in unknown.output


async def test_an_app_whose_client_is_killed_ends_when_its_heartbeats_stop(
    scene: Stage, new_client: Path, work: Path
) -> None:
    from ionian.api.apps import HEARTBEAT_LIMIT_S, end_lost_apps
    from ionian.api.context import Context

    _write(work, PLAIN.format(options="") + "\n@app.local_entrypoint()\ndef main():\n    print(add.remote(1))\n")
    process = await asyncio.create_subprocess_exec(
        new_client / "modal", "run", "main.py", cwd=work, env=scene.environment() | {"MODAL_LOGLEVEL": "WARNING"},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    async with asyncio.timeout(30):
        while not scene.played.submitted:  # nobody answers: it waits
            await asyncio.sleep(0.02)
    os.kill(process.pid, 9)
    await process.wait()
    assert await end_lost_apps(scene.context) == []
    context = scene.context
    later = Context(context.config, context.database, context.watch, context.blobs, context.services,
        clock=lambda: context.now + HEARTBEAT_LIMIT_S + 1)  # fmt: skip
    [app_id] = await end_lost_apps(later)
    assert (await scene.database.read(apps.get, app_id))["state"] == apps.STOPPED
    assert not scene.played.live
    assert scene.played.released == [app_id]
    assert scene.played.cancelled == [scene.played.submitted[0].call_id]


async def test_serve_follows_the_file_and_ends_with_the_client(scene: Stage, client: Path, work: Path) -> None:
    text = "import modal\napp = modal.App('served')\n@app.function(timeout={n}, image=modal.Image.debian_slim()"
    text += ".pip_install('fastapi'))\n@modal.asgi_app()\ndef site(): ...\n"
    _write(work, text.format(n=60))
    process = await asyncio.create_subprocess_exec(
        client / "modal", "serve", "main.py", cwd=work, env=scene.environment(),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(40):
            while not scene.played.live or not scene.rpcs("AppGetLogs"):
                await asyncio.sleep(0.05)
            [spec] = scene.played.live
            assert spec.runner.web is not None
            assert spec.runner.web.label == "served-site-dev"
            while scene.played.live[0].timeout_s != 90:
                _write(work, text.format(n=90))  # again until the watcher is there to see it
                await asyncio.sleep(0.5)
            process.send_signal(2)
            while scene.played.live:
                await asyncio.sleep(0.05)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
