"""Without a network, once everything has been fetched: the same apps deploy, and new images of what is cached."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.e2e import leftovers
from tests.e2e.machine import Machine
from tests.machines.places import Place

_APP = """
import modal
app = modal.App("cached")

@app.function(image=modal.Image.debian_slim().pip_install("{package}"))
def version():
    from importlib.metadata import version
    return version("{package}")

@app.local_entrypoint()
def main():
    print("it is", version.remote())
"""


def test_what_was_fetched_is_enough(offline: Place, make_machine: Callable[[Path], Machine], tmp_path: Path) -> None:
    machine = make_machine(tmp_path / "machine")
    machine.environ["IONIAN_PORT"] = "0"
    assert "6 of 6 right" in machine.cli("demo", "--once")
    machine.wrapper = offline.wrapper()
    said = machine.cli("demo", "--once")
    assert "trained before" in said
    assert "6 of 6 right" in said

    machine.up()
    (tmp_path / "app.py").write_text(_APP.format(package="joblib"))
    said = machine.cli("run", "app.py", cwd=tmp_path)
    assert "No package source answers: taken from the cache" in said
    assert "it is 1." in said
    (tmp_path / "app.py").write_text(_APP.format(package="cowsay"))
    said = " ".join(machine.cli("run", "app.py", cwd=tmp_path, code=1).split())
    assert "no package source answers, and the cache does not have it" in said
    machine.down()
    assert leftovers.find(machine.config) == []
