"""Logs with the real client: the past, and following."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.wire.stage import Stage

PROGRAM = """
import modal
app = modal.App("logging")

@app.function()
def f(): ...

@app.local_entrypoint()
def main():
    print("result", f.remote())
"""


async def _deploy(scene: Stage, client: Path, work: Path) -> str:
    (work / "main.py").write_text(PROGRAM)
    (await scene.run(client / "modal", "deploy", "main.py", cwd=work)).ok()
    return scene.played.live[0].app_id


async def test_the_last_lines(scene: Stage, new_client: Path, work: Path) -> None:
    app_id = await _deploy(scene, new_client, work)
    scene.print(app_id, *(f"line {n}\n" for n in range(250)))
    output = (await scene.run(new_client / "modal", "app", "logs", "logging", cwd=work)).ok()
    assert output.splitlines() == [f"line {n}" for n in range(150, 250)]
    output = (await scene.run(new_client / "modal", "app", "logs", "logging", "--tail", "3", cwd=work)).ok()
    assert output.splitlines() == ["line 247", "line 248", "line 249"]


async def test_a_range_and_a_search(scene: Stage, new_client: Path, work: Path) -> None:
    app_id = await _deploy(scene, new_client, work)
    scene.print(app_id, "apple\n", "pear\n", "apple pie\n")
    modal = new_client / "modal"
    output = (await scene.run(modal, "app", "logs", "logging", "--since", "1h", "--search", "apple", cwd=work)).ok()
    assert output.splitlines() == ["apple", "apple pie"]


async def test_following_shows_what_comes(scene: Stage, client: Path, work: Path) -> None:
    app_id = await _deploy(scene, client, work)
    scene.print(app_id, "before\n")
    follow = ["-f"] if "client-" not in str(client) else []
    process = await asyncio.create_subprocess_exec(
        client / "modal", "app", "logs", "logging", *follow, cwd=work, env=scene.environment(),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    seen = b""
    try:
        async with asyncio.timeout(30):
            while b"before" not in seen:
                seen += await process.stdout.read(1000)
            scene.print(app_id, "after\n")
            while b"after" not in seen:
                seen += await process.stdout.read(1000)
    finally:
        process.kill()
        await process.wait()
    assert seen.index(b"before") < seen.index(b"after")


async def test_a_run_shows_what_its_function_prints(scene: Stage, client: Path, work: Path) -> None:
    def f() -> int:
        scene.print(scene.played.live[0].app_id, "hello from the container\n")
        return 7

    scene.played.functions["f"] = f
    (work / "main.py").write_text(PROGRAM)
    output = (await scene.run(client / "modal", "run", "main.py", cwd=work)).ok()
    assert "hello from the container" in output
    assert "result 7" in output
