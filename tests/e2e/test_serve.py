"""`modal serve`: the program is edited while it serves, and the same address answers with what the file says now."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import NEW, OLD
from tests.e2e.machine import Answer, Client, Machine, Output, output_of, until

ENDPOINT = {NEW: "fastapi_endpoint", OLD: "web_endpoint"}
PROGRAM = """
import modal

app = modal.App({name!r})
image = modal.Image.debian_slim().pip_install("fastapi")


@app.function(image=image)
@modal.{endpoint}()
def word():
    print("asked for {word}", flush=True)
    return {word!r}
"""


class Served:
    """A program that a client serves: its file, its address, and what the client prints."""

    def __init__(self, server: Machine, client: Client, directory: Path, name: str) -> None:
        self.server = server
        self.client = client
        self.name = name
        self.file = directory / "served.py"
        self.endpoint = ENDPOINT[client.version]
        self.edit("first")
        self.process = server.spawn_modal(client, "serve", "served.py", cwd=directory)
        self.output: Output

    def edit(self, word: str) -> None:
        self.file.write_text(PROGRAM.format(name=self.name, endpoint=self.endpoint, word=word))

    def answer(self) -> Answer:
        return self.server.get(self.name, "word-dev")

    def says(self) -> str:
        answer = self.answer()
        return str(answer.json()) if answer.status == 200 else f"{answer.status} {answer.body.decode()}"

    def containers(self) -> set[str]:
        """Ids of the app's containers that live."""
        status = self.server.status()
        apps = [app["app_id"] for app in status["apps"] if app["name"] == self.name]
        return {found["container_id"] for found in status["containers"] if found["app_id"] in apps}

    def state(self) -> str:
        """What the client's own list says of the app."""
        listed = json.loads(self.server.modal(self.client, "app", "list", "--json"))
        (found,) = [app for app in listed if self.name in app.values()]
        return str(found.get("state") or found["State"])


@pytest.fixture(params=[OLD, NEW])
def served(
    server: Machine, client: Callable[[str], Client], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Served]:
    made = Served(server, client(request.param), tmp_path, f"served-{uuid.uuid4().hex[:8]}")
    with output_of(made.process) as output:
        made.output = output
        output.wait_for("Serving...", f"{made.name}-word-dev")
        yield made


def test_an_edit_answers_at_the_same_address(served: Served) -> None:
    assert served.says() == "first"
    served.output.wait_for("asked for first")
    old = served.containers()
    assert len(old) == 1
    served.edit("second")
    until(lambda: served.says() == "second", "the edited program to answer")
    served.output.wait_for("asked for second")
    until(lambda: not old & served.containers(), "the containers of the old program to be gone")


def test_an_edit_that_is_no_program_leaves_the_old_one_serving(served: Served) -> None:
    assert served.says() == "first"
    before = served.file.read_text()
    served.file.write_text(before + "\ndef broken(:\n")
    served.output.wait_for("SyntaxError")
    assert served.says() == "first"
    served.edit("mended")
    until(lambda: served.says() == "mended", "the mended program to answer")
    assert served.process.poll() is None


def test_an_interrupt_ends_the_app(served: Served) -> None:
    assert served.says() == "first"
    assert served.state().startswith("ephemeral")
    served.process.send_signal(signal.SIGINT)
    served.output.wait_for("Disconnecting from", "App aborted.")
    served.process.wait(60)
    gone = served.answer()
    assert gone.status == 404
    assert f"no web function answers at host 'local--{served.name}-word-dev.localhost" in gone.json()["detail"]
    until(lambda: not served.containers(), "the containers of the app to be gone")
    assert served.state() == "stopped"
