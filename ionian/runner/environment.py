"""What user code expects around itself: import path, working directory, environment variables, prompt output."""

from __future__ import annotations

import os
import sys

from .spec import Launch


def prepare(launch: Launch, library: str, container_id: str) -> None:
    """Change this process so that the user's module can be imported. ``library`` leaves sys.path again."""
    streams()
    sys.path[:] = search_path(launch, library, sys.path)
    sys.argv[:] = [launch.module_name]
    if launch.code_root and os.path.isdir(launch.code_root):
        os.chdir(launch.code_root)
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


def search_path(launch: Launch, library: str, present: list[str]) -> list[str]:
    """The user's code, then the client, then the image's own packages, then the client's dependencies."""
    front = [path for path in (launch.code_root, launch.client_path) if path]
    back = [launch.deps_path] if launch.deps_path else []
    ours = {"", library, *front, *back}
    return front + [path for path in present if path not in ours] + back


def streams() -> None:
    """Lines leave at once, and text that the terminal's encoding lacks never stops a program."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True, errors="backslashreplace")


def flush() -> None:
    """Push out what user code has printed; a closed stream is the user's own doing."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
