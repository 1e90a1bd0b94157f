"""Builds for real: the commands of released clients, the real uv, real sandboxes. Needs a package index."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from ionian.blobs.files import FileBlobStore
from ionian.config import Config
from ionian.errors import BuildFailed, InvalidRequest, NotFound, Unavailable
from ionian.images import bytecode, ops, packages, whiteouts
from ionian.images.build import Builder
from ionian.images.client import client_layer
from ionian.images.interpreters import Interpreters, candidates
from ionian.images.layers import Layers
from ionian.images.recipe import parse
from ionian.images.request import BuildDone, BuildOutput, BuildRequest
from ionian.model import Isolation, MountFile
from ionian.runtimes import probe
from ionian.runtimes.runtime import Process, Runtime, SandboxSpec
from tests.unit.test_images_preamble import GOLDEN

SERIES = "{}.{}".format(*sys.version_info)
SITE = packages.site_packages(SERIES)
SLIM = tuple(GOLDEN["2026.10"].replace("python:3.11-", f"python:{SERIES}-").splitlines())

# Asks a client for what it would send, without a server: stand in for the constructor that every method ends in.
CAPTURE = """
import importlib, json, sys, warnings
warnings.simplefilter("ignore")
sys.path[:0] = sys.argv[3:]
import modal
image = importlib.import_module(sys.argv[1])
version, found = sys.argv[2], {}
class Stop(Exception): pass
def capture(**given):
    Stop.spec = given["dockerfile_function"](version)
    raise Stop
image._Image._from_args = staticmethod(capture)
def ask(name, call):
    try:
        call()
    except Stop:
        files = {name: open(path).read() for name, path in Stop.spec.context_files.items()}
        found[name] = [Stop.spec.commands, files]
base = object.__new__(image._Image)
base.force_build = False
ask("debian_slim", lambda: image._Image.debian_slim("3.11"))
options = {"index_url": "https://i.test/simple", "pre": True}
ask("pip_install", lambda: base.pip_install("numpy<3", "uvicorn[standard]", **options))
ask("pip_install_from_requirements", lambda: base.pip_install_from_requirements(sys.argv[0] + ".txt"))
ask("apt_install", lambda: base.apt_install("git"))
ask("run_commands", lambda: base.run_commands("pip install 'x' && y", "echo $HOME"))
ask("env", lambda: base.env({"A": "it's $5"}))
ask("workdir", lambda: base.workdir("/my dir"))
ask("entrypoint", lambda: base.entrypoint([]))
ask("shell", lambda: base.shell(["/bin/bash", "-c"]))
ask("cmd", lambda: base.cmd(["sleep", "1"]))
ask("from_registry", lambda: image._Image.from_registry("ubuntu:22.04", add_python="3.11"))
ask("micromamba", lambda: image._Image.micromamba("3.11"))
if hasattr(base, "uv_pip_install"):
    ask("uv_pip_install", lambda: base.uv_pip_install("six", requirements=[sys.argv[0] + ".txt"]))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def config(home: Path) -> Config:
    return Config(home=home)


async def runtime_of(config: Config, setting: str) -> Runtime:
    try:
        return await probe.choose(setting, config.home / "runtime")
    except Unavailable as error:
        pytest.skip(str(error))


class Images:
    """Builds images on top of one another and keeps their output."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.blobs = FileBlobStore(config.blobs)
        self.builder = Builder(config, runtime, self.blobs)
        self.layers = Layers(config)
        self.runtime = runtime
        self.output: list[str] = []

    async def build(self, *commands: str, on: BuildDone | None = None, **given: Any) -> BuildDone:
        recipe = parse(("FROM base", *commands) if on else commands, given.pop("files", {}), "2026.10")
        base = on or BuildDone((), (), "", "", {})
        request = BuildRequest(
            image_id="im-test",
            python_version=base.python_version,
            base_layers=base.layers,
            steps=recipe.steps(),
            env=base.env,
            workdir=base.workdir,
            metadata=base.metadata,
            **given,
        )
        self.output = []
        async with contextlib.aclosing(self.builder.build(request)) as pieces:
            async for piece in pieces:
                if isinstance(piece, BuildDone):
                    return piece
                self.output.append(piece.text)
        raise AssertionError("a build ended without BuildDone")

    async def base(self) -> BuildDone:
        return await self.build(*SLIM)

    def trees(self, image: BuildDone) -> list[Path]:
        return [self.layers.path(digest) for digest in image.layers]

    def said(self, text: str) -> bool:
        return any(text in piece for piece in self.output)

    async def run(self, image: BuildDone, config: Config, *argv: str) -> str:
        """What ``argv`` prints in a container of this image."""
        scratch = config.home / "scratch"
        scratch.mkdir()
        out = config.home / "out"
        descriptor = os.open(out, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", **dict(image.env)}
        interpreter = await Interpreters(config).find(SERIES)
        spec = SandboxSpec(
            container_id="ta-build-test",
            argv=argv,
            env=env,
            cwd=image.workdir or "/",
            layers=tuple(self.trees(image)),
            interpreter=interpreter,
            scratch=scratch,
            stdout=descriptor,
            stderr=descriptor,
        )
        try:
            process: Process = await self.runtime.start(spec)
            end = await process.wait()
            await process.reap()
        finally:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                scratch.rmdir()
        assert end.code == 0, out.read_text()
        return out.read_text()


@pytest.fixture(params=["namespaces", "process"])
async def images(request: pytest.FixtureRequest, config: Config) -> Images:
    return Images(config, await runtime_of(config, request.param))


@pytest.fixture
async def sandboxed(config: Config) -> Images:
    return Images(config, await runtime_of(config, "namespaces"))


@pytest.fixture
async def plain(config: Config) -> Images:
    return Images(config, await runtime_of(config, "process"))


async def printed_by(*command: object, env: dict[str, str] | None = None) -> str:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*map(str, command), env=env, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


# -- what released clients send


async def captured(config: Config, tmp_path: Path, client: str, builder: str) -> dict[str, Any]:
    interpreter = await Interpreters(config).find(SERIES)
    place = await client_layer(config, client, interpreter)
    module = "modal._image" if client.startswith("1.6") else "modal.image"
    script = tmp_path / "capture.py"
    script.write_text(CAPTURE)
    (tmp_path / "capture.py.txt").write_text("six\n")
    command = [interpreter.executable, script, module, builder, place / "pkg", place / "deps"]
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "MODAL_CONFIG_PATH": str(tmp_path / "modal.toml")}
    found: dict[str, Any] = json.loads((await printed_by(*command, env=env)).splitlines()[-1])
    return found


CLIENTS = [("1.6.4", builder) for builder in GOLDEN] + [("0.73.173", b) for b in ("2023.12", "2024.04", "2024.10")]


@pytest.mark.parametrize(("client", "builder"), CLIENTS)
async def test_what_real_clients_send_is_understood(config: Config, tmp_path: Path, client: str, builder: str) -> None:
    sent = await captured(config, tmp_path, client, builder)

    def read(name: str) -> tuple[ops.Op, ...]:
        commands, files = sent[name]
        return parse(commands, {path: text.encode() for path, text in files.items()}, builder).ops

    assert sent["debian_slim"][0] == GOLDEN[builder].splitlines()
    assert isinstance(read("debian_slim")[0], ops.Base)
    assert all(isinstance(op, ops.PipInstall) for op in read("debian_slim")[1:])
    (install,) = read("pip_install")
    assert isinstance(install, ops.PipInstall)
    assert install.requirements == ("numpy<3", "uvicorn[standard]")
    assert (install.index_url, install.pre) == ("https://i.test/simple", True)
    copy, install = read("pip_install_from_requirements")
    assert isinstance(copy, ops.Copy)
    assert isinstance(install, ops.PipInstall)
    assert install.files == ("six\n",)
    assert read("apt_install") == (ops.Run("apt-get update"), ops.Run("apt-get install -y git"))
    assert read("run_commands") == (ops.Run("pip install 'x' && y"), ops.Run("echo $HOME"))
    assert [type(op) for op in read("env") + read("workdir") + read("shell")] == [ops.Env, ops.Workdir, ops.Shell]
    assert [type(op) for op in read("entrypoint") + read("cmd")] == [ops.Note, ops.Note]
    for name, named in (("from_registry", "ubuntu:22.04"), ("micromamba", "mambaorg/micromamba")):
        with pytest.raises(InvalidRequest, match=named):
            read(name)
    if "uv_pip_install" in sent:
        assert [type(op) for op in read("uv_pip_install")] == [ops.Tool, ops.Copy, ops.PipInstall]


# -- packages


async def test_the_iris_image_is_built_once_and_runs(images: Images, config: Config) -> None:
    command = "RUN python -m pip install joblib numpy scikit-learn"
    base = await images.base()
    assert base.layers == ()
    assert images.said(f"isolation: {images.runtime.level.value}")
    assert images.said("is satisfied by this host")
    image = await images.build(command, on=base)
    assert image.python_version == SERIES
    assert {"joblib", "numpy", "scikit-learn"} <= set(image.metadata["python_packages"])  # type: ignore[call-overload]
    again = await images.build(command, on=base)
    assert again.layers == image.layers
    assert images.said("Using cached layer")
    printed = await images.run(image, config, "{python}", "-c", "import sklearn, joblib; print(sklearn.__version__)")
    assert printed.strip() == image.metadata["python_packages"]["scikit-learn"]  # type: ignore[index]


async def test_a_layer_on_a_layer_keeps_satisfying_versions_and_replaces_others(images: Images, config: Config) -> None:
    old = await images.build("RUN pip install attrs==23.1.0 gunicorn==21.2.0 packaging==23.1", on=await images.base())
    kept = await images.build("RUN pip install attrs pip-requirements-parser==32.0.1", on=old)
    top = images.trees(kept)[-1]
    assert {d.name for d in packages.installed([top], SERIES).values()} == {"pip-requirements-parser", "pyparsing"}
    same = await images.build("RUN pip install 'attrs>=20'", on=old)
    assert packages.installed([images.trees(same)[-1]], SERIES) == {}
    assert same.metadata["python_packages"] == old.metadata["python_packages"]
    new = await images.build("RUN pip install 'attrs>23.1.0'", on=old)
    assert [p for p in os.listdir(images.trees(old)[-1] / SITE) if p.startswith("attrs-")] == ["attrs-23.1.0.dist-info"]
    ask = "import importlib.metadata as m; print([d.version for d in m.distributions() if d.name == 'attrs'])"
    printed = await images.run(new, config, "{python}", "-c", ask)
    assert printed.strip() == str([new.metadata["python_packages"]["attrs"]])  # type: ignore[index]
    assert "23.1.0" not in printed
    if images.runtime.level is Isolation.NAMESPACES:
        assert "21.2.0" in await images.run(new, config, "gunicorn", "--version")


async def test_an_unknown_package_names_itself_and_the_command(images: Images) -> None:
    base = await images.base()
    with pytest.raises(BuildFailed) as error:
        await images.build("RUN python -m pip install ionian-no-such-package-x1", on=base)
    text = str(error.value)
    assert "python -m pip install ionian-no-such-package-x1" in text
    assert "ionian-no-such-package-x1 was not found" in text
    assert "Traceback" not in text
    assert not list(images.layers.root.glob(".staging-*"))


async def test_the_clients_pinned_requirements_lie_under_the_users(plain: Images) -> None:
    pins = b"grpclib==0.4.7\nh2==4.1.0\nhpack==4.0.0\nhyperframe==6.0.1\nmultidict\n"
    slim = GOLDEN["2024.04"].replace("python:3.11.8-", f"python:{SERIES}-").splitlines()
    image = await plain.build(*slim, files={"/modal_requirements.txt": pins})
    assert image.metadata["python_packages"]["grpclib"] == "0.4.7"  # type: ignore[index]
    child = await plain.build("RUN pip install hpack", on=image)
    assert child.metadata["python_packages"] == image.metadata["python_packages"]


async def test_a_source_distribution_is_built_in_a_sandbox(sandboxed: Images, config: Config) -> None:
    image = await sandboxed.build("RUN pip install docopt==0.6.2 six", on=await sandboxed.base())
    assert sandboxed.said("building it from source, in a sandbox")
    assert os.listdir(sandboxed.trees(image)[0]) == ["usr"]
    assert "0.6.2" in await sandboxed.run(image, config, "{python}", "-c", "import docopt; print(docopt.__version__)")


async def test_a_source_distribution_is_refused_where_there_is_no_sandbox(plain: Images) -> None:
    with pytest.raises(BuildFailed, match=r"docopt[\s\S]*namespaces"):
        await plain.build("RUN pip install docopt==0.6.1", on=await plain.base())


async def test_force_builds_anew_and_later_builds_use_it(images: Images) -> None:
    base = await images.base()
    first = await images.build("RUN pip install six==1.16.0", on=base)
    forced = await images.build("RUN pip install six==1.16.0", on=base, force=True)
    assert forced.layers != first.layers
    assert images.trees(first)[0].is_dir()
    assert (await images.build("RUN pip install six==1.16.0", on=base)).layers == forced.layers


async def test_two_builds_of_one_step_make_one_layer(plain: Images, config: Config) -> None:
    base = await plain.base()
    other = Images(config, plain.runtime)
    other.builder = plain.builder
    done = await asyncio.gather(*(x.build("RUN pip install idna==3.6", on=base) for x in (plain, other)))
    assert done[0].layers == done[1].layers
    assert plain.said("Using cached") != other.said("Using cached")


# -- files, variables


async def test_copy_env_and_workdir(images: Images) -> None:
    names = {"/a.txt": b"a", "/dir/b.txt": b"b", "/dir/deep/c.txt": b"c"}
    mount = tuple([MountFile(name, await images.blobs.put(data), 0o644) for name, data in names.items()])
    base = await images.base()
    whole = await images.build("COPY . /", on=base, context_mount=mount)
    assert (images.trees(whole)[0] / "dir/deep/c.txt").read_bytes() == b"c"
    image = await images.build(
        "ENV WHERE=/data NAME='it''s $WHERE'",
        "ENV PATH=/tool/bin:$PATH",
        "WORKDIR /app",
        "WORKDIR sub",
        "COPY a.txt .",
        "COPY dir $WHERE/",
        "COPY --chmod=755 *.txt /globbed/",
        "COPY /.carried /etc/carried",
        on=base,
        context_mount=mount,
        files={"/.carried": b"\xff"},
    )
    env = dict(image.env)
    assert env["NAME"] == "its $WHERE"
    assert env["PATH"].startswith("/tool/bin:/usr/local/bin:")
    assert image.workdir == "/app/sub"
    trees = images.trees(image)

    def content(path: str) -> bytes:
        found = whiteouts.visible(trees, path)
        assert found is not None, path
        return found.read_bytes()

    assert content("app/sub/a.txt") == b"a"
    assert content("data/b.txt") == b"b"
    assert content("data/deep/c.txt") == b"c"
    assert content("globbed/a.txt") == b"a"
    assert content("etc/carried") == b"\xff"
    found = whiteouts.visible(trees, "globbed/a.txt")
    assert found is not None
    assert found.stat().st_mode & 0o777 == 0o755


async def test_copy_of_what_was_not_sent_names_it(images: Images) -> None:
    with pytest.raises(BuildFailed, match=r"missing\.txt"):
        await images.build("COPY missing.txt /x", on=await images.base())
    mount = (MountFile("/x", "0" * 64, 0),)
    with pytest.raises(NotFound, match="not on this machine"):
        await images.build("COPY x /y", on=await images.base(), context_mount=mount)


# -- commands


async def test_commands_run_in_a_sandbox_and_their_changes_stay(sandboxed: Images, config: Config) -> None:
    image = await sandboxed.build(
        "ENV GREETING=hello",
        "ARG WHO=you",
        "WORKDIR /work",
        "RUN echo $GREETING $WHO $TOKEN > said && pwd && rm /etc/debian_version || true",
        "RUN cat said && python -m pip --version && pip --version && uv --version",
        'SHELL ["/bin/bash", "-c"]',
        "RUN [[ -f said ]] && echo in-bash",
        on=await sandboxed.base(),
        secrets=(("TOKEN", "s3cret"),),
    )
    for text in ("/work", "hello you s3cret", "pip 2", "uv 0", "in-bash"):
        assert sandboxed.said(text), text
    assert await sandboxed.run(image, config, "/bin/cat", "said") == "hello you s3cret\n"
    await sandboxed.build(
        "RUN uv pip install --system six==1.16.0 && python -c 'import six; print(six.__file__)'", on=image
    )
    assert sandboxed.said(f"/{SITE}/six.py")
    child = await sandboxed.build("RUN [[ 1 ]] && echo still-bash", on=image)
    assert sandboxed.said("still-bash")
    again = await sandboxed.build("RUN [[ 1 ]] && echo still-bash", on=image)
    assert again.layers == child.layers
    assert not Path("/work/said").exists()


async def test_a_failing_command_shows_itself_and_its_last_lines(sandboxed: Images) -> None:
    base = await sandboxed.base()
    with pytest.raises(BuildFailed) as error:
        await sandboxed.build("RUN for i in $(seq 1 50); do echo line-$i; done; echo wrong >&2; exit 7", on=base)
    text = str(error.value)
    assert "exit code 7" in text
    assert "exit 7" in text.splitlines()[0]
    assert text.splitlines()[-2:] == ["line-50", "wrong"]
    assert "line-31\n" not in text
    assert sandboxed.said("line-1\n")
    assert not list(sandboxed.layers.root.glob(".staging-*"))


async def test_output_comes_while_the_command_runs_and_giving_up_ends_it(sandboxed: Images) -> None:
    base = await sandboxed.base()
    recipe = parse(("FROM base", "RUN echo begun; sleep 1000"), {}, "2026.10")
    request = BuildRequest("im-test", SERIES, base.layers, recipe.steps())
    pieces = sandboxed.builder.build(request)
    async for piece in pieces:
        if isinstance(piece, BuildOutput) and piece.text == "begun\n":
            break
    await pieces.aclose()
    assert not list(sandboxed.layers.root.glob(".staging-*"))


@pytest.mark.parametrize(
    "command", ["echo hi", "touch /ionian-must-not-appear", "pip install -e .", "make && make install"]
)
async def test_without_namespaces_commands_are_refused_by_name(plain: Images, command: str) -> None:
    with pytest.raises(BuildFailed) as error:
        await plain.build(f"RUN {command}", on=await plain.base())
    assert command in str(error.value)
    assert "namespaces" in str(error.value)
    assert not Path("/ionian-must-not-appear").exists()


async def test_without_namespaces_apt_counts_as_done_when_the_host_has_it(plain: Images) -> None:
    image = await plain.build("RUN apt-get update", "RUN apt-get install -y dpkg", on=await plain.base())
    assert plain.said("this host has dpkg already")
    assert image.layers == ()
    with pytest.raises(BuildFailed, match="install no-such-package-x on this host"):
        await plain.build("RUN apt-get install -y dpkg no-such-package-x", on=await plain.base())


# -- byte code, client, interpreters


async def test_only_what_was_imported_is_compiled_and_the_container_uses_it(sandboxed: Images, config: Config) -> None:
    image = await sandboxed.build("RUN pip install attrs==23.1.0 six==1.16.0", on=await sandboxed.base())
    files = [f"/{SITE}/attr/__init__.py", f"/{SITE}/attr/_make.py", "/usr/lib/os.py", "/root/app.py", "/etc/../x.py"]
    digest = await sandboxed.builder.precompile(image.layers, SERIES, files)
    assert digest is not None
    made = sorted(p.name.split(".")[0] for p in sandboxed.layers.path(digest).rglob("*.pyc"))
    assert made == ["__init__", "_make"]
    assert bytecode.current(sandboxed.layers, image.layers) == digest
    assert await sandboxed.builder.precompile(image.layers, SERIES, files) == digest
    warm = BuildDone((*image.layers, digest), image.env, "", SERIES, {})
    printed = await sandboxed.run(warm, config, "{python}", "-v", "-c", "import attr._make")
    assert f"matches /{SITE}/attr/_make.py" in printed
    more = [
        f"/{SITE}/six.py",
        *(f"/{SITE}/attr/{p.name}" for p in (sandboxed.trees(image)[0] / SITE / "attr").glob("*.py")),
    ]
    extended = await sandboxed.builder.precompile(image.layers, SERIES, more)
    assert extended not in (None, digest)
    assert bytecode.current(sandboxed.layers, image.layers) == extended


@pytest.mark.parametrize("version", ["1.6.4", "0.73.173"])
async def test_client_packages_start_apart_from_anything_else(config: Config, version: str) -> None:
    interpreter = await Interpreters(config).find(SERIES)
    first, second = await asyncio.gather(*(client_layer(config, version, interpreter) for _ in range(2)))
    assert first == second
    ask = "import sys; sys.path[:0] = sys.argv[1:]; import modal; print(modal.__version__, modal.__file__)"
    command = [interpreter.executable, "-I", "-S", "-c", ask, first / "pkg", first / "deps"]
    printed = await printed_by(*command)
    assert printed.split() == [version, f"{first}/pkg/modal/__init__.py"]
    assert list((first / "pkg/modal").rglob("*.pyc"))
    assert not list(first.parent.glob(".*"))


async def test_a_client_that_does_not_exist_says_so(config: Config) -> None:
    interpreter = await Interpreters(config).find(SERIES)
    with pytest.raises(Unavailable, match=r"999\.0\.0"):
        await client_layer(config, "999.0.0", interpreter)
    with pytest.raises(InvalidRequest):
        await client_layer(config, "../x", interpreter)
    assert not list((config.home / "clients").glob("*999*"))


async def test_interpreters_are_real_programs_never_shims(config: Config, tmp_path: Path) -> None:
    shim = tmp_path / "shims" / f"python{SERIES}"
    script = tmp_path / "bin" / f"python{SERIES}"
    for path in (shim, script):
        path.parent.mkdir()
        path.write_text("#!/bin/sh\nexit 1\n")
        path.chmod(0o755)
    environ = {"PATH": f"{shim.parent}:{script.parent}:/usr/bin", "HOME": str(tmp_path)}
    assert not {shim, script} & set(candidates(SERIES, environ, tmp_path))
    found = await Interpreters(config, environ).find(SERIES)
    assert found.series == SERIES
    assert found.executable.read_bytes()[:4] == b"\x7fELF"
    printed = await printed_by(found.executable, "-I", "-c", "import sys; print(sys.prefix)")
    assert printed.strip() == str(found.prefix)


async def test_a_series_that_is_not_here_says_what_is(tmp_path: Path) -> None:
    environ = {"PATH": "/usr/bin", "HOME": str(tmp_path), "UV_OFFLINE": "1"}
    with pytest.raises(NotFound, match=r"no Python 3\.99 .*there is.*uv python install 3\.99"):
        await Interpreters(Config(home=tmp_path), environ).find("3.99")
    with pytest.raises(InvalidRequest, match="series"):
        await Interpreters(Config(home=tmp_path), environ).find("3.11.2")
