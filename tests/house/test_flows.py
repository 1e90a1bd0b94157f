"""The walks in docs/flows speak of code that exists: every ``path.py:name`` resolves."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "flows").glob("*.md"))
REFERENCE = re.compile(r"`([\w/]+\.py):([\w.]+)`")


def _references() -> list[tuple[str, str, str]]:
    return sorted({(page.name, *found) for page in PAGES for found in REFERENCE.findall(page.read_text())})


def _defined(body: list[ast.stmt], dotted: str) -> bool:
    """Whether a function, class or (``Class.method``) method of this name is there."""
    first, _, rest = dotted.partition(".")
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == first:
            return not rest or _defined(node.body, rest)
    return False


def test_the_walks_are_there_with_their_pictures() -> None:
    assert {"call.md", "deploy.md", "request.md"} <= {page.name for page in PAGES}
    for page in PAGES:
        assert page.read_text().count("```") == 2, f"{page.name} has one picture"
    assert len(_references()) > 40


@pytest.mark.parametrize(("page", "path", "name"), _references(), ids=lambda value: str(value))
def test_named_code_exists(page: str, path: str, name: str) -> None:
    module = ROOT / "ionian" / path
    assert module.is_file(), f"docs/flows/{page} names ionian/{path}, which is not there"
    assert _defined(ast.parse(module.read_text()).body, name), f"docs/flows/{page}: ionian/{path} has no {name}"
