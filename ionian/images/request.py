"""What a build is asked and what it answers: values between an engine and the builder, all of them JSON-able."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ionian.model import MountFile


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """An image to build: the base chain's layers are already there. JSON-able."""

    image_id: str
    python_version: str  # series; "" when the steps begin with a base of their own
    base_layers: tuple[str, ...]  # layer digests, bottom first
    steps: tuple[Mapping[str, object], ...]  # ``recipe.Recipe.steps()``
    context_mount: tuple[MountFile, ...] = ()  # files for COPY
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # of the base image
    workdir: str = ""  # of the base image
    secrets: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # seen by steps, never stored or logged
    secrets_key: str = ""  # stands for the secrets in the names of layers; says nothing of their values
    force: bool = False
    metadata: Mapping[str, object] = field(default_factory=dict)  # BuildDone.metadata of the base image


@dataclass(frozen=True, slots=True)
class BuildOutput:
    """A piece of build output, whole lines with their newline."""

    text: str


@dataclass(frozen=True, slots=True)
class BuildDone:
    """The built image: all layers (base included), environment, working directory."""

    layers: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    workdir: str
    python_version: str  # series
    metadata: Mapping[str, object]
