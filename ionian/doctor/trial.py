"""The real thing, small: an image with one file is built, and a container of it runs Python that prints the file.

Everything happens in a temporary home on the file system of the real one, and is gone afterwards.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import tempfile
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ionian.blobs.files import FileBlobStore
from ionian.config import Config
from ionian.doctor.check import Check, failed, ok
from ionian.errors import IonianError
from ionian.images import ops
from ionian.images.build import Builder
from ionian.images.layers import Layers
from ionian.images.request import BuildDone, BuildRequest
from ionian.runtimes import cgroups, probe
from ionian.runtimes.runtime import Runtime, SandboxSpec
from ionian.worker.bundle import PATH

_REPORT = "mend what failed above; when nothing did, report this line as a bug"


@dataclass(frozen=True, slots=True)
class Tried:
    """``runtime`` None: the one demanded does not work, ``reason`` says why."""

    runtime: Runtime | None
    reason: str
    limits: cgroups.Cgroups
    checks: tuple[Check, ...]


async def everything(config: Config, place: Path, environ: Mapping[str, str]) -> Tried:
    """Choose the runtime as the server would, build, call. ``place``: a writable directory. Raises OSError."""
    limits = cgroups.probe(f"ionian-doctor-{os.getpid()}")
    with tempfile.TemporaryDirectory(prefix=".ionian-doctor-", dir=place) as folder:
        trial = replace(config, home=Path(folder))
        try:
            runtime = await probe.choose(config.runtime, trial.home / "runtime")
        except IonianError as error:
            reason = str(error).removeprefix("the namespaces runtime does not work here: ")
            return Tried(None, reason, limits, ())
        return Tried(runtime, "", limits, await _checks(trial, runtime, environ))


async def _checks(trial: Config, runtime: Runtime, environ: Mapping[str, str]) -> tuple[Check, ...]:
    word = secrets.token_hex(8)
    try:
        image = await _build(trial, runtime, environ, word)
    except (IonianError, OSError) as error:
        return (failed("build", _line(error), _REPORT), failed("call", "not tried: there is no image", _REPORT))
    built = ok("build", f"an image of {len(image.layers)} layer on Python {image.python_version}")
    try:
        said = await _call(trial, runtime, image)
    except (IonianError, OSError) as error:
        return (built, failed("call", _line(error), _REPORT))
    if said != word:
        return (built, failed("call", f"a container printed {said[-200:]!r} instead of its file", _REPORT))
    return (built, ok("call", "a container of it started, and printed its file"))


async def _build(trial: Config, runtime: Runtime, environ: Mapping[str, str], word: str) -> BuildDone:
    carried = (("/word", base64.b64encode(word.encode()).decode()),)
    series = probe.own_interpreter().series
    steps = (ops.Base(series, "", ()), ops.Copy("COPY word /root/word", ("word",), "/root/word", files=carried))
    request = BuildRequest("im-doctor", series, (), tuple(ops.to_json(step) for step in steps))
    pieces = Builder(trial, runtime, FileBlobStore(trial.blobs), environ).build(request)
    assert isinstance(pieces, AsyncGenerator)
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, BuildDone):
                return piece
    raise IonianError("a build ended without a result")


async def _call(trial: Config, runtime: Runtime, image: BuildDone) -> str:
    """What the container prints, without surrounding space. Raises IonianError, OSError."""
    scratch, printed = trial.home / "scratch", trial.home / "printed"
    scratch.mkdir(mode=0o700)
    layers = Layers(trial)
    descriptor = os.open(printed, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        spec = SandboxSpec(
            container_id=f"doctor-{os.getpid()}",
            argv=("{python}", "-c", "print(open('word').read())"),
            env={"PATH": PATH, "HOME": runtime.home(scratch), **dict(image.env)},
            cwd=image.workdir or "/root",
            layers=tuple(layers.path(digest) for digest in image.layers),
            interpreter=probe.own_interpreter(),
            scratch=scratch,
            stdout=descriptor,
            stderr=descriptor,
        )
        process = await runtime.start(spec)
        try:
            await process.wait()
        finally:
            await process.reap()
    finally:
        os.close(descriptor)
    return printed.read_text(errors="replace").strip()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
