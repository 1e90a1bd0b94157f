"""Calling functions with the real client; the test plays the containers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ionian.state import calls
from tests.wire.stage import Stage

PROGRAM = """
import modal
app = modal.App("calls")

@app.function()
def add(a, b=1): ...

@app.function()
def count(n):
    yield

@app.function()
def size(data): ...

@app.function()
def produce(n): ...

@app.function(retries=modal.Retries(max_retries=2, initial_delay=0.0))
def flaky(n): ...

@app.function()
def never(): ...

@app.cls()
class Box:
    @modal.method()
    def double(self, n): ...

@app.local_entrypoint()
def main():
BODY
"""


def _program(work: Path, *body: str) -> str:
    (work / "main.py").write_text(PROGRAM.replace("BODY", "\n".join(f"    {line}" for line in body)))
    return "main.py"


async def _run(scene: Stage, client: Path, work: Path, *body: str) -> list[str]:
    """The lines that the entrypoint printed with the prefix ``>``."""
    done = await scene.run(client / "modal", "run", _program(work, *body), cwd=work)
    return [line[1:].strip() for line in done.ok().splitlines() if line.startswith(">")]


async def test_remote_map_and_spawn(scene: Stage, client: Path, work: Path) -> None:
    scene.played.functions["add"] = lambda a, b=1: a + b
    lines = await _run(
        scene,
        client,
        work,
        "print('>', add.remote(1, b=2))",
        "print('>', sorted(add.map(range(100))) == list(range(1, 101)))",
        "print('>', add.spawn(4).get(timeout=20))",
    )
    assert lines == ["3", "True", "5"]
    assert len(scene.played.submitted) == 102


async def test_a_map_ends_with_its_inputs_also_when_there_were_none(scene: Stage, client: Path, work: Path) -> None:
    scene.played.functions["add"] = lambda a, b=1: a + b
    bodies = "print('>', list(add.map([])))", "print('>', list(add.map(end_after(1))))"
    (work / "late.py").write_text("import time\ndef end_after(item):\n    yield item\n    time.sleep(2)\n")
    lines = await _run(scene, client, work, "import sys; sys.path.insert(0, '')", "from late import end_after", *bodies)
    assert lines == ["[]", "[2]"]


async def test_a_generator_streams_its_items(scene: Stage, client: Path, work: Path) -> None:
    def count(n: int) -> Iterator[int]:
        yield from range(n)

    scene.played.functions["count"] = count
    assert await _run(scene, client, work, "print('>', list(count.remote_gen(5)))") == ["[0, 1, 2, 3, 4]"]


async def test_a_generator_that_fails_has_given_all_its_items_before(scene: Stage, client: Path, work: Path) -> None:
    def count(n: int) -> Iterator[int]:
        yield from range(n)
        raise ValueError("the end")

    scene.played.functions["count"] = count
    lines = await _run(
        scene,
        client,
        work,
        "for n in (0, 1, 30, 400):",
        "    got = []",
        "    try:",
        "        for item in count.remote_gen(n):",
        "            got.append(item)",
        "    except ValueError as error:",
        "        print('>', got == list(range(n)), error)",
    )
    assert lines == ["True the end"] * 4


async def test_a_method_of_a_class(scene: Stage, client: Path, work: Path) -> None:
    scene.played.functions["double"] = lambda n: 2 * n
    assert await _run(scene, client, work, "print('>', Box().double.remote(21))") == ["42"]


async def test_large_arguments_and_results(scene: Stage, client: Path, work: Path) -> None:
    scene.played.functions.update(size=len, produce=lambda n: b"r" * n)
    lines = await _run(
        scene,
        client,
        work,
        "print('>', size.remote(b'x' * 3_000_000), size.remote(b'y' * 9_000_000))",
        "print('>', len(produce.remote(3_000_000)), len(produce.remote(9_000_000)))",
    )
    assert lines == ["3000000 9000000", "3000000 9000000"]


async def test_three_megabytes_need_no_blob_with_the_new_client(scene: Stage, new_client: Path, work: Path) -> None:
    scene.played.functions["size"] = len
    await _run(scene, new_client, work, "print('>', size.remote(b'x' * 3_000_000), size.spawn(b'x' * 99_000).get())")
    assert scene.rpcs("BlobCreate") == 0


async def test_an_exception_of_the_function_reaches_the_caller(scene: Stage, client: Path, work: Path) -> None:
    def fail(a: int) -> None:
        raise ValueError(f"not {a}")

    scene.played.functions["add"] = fail
    done = await scene.run(client / "modal", "run", _program(work, "add.remote(7)"), cwd=work)
    assert done.code == 1
    assert "ValueError: not 7" in done.output


async def test_clients_leave_retries_to_the_server(scene: Stage, client: Path, work: Path) -> None:
    """Nothing here retries: the client must hand on the first failure that it is given, in calls and in maps."""
    attempts: list[int] = []

    def flaky(n: int) -> int:
        attempts.append(n)
        raise RuntimeError("not yet")

    scene.played.functions["flaky"] = flaky
    body = ["for call in (lambda: flaky.remote(5), lambda: list(flaky.map([6]))):"]
    body += ["    try:", "        call()", "    except RuntimeError as error:", "        print('>', error)"]
    assert await _run(scene, client, work, *body) == ["not yet", "not yet"]
    assert attempts == [5, 6]


async def test_cancelling_a_call_ends_it(scene: Stage, client: Path, work: Path) -> None:
    lines = await _run(
        scene,
        client,
        work,
        "call = never.spawn()",
        "call.cancel()",
        "try:",
        "    call.get(timeout=20)",
        "except Exception as error:",
        "    print('>', 'cancelled' in str(error))",
    )
    assert lines == ["True"]
    assert len(scene.played.cancelled) == 1


async def test_waiting_with_a_timeout_ends_in_time(scene: Stage, client: Path, work: Path) -> None:
    lines = await _run(
        scene,
        client,
        work,
        "try:",
        "    never.spawn().get(timeout=0)",
        "except TimeoutError:",
        "    print('> timeout')",
    )
    assert lines == ["timeout"]


async def test_the_end_of_an_app_ends_its_open_calls(scene: Stage, client: Path, work: Path) -> None:
    await _run(scene, client, work, "never.spawn()")
    assert await scene.database.read(calls.open_inputs) == []
    assert not scene.played.live


async def test_a_deployed_function_is_called_by_name(scene: Stage, client: Path, work: Path) -> None:
    scene.played.functions["add"] = lambda a, b=1: a + b
    (await scene.run(client / "modal", "deploy", _program(work, "pass"), cwd=work)).ok()
    (work / "call.py").write_text("import modal\nprint(modal.Function.from_name('calls', 'add').remote(1, 1))\n")
    assert (await scene.run(client / "python", "call.py", cwd=work)).ok().strip() == "2"
    (work / "call.py").write_text("import modal\nmodal.Function.from_name('calls', 'nosuch').remote()\n")
    missing = await scene.run(client / "python", "call.py", cwd=work)
    assert missing.code == 1
    assert "app 'calls' has no function 'nosuch'" in missing.output
