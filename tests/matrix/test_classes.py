"""Classes with arguments and with web methods, with every client: constructors of old ones, parameters of new ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.machine import Client, Machine
from tests.matrix.pairs import CLIENTS, SERIES

CONSTRUCTOR = """
    def __init__(self, name="x", size=1):
        self.name, self.size = name, size
"""
PARAMETERS = """
    name: str = modal.parameter(default="x")
    size: int = modal.parameter(default=1)
"""
PROGRAM = """
import modal
from urllib.request import urlopen

app = modal.App("matrix-classes")
image = modal.Image.debian_slim().pip_install("fastapi")
endpoint = modal.ENDPOINT

@app.cls(image=image)
class Model:
ARGUMENTS
    @modal.enter()
    def load(self):
        self.loaded, self.calls = f"{self.name}/{self.size}", 0

    @modal.method()
    def told(self):
        self.calls += 1
        return f"{self.loaded} {self.calls}"

    @endpoint()
    def page(self):
        return f"{self.loaded} {self.calls}"

@app.local_entrypoint()
def main():
    plain, other = Model(), Model(name="y", size=2)
    print("told:", plain.told.remote(), other.told.remote(), Model(name="y", size=2).told.remote())
    page = plain.page
    url = page.get_web_url() if hasattr(page, "get_web_url") else page.web_url
    with urlopen(url) as answer:
        print("page:", answer.read().decode())
"""


@pytest.mark.parametrize("version", CLIENTS)
def test_arguments_and_web_methods(
    server: Machine, client_on: Callable[[str, str], Client], version: str, tmp_path: Path
) -> None:
    client = client_on(version, SERIES[0])
    declared = version == CLIENTS[-1]  # it refuses constructors of one's own
    text = PROGRAM.replace("ARGUMENTS", PARAMETERS if declared else CONSTRUCTOR)
    since_1_0 = int(version.split(".")[0]) >= 1
    text = text.replace("ENDPOINT", "fastapi_endpoint" if since_1_0 else "web_endpoint")
    (tmp_path / "classes.py").write_text(text)
    said = server.modal(client, "run", "classes.py", cwd=tmp_path)
    assert "told: x/1 1 y/2 1 y/2 2" in said
    # Clients since 1.6 bind even the defaults: the plain class, which answers HTTP, is another container then.
    assert f'page: "x/1 {0 if declared else 1}"' in said
