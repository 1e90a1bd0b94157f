"""What one container is started with, from a ContainerSpec and places on this machine. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ionian.model import ContainerSpec
from ionian.runner import spec as launch_spec
from ionian.runtimes.runtime import Bind, Interpreter, SandboxSpec

LIB = "/__ionian/lib"  # the runner and the compatibility module, as packages ionian_runner and ionian_compat
PLACE = "/__ionian/container"  # this container's own files: spec.json, definition, layout
CLIENT = "/pkg"
DEPS = "/__modal/deps"
ACCEL = "/__ionian/accel"  # uvloop for the runner, not on the user's import path
BOOT = "import sys; sys.path.insert(0, {lib!r}); from ionian_runner.main import main; main()"

# What user code may expect of the machine; everything else of the server's environment stays outside.
PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"


@dataclass(frozen=True, slots=True)
class Places:
    """Where the parts of a container lie on this machine."""

    layers: tuple[Path, ...]  # image layers then mounts, bottom first
    interpreter: Interpreter
    lib: Path
    client: Path  # holds pkg/, deps/ and accel/
    place: Path  # the container's own directory with spec.json and definition
    scratch: Path


def binds(places: Places) -> tuple[Bind, ...]:
    return (
        Bind(places.lib, LIB),
        Bind(places.place, PLACE),
        Bind(places.client / "pkg", CLIENT),
        Bind(places.client / "deps", DEPS),
        Bind(places.client / "accel", ACCEL),
    )


def launch_json(spec: ContainerSpec, shown: dict[str, str], home: str) -> str:
    """The runner's spec.json. ``shown`` maps a bind's target to the path at which the container sees it."""
    function = spec.function
    return launch_spec.dump(
        launch_spec.launch(
            function.runner,
            code_root=home,
            client_path=shown[CLIENT],
            deps_path=shown[DEPS],
            accel_path=shown[ACCEL],
            compat=True,
            definition=f"{shown[PLACE]}/definition",
            layout=f"{shown[PLACE]}/layout" if spec.layout else "",
            params=f"{shown[PLACE]}/params" if function.params else "",
            environment_name=function.environment,
        )
    )


def environment(spec: ContainerSpec, shown: dict[str, str], home: str, socket_fd: int) -> dict[str, str]:
    """The environment of the program: a small base, then the image's, then secrets (later wins), then ours."""
    env = {"PATH": PATH, "HOME": home, "LANG": "C.UTF-8", "TERM": "dumb", "PYTHONUNBUFFERED": "1"}
    env.update(dict(spec.function.image_env))
    env.update(dict(spec.env))
    env.update(
        {
            "IONIAN_CONTAINER_ID": spec.container_id,
            "IONIAN_SPEC": f"{shown[PLACE]}/spec.json",
            "IONIAN_LIB": shown[LIB],
            "IONIAN_SOCKET_FD": str(socket_fd),
            "IONIAN_STREAM_MARKS": "1",
        }
    )
    if spec.function.interactive is not None:
        env.update(dict(spec.function.interactive.env))
        env["IONIAN_TERMINAL"] = env.pop("IONIAN_STREAM_MARKS")  # there is only one stream
    return env


def sandbox(
    spec: ContainerSpec,
    places: Places,
    env: dict[str, str],
    lib: str,
    socket_fd: int,
    stdin: int,
    stdout: int,
    stderr: int,
) -> SandboxSpec:
    function = spec.function
    return SandboxSpec(
        container_id=spec.container_id,
        argv=("{python}", "-c", BOOT.format(lib=lib)),
        env=env,
        cwd=function.image_workdir or "/root",
        layers=places.layers,
        interpreter=places.interpreter,
        binds=binds(places),
        scratch=places.scratch,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=(socket_fd,),
        resources=function.resources,
        hostname=spec.container_id.lower()[:63],
        block_network=function.block_network,
    )


def plain(spec: ContainerSpec, places: Places, home: str, stdout: int, stderr: int) -> SandboxSpec:
    """A sandbox: the image and mounts alone, and the user's command."""
    function = spec.function
    base = {"PATH": PATH, "HOME": home, "LANG": "C.UTF-8", "IONIAN_CONTAINER_ID": spec.container_id}
    return SandboxSpec(
        container_id=spec.container_id,
        argv=spec.command,
        env={**base, **dict(function.image_env), **dict(spec.env)},
        cwd=function.image_workdir or "/root",
        layers=places.layers,
        interpreter=places.interpreter,
        scratch=places.scratch,
        stdout=stdout,
        stderr=stderr,
        resources=function.resources,
        hostname=spec.container_id.lower()[:63],
        block_network=function.block_network,
    )
