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
    said = server.modal(client(version), "run", "placed.py", cwd=APPS)
    assert "it works in /srv/placed /srv/placed /root/placed.py" in said
