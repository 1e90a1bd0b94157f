"""What user code expects around itself: import path, environment variables, prompt output."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import select
import sys
import urllib.parse
from typing import Any

from . import frames, interactive
from .spec import Launch


def prepare(launch: Launch, library: str, container_id: str) -> None:
    """Change this process so that the user's module can be imported. ``library`` leaves sys.path again."""
    streams()
    interactive.install()
    sys.path[:] = search_path(launch, library, sys.path)
    sys.argv[:] = [launch.module_name]
    front = [path for path in (launch.code_root, launch.client_path, os.environ.get("PYTHONPATH", "")) if path]
    os.environ.update(
        MODAL_IS_REMOTE="1",
        MODAL_TASK_ID=container_id,
        MODAL_FUNCTION_ID=launch.function_id,
        PYTHONPATH=os.pathsep.join(front),
    )
    os.environ.setdefault("PYTHONUNBUFFERED", "1")  # for children: their prints appear at once too
    os.environ.setdefault("MODAL_CLOUD_PROVIDER", "local")
    os.environ.setdefault("MODAL_REGION", "local")
    if launch.server_url:
        os.environ["MODAL_SERVER_URL"] = launch.server_url
    if launch.environment_name:
        os.environ["MODAL_ENVIRONMENT"] = launch.environment_name
    _reach_server()


def _reach_server() -> None:
    """Programs started in here find the server too: past a proxy, and with the token that newer clients overlook."""
    host = urllib.parse.urlsplit(os.environ.get("MODAL_SERVER_URL", "")).hostname
    for name in ("NO_PROXY", "no_proxy"):
        if host:
            os.environ[name] = ",".join(filter(None, (os.environ.get(name, ""), host)))
    token_id, secret = os.environ.get("MODAL_TOKEN_ID", ""), os.environ.get("MODAL_TOKEN_SECRET", "")
    if token_id and secret:  # since 1.6; clients in containers take no tokens from the environment
        headers = f"x-modal-token-id:{token_id},x-modal-token-secret:{secret}"
        os.environ.setdefault("MODAL_OVERRIDE_HEADERS", headers)


def search_path(launch: Launch, library: str, present: list[str]) -> list[str]:
    """The user's code, then the client, then the image's own packages, then the client's dependencies."""
    front = [path for path in (launch.code_root, launch.client_path) if path]
    back = [launch.deps_path] if launch.deps_path else []
    ours = {"", library, *front, *back}
    return front + [path for path in present if path not in ours] + back


def install_compat(library: str) -> None:
    """Give retired names of the client back to the user's code."""
    sys.path.insert(0, library)
    try:
        importlib.import_module("ionian_compat").install()
    finally:
        sys.path.remove(library)


def streams() -> None:
    """Lines leave at once, and text that the terminal's encoding lacks never stops a program."""
    if os.environ.pop("IONIAN_STREAM_MARKS", ""):
        sys.stderr = io.TextIOWrapper(_MarkedError(), "utf-8", "backslashreplace", line_buffering=True)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True, write_through=False, errors="backslashreplace")


class _MarkedError(io.RawIOBase):
    """stderr of Python code, sent through stdout's pipe between marks: both streams keep their common order."""

    name = "<stderr>"
    mode = "w"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2  # what child processes inherit

    def write(self, data: Any) -> int:
        whole = bytes(data)
        room = select.PIPE_BUF - len(frames.STDERR_BEGINS) - len(frames.STDERR_ENDS)
        for start in range(0, len(whole), room):
            os.write(1, frames.STDERR_BEGINS + whole[start : start + room] + frames.STDERR_ENDS)
        return len(whole)


def say(text: str) -> None:
    """Print to stderr, where the logs take it. A program that closed or replaced its stream goes on without."""
    with contextlib.suppress(Exception):  # user code may have put anything in its place, also None
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def flush() -> None:
    """Push out what user code has printed; a stream that is closed, or is no stream, is the user's own doing."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
