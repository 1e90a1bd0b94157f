"""``modal run -i`` inside the container: the debugger and ``modal.interact()`` ask for somebody at the terminal.

Until then nobody types, and the client shows lines; from the mark on the client's own terminal is this one.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
from typing import Any

from . import frames

WANTED = "IONIAN_TERMINAL"  # set in the environment of a container that has a terminal
_REFUSAL = "Cannot use {} without running Modal in interactive mode."  # the client's words
_state = {"terminal": False, "begun": False}


def install() -> None:
    """Set up this process for user code: ``breakpoint()``, and Ctrl-C where there is a terminal to type it."""
    sys.breakpointhook = _breakpoint
    if not os.environ.pop(WANTED, ""):
        return
    _state["terminal"] = True
    signal.signal(signal.SIGINT, _interrupted)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=True)  # type: ignore[union-attr]  # a prompt has no newline


def begin(trigger: str) -> None:
    """From now on somebody types. Raises the client's InvalidError where there is no terminal."""
    if not _state["terminal"]:
        from modal.exception import InvalidError

        raise InvalidError(_REFUSAL.format(trigger))
    if not _state["begun"]:
        _state["begun"] = True
        announce()


def announce() -> None:
    """Tell the worker, between what is printed before and what is printed after."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.write(1, frames.TERMINAL_WANTED)


def _breakpoint(*args: Any, **kwargs: Any) -> None:
    begin("breakpoint()")
    import pdb

    frame = inspect.currentframe()
    assert frame is not None
    pdb.Pdb().set_trace(frame.f_back)


def _interrupted(number: int, frame: Any) -> None:
    """Ctrl-C, for whatever runs; between two inputs the runner waits in code of its own, and goes on."""
    name = frame.f_globals.get("__name__", "") if frame is not None else ""
    if not name.startswith(f"{__name__.partition('.')[0]}."):
        raise KeyboardInterrupt
