"""The programs of examples/secrets, each with the client of today and an old one, under both runners."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.e2e.conftest import NEW, OLD, install
from tests.e2e.machine import Client, Machine

SECRETS = Path(__file__).parents[2] / "examples" / "secrets"
BEFORE = {"in_class": ("api-keys", "API_KEY=abcdefgh"), "from_name": ("shop-db", "DB_USER=anna", "DB_PASSWORD=secret!")}
SAID = {
    "from_name": "anna has a password of 7 letters",
    "in_class": "GET /prices with a key of 8 letters",
    "from_here": "{'REGION': 'north', 'COLOUR': 'blue', 'LEFT_OUT': None}",
    "from_dotenv": "good morning",
    "in_build": "the build had a token of 18 letters; the function has none",
}


@pytest.fixture(scope="module")
def dotenv_client(uv_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Client]:
    """A client of that version with python-dotenv beside it, which it needs for .env files."""

    @cache
    def get(version: str) -> Client:
        options = ["python-dotenv", *(["aiohttp<3.12"] if version == OLD else [])]
        return install(version, uv_cache, tmp_path_factory.mktemp(f"dotenv-{version}") / "venv", *options)

    return get


def test_every_program_is_tried() -> None:
    assert {path.stem for path in SECRETS.glob("*.py")} == set(SAID)


@pytest.mark.parametrize("version", [NEW, OLD])
@pytest.mark.parametrize("runner", ["own", "stock"])
def test_secrets(
    machines: dict[str, Machine], dotenv_client: Callable[[str], Client], runner: str, version: str
) -> None:
    machine, client = machines[runner], dotenv_client(version)
    machine.environ["REGION"] = "north"
    for name, expected in SAID.items():
        if name in BEFORE:
            machine.modal(client, "secret", "create", *BEFORE[name], "--force")
        said = machine.modal(client, "run", f"{name}.py", cwd=SECRETS)
        assert expected in said.splitlines(), said
