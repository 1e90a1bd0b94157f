"""Recipes out of the client's commands: what becomes of each instruction, and what identity depends on."""

from __future__ import annotations

import json

import pytest

from ionian.errors import InvalidRequest, Unimplemented
from ionian.images import ops
from ionian.images.recipe import parse

SLIM = (
    "FROM python:3.11.8-slim-bookworm",
    "COPY /modal_requirements.txt /modal_requirements.txt",
    "RUN apt-get update",
    "RUN apt-get install -y gcc gfortran build-essential",
    "RUN pip install --upgrade pip wheel uv",
    "RUN pip install --no-cache --no-deps -r /modal_requirements.txt",
    "RUN echo 'debconf debconf/frontend select Noninteractive' | debconf-set-selections",
    "RUN rm /modal_requirements.txt",
)
PINS = {"/modal_requirements.txt": b"aiohttp==3.9.3\nfastapi==0.110.0\n"}


def one(*commands: str, files: dict[str, bytes] | None = None) -> ops.Op:
    found = parse(("FROM base", *commands), files or {}, "2025.06").ops
    return found[-1]


def test_the_clients_base_is_one_op_with_its_pins_under_the_users_packages() -> None:
    recipe = parse(SLIM, PINS, "2024.04")
    base, pins = recipe.ops
    assert isinstance(base, ops.Base)
    assert (base.series, base.codename, recipe.python) == ("3.11", "bookworm", "3.11")
    assert "RUN apt-get install -y gcc gfortran build-essential" in base.preamble
    assert isinstance(pins, ops.PipInstall)
    assert pins.no_deps
    assert pins.files == ("aiohttp==3.9.3\nfastapi==0.110.0\n",)


@pytest.mark.parametrize(
    "commands",
    [
        (*SLIM[:2], *SLIM[3:]),  # one missing
        (SLIM[0], SLIM[1], SLIM[3], SLIM[2], *SLIM[4:]),  # another order
        (*SLIM[:3], "RUN apt-get install -y gcc gfortran build-essential git", *SLIM[4:]),
        ("FROM python:3.11-slim",),
        ("FROM ubuntu:22.04", "RUN apt-get update"),
        ("FROM scratch",),
    ],
)
def test_anything_but_the_whole_preamble_is_a_registry_image_and_refused_by_name(commands: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest, match=commands[0].split()[1].replace(".", r"\.")):
        parse(commands, PINS, "2024.04")


def test_commands_after_the_preamble_are_the_users() -> None:
    recipe = parse((*SLIM, "RUN apt-get update"), PINS, "2024.04")
    assert recipe.ops[-1] == ops.Run("apt-get update")


def test_without_commands_it_is_run_function() -> None:
    with pytest.raises(Unimplemented, match="run_function"):
        parse((), {}, "2025.06")


def test_pip_lines_of_the_client() -> None:
    op = one("RUN python -m pip install joblib 'numpy>=1.26,<3' 'uvicorn[standard]'")
    assert isinstance(op, ops.PipInstall)
    assert op.requirements == ("joblib", "numpy>=1.26,<3", "uvicorn[standard]")
    assert not op.uv


def test_uv_lines_of_the_client() -> None:
    recipe = parse(
        (
            "FROM base",
            "COPY --from=ghcr.io/astral-sh/uv:latest /uv /.uv/uv",
            "COPY /.0_requirements.txt /.uv/0/requirements.txt",
            "RUN /.uv/uv pip install --python $(command -v python) --compile-bytecode --prerelease allow "
            "--extra-index-url https://x.test/simple --requirements /.uv/0/requirements.txt 'six==1.16.0'",
        ),
        {"/.0_requirements.txt": b"attrs\n"},
        "2025.06",
    )
    tool, copy, install = recipe.ops
    assert tool == ops.Tool("COPY --from=ghcr.io/astral-sh/uv:latest /uv /.uv/uv", "/.uv/uv", "latest")
    assert isinstance(copy, ops.Copy)
    assert isinstance(install, ops.PipInstall)
    assert install.files == ("attrs\n",)
    assert install.requirements == ("six==1.16.0",)
    assert install.pre
    assert install.uv
    assert install.extra_index_urls == ("https://x.test/simple",)


def test_requirements_files_are_carried_by_content() -> None:
    op = one(
        "COPY /.requirements.txt /.requirements.txt",
        "RUN python -m pip install -r /.requirements.txt",
        files={
            "/.requirements.txt": b"# ours\nnumpy==1.26.4 ; python_version < '3.13'\n--extra-index-url https://x.test/s\n"
        },
    )
    assert isinstance(op, ops.PipInstall)
    assert op.files[0].startswith("# ours")


@pytest.mark.parametrize(
    "command",
    [
        "pip install numpy && echo done",
        "pip install -e .",
        "pip install .",
        "pip install ./wheel.whl",
        "pip install git+https://example.test/x.git",
        "pip install --target /x numpy",
        "pip install --user numpy",
        "pip install numpy>=1.26",
        "pip install $PACKAGE",
        'pip install "numpy==$VERSION"',
        "pip install numpy==1.*",
        "pip install -r /unknown.txt",
        "pip install --no-build-isolation flash-attn",
        "pip install --global-option=x numpy",
        "pip uninstall -y numpy",
        "pip download numpy",
        "pip install",
        "FOO=1 pip install numpy",
        "uv pip install --target /x numpy",
        "uv sync",
        "pip install 'unclosed",
    ],
)
def test_a_pip_line_that_is_not_fully_understood_really_runs(command: str) -> None:
    assert one(f"RUN {command}") == ops.Run(command)


@pytest.mark.parametrize("line", ["-e .", "-r other.txt", "./local.whl", "file:///x.whl", "git+https://x.test/y.git"])
def test_a_requirements_file_that_reaches_elsewhere_really_runs(line: str) -> None:
    op = one("COPY /.r.txt /r.txt", "RUN pip install -r /r.txt", files={"/.r.txt": f"numpy\n{line}\n".encode()})
    assert op == ops.Run("pip install -r /r.txt")


def test_continuation_lines_comments_and_case() -> None:
    commands = [
        "RUN cd /tmp/poetry && \\ ",
        "  poetry config virtualenvs.create false && \\ ",
        "# why",
        "poetry install",
    ]
    op = one("# a comment", *commands)
    assert isinstance(op, ops.Run)
    assert " ".join(op.command.split()) == "cd /tmp/poetry && poetry config virtualenvs.create false && poetry install"
    assert one("run echo hi") == ops.Run("echo hi")


def test_exec_form_keeps_its_words() -> None:
    assert one('RUN ["echo", "a b"]') == ops.Run('["echo", "a b"]', ("echo", "a b"))


def test_env_arg_workdir_shell() -> None:
    assert one("ENV A=1 B='two words'") == ops.Env("ENV A=1 B='two words'", (("A", "1"), ("B", "'two words'")))
    assert one("ENV OLD the rest of it") == ops.Env("ENV OLD the rest of it", (("OLD", "the rest of it"),))
    assert one("WORKDIR '/my dir'") == ops.Workdir("WORKDIR '/my dir'", "'/my dir'")
    assert one('SHELL ["/bin/bash", "-c"]') == ops.Shell('SHELL ["/bin/bash", "-c"]', ("/bin/bash", "-c"))
    recipe = parse(("FROM base", "ARG V=1", "ARG W"), {}, "2025.06", build_args={"V": "2"})
    assert recipe.ops == (ops.Arg("ARG V=1", "V", "2"), ops.Arg("ARG W", "W", None))


@pytest.mark.parametrize(
    "command", ["LABEL a=b", "EXPOSE 80", 'CMD ["sleep", "1"]', "USER root", "ENTRYPOINT []", "VOLUME /data"]
)
def test_harmless_instructions_are_listed(command: str) -> None:
    op = one(command)
    assert isinstance(op, ops.Note)
    assert op.command == command
    assert op.outcome


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("USER nobody", "USER nobody"),
        ('ENTRYPOINT ["/bin/x"]', "ENTRYPOINT"),
        ("ONBUILD RUN x", "ONBUILD"),
        ("BANANA split", "BANANA"),
        ("RUN --mount=type=cache,target=/x true", "--mount"),
        ("COPY --from=alpine /x /y", "--from=alpine"),
        ("COPY --chown=app:app x /y", "--chown=app:app"),
        ("ADD https://x.test/y /y", "ADD"),
        ("ADD x.tar.gz /y", "ADD"),
        ("RUN cat <<EOF", "heredoc"),
        ("COPY x", "COPY x"),
        ("ENV A", "ENV A"),
        ("FROM base", "more than one FROM"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(command: str, named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        one(command)


def test_from_may_name_any_image_of_this_server_and_no_other() -> None:
    assert parse(("FROM mine",), {}, "2025.06", base_images=("mine",)).ops == ()
    with pytest.raises(InvalidRequest, match="FROM base"):
        parse(("FROM base",), {}, "2025.06", base_images=())


def test_steps_survive_json() -> None:
    recipe = parse((*SLIM, "COPY --chmod=755 /f /g/", "ENV A=1", "RUN x"), {**PINS, "/f": b"\xff\0"}, "2024.04")
    assert tuple(ops.from_json(json.loads(json.dumps(step))) for step in recipe.steps()) == recipe.ops


def test_the_key_follows_everything_that_goes_in() -> None:
    def key(*commands: str, parent: str = "p", context: str = "", files: dict[str, bytes] | None = None) -> str:
        return parse(("FROM base", *commands), files or {}, "2025.06").key(parent, context)

    same = key("RUN a")
    assert same == key("RUN a")
    others = {
        key("RUN b"),
        key("RUN a", parent="q"),
        key("RUN a", context="c"),
        key("RUN a", "RUN a"),
        key("COPY /f /f", files={"/f": b"1"}),
        key("COPY /f /f", files={"/f": b"2"}),
    }
    assert same not in others
    assert len(others) == 6


def test_layer_keys_follow_parents_host_and_inputs() -> None:
    op = ops.Run("make")
    keys = {
        ops.layer_key(op, ("a",), "host"),
        ops.layer_key(op, ("b",), "host"),
        ops.layer_key(op, ("a", "b"), "host"),
        ops.layer_key(op, ("a",), "other host"),
        ops.layer_key(op, ("a",), "host", {"A": "1"}),
        ops.layer_key(ops.Run("make", ("make",)), ("a",), "host"),
    }
    assert len(keys) == 6
    assert ops.layer_key(op, ("a",), "host") == ops.layer_key(ops.Run("make"), ("a",), "host")
