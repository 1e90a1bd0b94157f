"""The operations of a recipe, PURE: frozen values with a JSON form and a key that changes with what they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

MATERIALISER = "1"  # raise it when the same op would give other files than before


@dataclass(frozen=True, slots=True)
class Base:
    """The client's own base image, satisfied by this host. ``preamble``: the commands that count as done with it."""

    python: str  # as asked: "3.11" or "3.11.8"
    codename: str
    preamble: tuple[str, ...]

    @property
    def series(self) -> str:
        return ".".join(self.python.split(".")[:2])


@dataclass(frozen=True, slots=True)
class PipInstall:
    """Packages to install with uv. Requirement and constraint files are carried by content."""

    command: str  # as the user (or the client) wrote it
    requirements: tuple[str, ...] = ()
    files: tuple[str, ...] = ()  # contents of -r files
    constraints: tuple[str, ...] = ()  # contents of -c files
    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    no_index: bool = False
    pre: bool = False
    no_deps: bool = False
    upgrade: bool = False
    uv: bool = False  # written for uv: its index strategy, else pip's (the best version of all indexes)


@dataclass(frozen=True, slots=True)
class Run:
    """A command that really runs, in a build sandbox. ``argv`` is set for the exec form."""

    command: str
    argv: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Copy:
    """Files of the client's context into the image. ``files``: context files carried in the message, base64."""

    command: str
    sources: tuple[str, ...]
    target: str
    mode: int = 0  # --chmod; 0 keeps each file's own
    files: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Tool:
    """uv at a path, as the client copies it from its registry image. The server's own uv is used."""

    command: str
    target: str
    version: str  # as asked; "latest"


@dataclass(frozen=True, slots=True)
class Env:
    command: str
    pairs: tuple[tuple[str, str], ...]  # raw words, expanded when the base image's variables are known


@dataclass(frozen=True, slots=True)
class Arg:
    command: str
    name: str
    value: str | None  # None: no default and no build argument


@dataclass(frozen=True, slots=True)
class Workdir:
    command: str
    path: str  # raw word


@dataclass(frozen=True, slots=True)
class Shell:
    command: str
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Note:
    """An instruction that changes no file: listed in the build log with what becomes of it."""

    command: str
    outcome: str


Op = Base | PipInstall | Run | Copy | Tool | Env | Arg | Workdir | Shell | Note
_KINDS: dict[str, type[Any]] = {
    kind.__name__.lower(): kind for kind in (Base, PipInstall, Run, Copy, Tool, Env, Arg, Workdir, Shell, Note)
}


def to_json(op: Op) -> dict[str, object]:
    """A JSON-able form that ``from_json`` reads back."""
    return {"op": type(op).__name__.lower(), **asdict(op)}


def from_json(value: Mapping[str, object]) -> Op:
    """The op of ``to_json``; lists (from JSON) become tuples again."""
    fields = {name: _frozen(item) for name, item in value.items() if name != "op"}
    op: Op = _KINDS[str(value["op"])](**fields)
    return op


def _frozen(value: object) -> object:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value


def sha256_json(value: object) -> str:
    """SHA-256 of the canonical JSON of ``value``."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def layer_key(op: Op, parents: Sequence[str], base: str, inputs: object = None) -> str:
    """What the layer of ``op`` is called: it depends on what is below, the host and whatever else goes in.

    ``base`` is the host's digest. ``inputs``: what the op sees beyond itself (file digests, environment).
    """
    return sha256_json([MATERIALISER, base, list(parents), to_json(op), inputs])
