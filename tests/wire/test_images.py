"""Images with the real client: output while it builds, and failures that show the command."""

from __future__ import annotations

from pathlib import Path

from tests.wire.stage import Stage

PROGRAM = """
import modal
app = modal.App("images")

@app.function(image=modal.Image.debian_slim().{step})
def f(): ...
"""
ERROR = "step 2 failed: RUN python -m pip install no-such-package\nERROR: No matching distribution found"


async def test_build_output_is_shown(scene: Stage, client: Path, work: Path) -> None:
    (work / "main.py").write_text(PROGRAM.format(step="run_commands('echo hello')"))
    output = (await scene.run(client / "modal", "deploy", "main.py", cwd=work)).ok()
    assert "step: RUN echo hello" in output


async def test_a_failed_build_shows_its_command_and_last_lines(scene: Stage, client: Path, work: Path) -> None:
    scene.played.failing_builds["no-such-package"] = ERROR
    (work / "main.py").write_text(PROGRAM.format(step="pip_install('no-such-package')"))
    done = await scene.run(client / "modal", "deploy", "main.py", cwd=work)
    assert done.code == 1
    words = " ".join(done.output.replace("│", " ").split())
    assert "RUN python -m pip install no-such-package" in words
    assert "No matching distribution found" in words


async def test_a_failed_build_is_tried_again(scene: Stage, client: Path, work: Path) -> None:
    scene.played.failing_builds["flaky-package"] = ERROR
    (work / "main.py").write_text(PROGRAM.format(step="pip_install('flaky-package')"))
    assert (await scene.run(client / "modal", "deploy", "main.py", cwd=work)).code == 1
    scene.played.failing_builds.clear()
    (await scene.run(client / "modal", "deploy", "main.py", cwd=work)).ok()
    assert len(scene.played.live) == 1


async def test_an_image_is_built_once_for_all_apps(scene: Stage, client: Path, work: Path) -> None:
    text = PROGRAM.format(step="pip_install('numpy')")
    (work / "main.py").write_text(text)
    (work / "other.py").write_text(text.replace('"images"', '"other"'))
    for name in ("main.py", "other.py"):
        (await scene.run(client / "modal", "deploy", name, cwd=work)).ok()
    first, second = scene.played.live
    assert first.image_id == second.image_id
    assert first.app_id != second.app_id


async def test_files_copied_into_the_image_reach_the_build(scene: Stage, new_client: Path, work: Path) -> None:
    (work / "data.txt").write_text("content")
    (work / "main.py").write_text(PROGRAM.format(step="add_local_file('data.txt', '/data.txt', copy=True)"))
    (await scene.run(new_client / "modal", "deploy", "main.py", cwd=work)).ok()
    from ionian.state import images

    [spec] = scene.played.live
    order = await scene.database.read(images.build_request, spec.image_id)
    assert [file.path for file in order.context_mount] == ["/data.txt"]
    assert await scene.context.blobs.get(order.context_mount[0].sha256) == b"content"


async def test_image_steps_that_are_not_built_are_refused(scene: Stage, new_client: Path, work: Path) -> None:
    (work / "main.py").write_text(PROGRAM.format(step="pip_install('x', gpu='T4')"))
    done = await scene.run(new_client / "modal", "deploy", "main.py", cwd=work)
    assert done.code == 1
    assert "gpu= of image steps" in done.output
