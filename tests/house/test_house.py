"""The house rules that no linter knows: documented modules, settings and verbs, short modules, one version."""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

import ionian
from ionian.commands import VERBS
from ionian.config import DOCS, Config

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "ionian").rglob("*.py"))
MAX_LINES = 400
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "handler", "handlers", "misc"}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_modules_to_judge() -> None:
    assert len(MODULES) > 20


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_module_opens_with_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring, f"{_name(path)} has no docstring"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_module_is_short(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_LINES, f"{_name(path)} has {lines} lines; split it by noun"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_module_is_named_by_a_noun(path: Path) -> None:
    assert not FORBIDDEN_NAMES & {path.stem, *(parent.name for parent in path.relative_to(ROOT).parents)}


def test_every_setting_is_documented() -> None:
    assert set(DOCS) == {field.name for field in fields(Config)}


def test_settings_page_is_current() -> None:
    checked = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "config_doc.py"), "--check"], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_verb_is_a_module_and_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for verb in VERBS:
        assert (ROOT / "ionian" / "commands" / f"{verb}.py").is_file(), verb
        assert f"`ionian {verb}" in readme, f"README.md does not document `ionian {verb}`"


def test_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert ionian.__version__ == project["version"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest is not None
    assert newest[1] in (ionian.__version__, "Unreleased")


def test_ci_runs_the_documented_test_command() -> None:
    commands = re.findall(r"^(?!#|set |cd )\S.*$", (ROOT / ".ci" / "run").read_text(), re.M)
    assert commands == ["exec scripts/test"]
    assert re.search(r"^scripts/test$", (ROOT / "README.md").read_text(), re.M)


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_lock_pins_everything_by_hash_and_names_no_registry(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*--(index|extra-index|find-links)", text, re.M)
    packages = re.findall(r"^([a-z0-9][\w.-]*)==.*?(?=^\S|\Z)", text, re.M | re.S)
    hashed = re.findall(r"^([a-z0-9][\w.-]*)==[^\n]*\\\n\s+--hash=sha256:", text, re.M)
    assert packages == hashed
    assert "hatchling" in packages  # or installing this checkout would fetch it unpinned


def test_lock_has_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = set(re.findall(r"^([a-z0-9][\w.-]*)==", (ROOT / "requirements.lock").read_text(), re.M))
    asked = {re.split(r"[=<>~!\[ ]", requirement)[0] for requirement in project["dependencies"]}
    assert asked <= locked


def test_the_example_is_the_program_of_2024() -> None:
    """Character for character: what users wrote for the client of that year must go on working unedited."""
    program = (ROOT / "examples" / "iris" / "app_modal.py").read_bytes()
    assert hashlib.sha256(program).hexdigest() == "5413761f75e9c891522203eb3a90d9e962f6debef7b1c98d827a20d3cb425fa2"


def test_importing_the_package_does_nothing_visible() -> None:
    """Importing the command line reads no environment it could fail on and prints nothing."""
    done = subprocess.run(
        [sys.executable, "-c", "import ionian.cli, ionian.commands, ionian.config, ionian.model, ionian.logs"],
        env={},
        capture_output=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
