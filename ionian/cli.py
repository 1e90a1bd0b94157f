"""The command line. Our verbs are one module each in ``commands/``; every other verb goes to the real modal CLI.

Nothing heavy is imported before the verb is known, so that help and short verbs answer at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from ionian import __version__
from ionian.commands import VERBS
from ionian.errors import FailedPrecondition, InvalidRequest, IonianError

_PASSED_ON = """every other verb goes to the modal client, pointed at this server:
  deploy run serve app image environment token profile ...

options:
  --home DIR   where everything lives (default: $IONIAN_HOME, else ~/.ionian); before or after any verb
  --version    print the version
  -h, --help   this text; `ionian VERB --help` for one verb

IONIAN_DEBUG=1 shows the traceback of an error."""


def usage() -> str:
    """The help text."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {summary}" for verb, summary in VERBS.items())
    return f"usage: ionian [--home DIR] VERB ...\n\n{verbs}\n\n{_PASSED_ON}\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. A deliberate error is one line on stderr and exit code 1."""
    if argv is None:
        _ensure_utf8()
    try:
        return _dispatch(list(sys.argv[1:] if argv is None else argv))
    except IonianError as error:
        if os.environ.get("IONIAN_DEBUG"):
            raise
        sys.stderr.write(f"ionian: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone. Point stdout elsewhere, or the interpreter complains when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _ensure_utf8() -> None:
    """Where the locale's character set is not UTF-8, start again in Python's UTF-8 mode: one name for one file, for us
    and all we start, whatever their locale. What is printed stays in the terminal's set, as far as that goes.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    printed = {"PYTHONIOENCODING": f"{sys.stdout.encoding}:replace"}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**printed, **os.environ, "PYTHONUTF8": "1"})


def _dispatch(arguments: list[str]) -> int:
    home, arguments = split_home(arguments)
    verb = arguments[0] if arguments else "--help"
    if verb in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        return 0
    if verb in ("-V", "--version"):
        sys.stdout.write(f"ionian {__version__}\n")
        return 0
    if verb.startswith("-"):
        raise InvalidRequest(f"unknown option {verb}; see `ionian --help`")
    if sys.platform != "linux":  # before anything that only Linux has is imported
        raise FailedPrecondition(
            f"Ionian runs on Linux only, this is {sys.platform}: use a Linux machine, or a virtual one (WSL 2)"
        )
    module = importlib.import_module(f"ionian.commands.{verb if verb in VERBS else 'client'}")
    rest = arguments[1:] if verb in VERBS else arguments
    code: int = module.run(rest, home)
    sys.stdout.flush()
    return code


def split_home(arguments: list[str]) -> tuple[str | None, list[str]]:
    """Take ``--home DIR`` or ``--home=DIR`` out, wherever it stands before a ``--``."""
    home: str | None = None
    rest: list[str] = []
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        if argument == "--":
            rest += arguments[position:]
            break
        if argument == "--home":
            position += 1
            home = arguments[position] if position < len(arguments) else ""
        elif argument.startswith("--home="):
            home = argument.removeprefix("--home=")
        else:
            rest.append(argument)
        position += 1
    if home == "":
        raise InvalidRequest("--home needs a directory, such as --home ~/.ionian")
    return home, rest
