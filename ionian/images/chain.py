"""What a build knows at one point: the layers so far, variables, working directory, shell. Each op moves it on."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ionian.errors import BuildFailed
from ionian.images.dockerfile import expand, rooted
from ionian.images.interpreters import Found
from ionian.images.ops import Arg, Env, Shell, Workdir
from ionian.images.request import BuildRequest
from ionian.runtimes.runtime import Interpreter

DEFAULT_SHELL = ("/bin/sh", "-c")
PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"


@dataclass(slots=True)
class Chain:
    request: BuildRequest
    found: Found
    base: str  # digest of the host base
    layers: list[str]
    env: dict[str, str]
    workdir: str
    shell: tuple[str, ...]
    args: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def interpreter(self) -> Interpreter:
        return self.found.interpreter

    @property
    def series(self) -> str:
        return self.found.interpreter.series

    @property
    def variables(self) -> dict[str, str]:
        """What ``$NAME`` means in an instruction."""
        return {"PATH": PATH, **self.args, **self.env}

    @property
    def cwd(self) -> str:
        return self.workdir or "/"

    def set_env(self, op: Env) -> None:
        before = self.variables
        self.env.update({name: expand(value, before) for name, value in op.pairs})

    def set_arg(self, op: Arg) -> None:
        if op.value is not None:
            self.args[op.name] = expand(op.value, self.variables)

    def set_workdir(self, op: Workdir) -> None:
        self.workdir = self.absolute(op.path)

    def set_shell(self, op: Shell) -> None:
        self.shell = op.argv

    def absolute(self, word: str) -> str:
        """A path of an instruction, expanded and made absolute against the working directory."""
        return rooted(posixpath.join(self.cwd, expand(word, self.variables)))

    def environment(self) -> dict[str, str]:
        """The variables of a step, without secrets: part of what its layer depends on."""
        return {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"} | self.variables


def begin(request: BuildRequest, found: Found, base: str) -> Chain:
    """The state before the first op: what the base image left."""
    shell = request.metadata.get("shell")
    return Chain(
        request=request,
        found=found,
        base=base,
        layers=list(request.base_layers),
        env=dict(request.env),
        workdir=request.workdir,
        shell=tuple(shell) if isinstance(shell, list | tuple) and shell else DEFAULT_SHELL,
    )


@dataclass(slots=True)
class Step:
    """One layer in the making: where, on what, and what came out. Filled by the op's function."""

    stage: Path
    lower: tuple[Path, ...]
    environ: Mapping[str, str] = field(repr=False)
    packages: tuple[str, ...] = ()

    @property
    def tree(self) -> Path:
        return self.stage / "tree"


def failed(command: str, reason: str) -> BuildFailed:
    return BuildFailed(f"image step failed: {command}\n{reason}")
