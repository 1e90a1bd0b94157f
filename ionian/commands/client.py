"""Every verb that is not ours: the real modal CLI, run by the user's interpreter and pointed at our server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ionian.commands import env, interpreter, options, running
from ionian.config import Config

# These verbs are about the user's own client configuration, so they get the user's own file.
_OWN_CONFIG_VERBS = frozenset({"token", "profile", "config", "setup"})


def run(arguments: list[str], home: str | None) -> int:
    """Replace this process by the client, so that signals, the terminal and the exit code are its own."""
    config = options.config(home)
    environ = environment(config, arguments, os.environ)
    command = command_line(interpreter.find(os.environ, Path.cwd()), arguments)
    os.execve(command[0], command, environ)


def command_line(python: str, arguments: list[str]) -> list[str]:
    """The client's command line, behind the module that brings retired names back."""
    launch = Path(__file__).parents[1] / "compat" / "launch.py"
    return [python, str(launch), *arguments]


def environment(config: Config, arguments: list[str], environ: Mapping[str, str]) -> dict[str, str]:
    """The client's environment. Help needs no server. ``~/.modal.toml`` is neither read nor written by most verbs."""
    made = dict(environ)
    if arguments[0] not in _OWN_CONFIG_VERBS:
        made["MODAL_CONFIG_PATH"] = str(config.home / "modal.toml")
        made.pop("MODAL_PROFILE", None)  # names a section of the file that is not read
    asks_help = not {"-h", "--help"}.isdisjoint(arguments)
    if not asks_help:
        made |= env.variables(config, running.require(config), environ)
    if arguments[:2] in (
        ["token", "new"],
        ["token", "rotate"],
    ):  # or the client warns that these would hide the new one
        made = {name: value for name, value in made.items() if not name.startswith("MODAL_TOKEN_")}
    return made
