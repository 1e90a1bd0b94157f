"""Golden: what released clients send for ``Image.debian_slim("3.11")``, per image builder version."""

from __future__ import annotations

import pytest

from ionian.images import ops
from ionian.images.recipe import parse

_HEAD = "RUN apt-get update\nRUN apt-get install -y gcc gfortran build-essential\n"
_COPY = "COPY /modal_requirements.txt /modal_requirements.txt\n"
_DEBCONF = "RUN echo 'debconf debconf/frontend select Noninteractive' | debconf-set-selections\n"
_SLEEP = 'CMD ["sleep", "172800"]\n'

GOLDEN = {
    "2023.12": (
        "FROM python:3.11.0-slim-bullseye\n" + _COPY + _HEAD + "RUN pip install --upgrade pip\n"
        "RUN pip install -r /modal_requirements.txt\n" + _DEBCONF
    ),
    "2024.04": (
        "FROM python:3.11.8-slim-bookworm\n" + _COPY + _HEAD + "RUN pip install --upgrade pip wheel uv\n"
        "RUN pip install --no-cache --no-deps -r /modal_requirements.txt\n"
        + _DEBCONF
        + "RUN rm /modal_requirements.txt\n"
    ),
    "2024.10": (
        "FROM python:3.11.10-slim-bookworm\n" + _COPY + _HEAD + "RUN pip install --upgrade pip wheel uv\n"
        "RUN uv pip install --system --compile-bytecode --no-cache --no-deps -r /modal_requirements.txt\n"
        + _DEBCONF
        + "RUN rm /modal_requirements.txt\n"
    ),
    "2025.06": "FROM python:3.11.12-slim-bookworm\n"
    + _HEAD
    + "RUN pip install --upgrade pip wheel uv\n"
    + _DEBCONF
    + _SLEEP,
    "2026.10": "FROM python:3.11-slim-trixie\n"
    + _HEAD
    + "RUN pip install --upgrade pip wheel uv\n"
    + _DEBCONF
    + _SLEEP,
}
PINNED = ("2023.12", "2024.04", "2024.10")


@pytest.mark.parametrize("version", GOLDEN)
def test_the_preamble_is_one_base_op(version: str) -> None:
    files = {"/modal_requirements.txt": b"grpclib==0.4.7\n"} if version in PINNED else {}
    recipe = parse(GOLDEN[version].splitlines(), files, version)
    base = recipe.ops[0]
    assert isinstance(base, ops.Base)
    assert base.series == "3.11"
    done = [line for line in GOLDEN[version].splitlines() if " -r /modal_requirements.txt" not in line]
    assert list(base.preamble) == done
    rest = recipe.ops[1:]
    assert len(rest) == (1 if version in PINNED else 0)
    for op in rest:
        assert isinstance(op, ops.PipInstall)
        assert op.files == ("grpclib==0.4.7\n",)
        assert op.no_deps is (version != "2023.12")
