"""What apps do every day, each thing once, with both clients."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.conftest import APPS, NEW, OLD
from tests.e2e.machine import Client, Machine


@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_container_works_in_the_images_workdir(
    server: Machine, client: Callable[[str], Client], version: str
) -> None:
    server.needs_namespaces()
    said = server.modal(client(version), "run", "placed.py", cwd=APPS)
    assert "it works in /srv/placed /srv/placed /root/placed.py" in said


@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_client_in_a_container_asks_this_server_and_is_told_what_is_not_built(
    server: Machine, client: Callable[[str], Client], version: str
) -> None:
    said = server.modal(client(version), "run", "reaching.py", cwd=APPS)
    assert f"asked {server.server.url} and it said:" in said
    assert "VolumeGetOrCreate is not built" in said
