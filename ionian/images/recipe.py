"""From the client's Dockerfile commands to a Recipe, PURE. Each one is done, listed as harmless, or refused by name.

A user's RUN is never dropped: it becomes a PipInstall only when the whole line is understood, else it really runs.
"""

from __future__ import annotations

import base64
import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ionian.errors import InvalidRequest, Unimplemented
from ionian.images import pipline
from ionian.images.dockerfile import Instruction, instructions, json_array, pairs, rooted, words
from ionian.images.ops import (
    MATERIALISER,
    Arg,
    Base,
    Copy,
    Env,
    Note,
    Op,
    Run,
    Shell,
    Tool,
    Workdir,
    sha256_json,
    to_json,
)
from ionian.images.preamble import client_base

_HARMLESS = {
    "LABEL": "kept as text only",
    "MAINTAINER": "kept as text only",
    "EXPOSE": "functions and sandboxes declare their own ports",
    "STOPSIGNAL": "containers are stopped with SIGTERM, then SIGKILL",
    "HEALTHCHECK": "health is watched through the runner",
    "VOLUME": "the directory is an ordinary one",
    "CMD": "functions run the client's entry point; this is for sandboxes",
}
_UV_IMAGE = re.compile(r"^--from=(?:ghcr\.io/)?astral-sh/uv:(?P<version>[\w.-]+)\s+/uv\s+(?P<target>/\S+)$")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to make an image. ``python`` is the series when the recipe begins with a base of its own, else ""."""

    ops: tuple[Op, ...]
    builder_version: str
    python: str = ""

    def steps(self) -> tuple[dict[str, object], ...]:
        """The ops as JSON, for a BuildRequest."""
        return tuple(to_json(op) for op in self.ops)

    def key(self, parent: str, context: str = "") -> str:
        """The image's identity: same key, same image. ``parent``: base image's id; ``context``: the mount's digest."""
        return sha256_json([MATERIALISER, parent, context, [to_json(op) for op in self.ops]])


@dataclass(slots=True)
class _Reading:
    """What is known while instructions are read one by one."""

    context_files: Mapping[str, bytes]
    base_images: Collection[str]
    build_args: Mapping[str, str]
    copied: dict[str, str]  # text files that earlier COPYs put into the image, by path
    begun: bool = False


def parse(
    commands: Sequence[str],
    context_files: Mapping[str, bytes],
    builder_version: str,
    *,
    base_images: Collection[str] = ("base",),
    build_args: Mapping[str, str] | None = None,
) -> Recipe:
    """The recipe of one image message.

    ``base_images``: the names that ``FROM`` may use for images of this server. Raises InvalidRequest naming the
    instruction that is not supported, Unimplemented for a message without commands (``Image.run_function``).
    """
    found = instructions(commands)
    if not found:
        raise Unimplemented("Image.run_function is not built yet: put the work in run_commands, or in @enter")
    reading = _Reading(context_files, base_images, build_args or {}, {})
    base = client_base(found)
    ops: list[Op] = []
    if base is not None:
        ops.append(base.op)
        requirements = context_files.get("/modal_requirements.txt")
        if base.install and requirements is None:
            raise InvalidRequest("the client sent no /modal_requirements.txt for its own base image")
        if base.install and requirements is not None:
            ops.append(_pinned(base.install, requirements))
        found, reading.begun = found[base.length :], True
    for instruction in found:
        ops.extend(_ops(instruction, reading))
    if not reading.begun:
        raise InvalidRequest("image commands must begin with FROM")
    return Recipe(tuple(ops), builder_version, ops[0].series if ops and isinstance(ops[0], Base) else "")


def _pinned(command: str, content: bytes) -> Op:
    """The client's pinned requirements, which builders up to 2024.10 put under the user's packages."""
    op = pipline.parse(command, {"/modal_requirements.txt": content.decode()})
    if op is None:
        raise InvalidRequest(f"the client's own command is not understood: {command}")
    return op


def _ops(instruction: Instruction, reading: _Reading) -> list[Op]:
    keyword, rest, text = instruction.keyword, instruction.rest, instruction.text
    if keyword == "ARG":
        return [_arg(instruction, part, reading) for part in words(rest)]
    if keyword == "FROM":
        _from(instruction, reading)
        return []
    if not reading.begun:
        raise InvalidRequest(f"image commands must begin with FROM, not with {text}")
    if keyword == "RUN":
        return [_run(instruction, reading)]
    if keyword in ("COPY", "ADD"):
        return [_copy(instruction, reading)]
    if keyword == "ENV":
        return [Env(text, pairs(rest))]
    if keyword == "WORKDIR":
        return [Workdir(text, rest)]
    if keyword == "SHELL":
        return [_shell(instruction)]
    return [_harmless(instruction)]


def _harmless(instruction: Instruction) -> Op:
    keyword, rest, text = instruction.keyword, instruction.rest, instruction.text
    if keyword in _HARMLESS:
        return Note(text, _HARMLESS[keyword])
    if keyword == "USER":
        if rest.split(":")[0] in ("root", "0"):
            return Note(text, "steps and functions run as the image's root already")
        raise InvalidRequest(f"{text}: steps and functions run as the image's root user here; remove it")
    if keyword == "ENTRYPOINT":
        if json_array(rest) == ():
            return Note(text, "there is none to clear")
        raise InvalidRequest(f"{text}: an image entrypoint is not run by this server; start it in @enter instead")
    raise InvalidRequest(f"{text}: the instruction {keyword} is not supported in an image")


def _from(instruction: Instruction, reading: _Reading) -> None:
    name = instruction.rest.split()[0] if instruction.rest else ""
    if reading.begun:
        raise InvalidRequest(f"{instruction.text}: a Dockerfile with more than one FROM is not supported")
    if name not in reading.base_images:
        raise InvalidRequest(
            f"{instruction.text}: images from a registry are not supported; this host is the only base so far. "
            "Start from modal.Image.debian_slim() instead"
        )
    reading.begun = True


def _arg(instruction: Instruction, part: str, reading: _Reading) -> Op:
    name, mark, default = part.partition("=")
    value = reading.build_args.get(name, default if mark else None)
    return Arg(instruction.text, name, value)


def _run(instruction: Instruction, reading: _Reading) -> Op:
    rest = instruction.rest
    if rest.startswith("--"):
        flag = rest.split("=")[0].split()[0]
        raise InvalidRequest(f"{instruction.text}: the option {flag} of RUN is not supported")
    if argv := json_array(rest):
        return Run(rest, argv)
    return pipline.parse(rest, reading.copied) or Run(rest)


def _shell(instruction: Instruction) -> Op:
    argv = json_array(instruction.rest)
    if not argv:
        raise InvalidRequest(f'{instruction.text}: SHELL needs a list such as ["/bin/bash", "-c"]')
    return Shell(instruction.text, argv)


def _copy(instruction: Instruction, reading: _Reading) -> Op:
    rest, text = instruction.rest, instruction.text
    if tool := _UV_IMAGE.match(rest):
        return Tool(text, tool["target"], tool["version"])
    mode = 0
    while rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        mode, rest = _copy_flag(flag, text, mode), rest.strip()
    parts = list(json_array(rest) or words(rest))
    if len(parts) < 2:
        raise InvalidRequest(f"{text}: a source and a target are needed")
    *sources, target = parts
    if instruction.keyword == "ADD":
        _refuse_add(sources, text)
    return _with_context(Copy(text, tuple(sources), target, mode), reading)


def _copy_flag(flag: str, text: str, mode: int) -> int:
    if flag == "--link" or re.fullmatch(r"--chown=(root|0)(:(root|0))?", flag):
        return mode
    if chmod := re.fullmatch(r"--chmod=(0?[0-7]{3})", flag):
        return int(chmod[1], 8)
    raise InvalidRequest(f"{text}: the option {flag} is not supported")


def _refuse_add(sources: list[str], text: str) -> None:
    for source in sources:
        if "://" in source or re.search(r"\.(tar|tgz|tbz2?|txz|tar\.\w+)$", source):
            raise InvalidRequest(f"{text}: ADD of an address or an archive is not supported; fetch or unpack it in RUN")


def _with_context(op: Copy, reading: _Reading) -> Copy:
    """``op`` with those context files that came in the message; remembers text files for later ``pip install -r``."""
    carried: list[tuple[str, str]] = []
    for source in op.sources:
        path = rooted(source)
        data = reading.context_files.get(source, reading.context_files.get(path))
        if data is None:
            continue
        carried.append((path, base64.b64encode(data).decode()))
        target = posixpath.join(op.target, posixpath.basename(path)) if op.target.endswith("/") else op.target
        try:
            reading.copied[target] = data.decode()
        except UnicodeDecodeError:
            continue  # no requirements file, then; COPY itself does not mind
    return replace(op, files=tuple(carried))
