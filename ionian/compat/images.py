"""``Image.copy_local_file``, ``copy_local_dir`` and ``copy_mount``: today's ``add_local_*`` with ``copy=True``."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from .mounts import Mount
from .notes import note

_WORKDIR = "/root"  # where a relative target of a COPY lands, unless the image changed it


def restore(modal: ModuleType) -> None:
    """Add the retired methods that this client lacks."""
    for method in (copy_local_file, copy_local_dir, copy_mount):
        if not hasattr(modal.Image, method.__name__):
            setattr(modal.Image, method.__name__, method)


def copy_local_file(self: Any, local_path: Any, remote_path: Any = "./") -> Any:
    """Copy a file into the image while it is built. A relative target is below /root."""
    _said("copy_local_file", "add_local_file")
    target = str(remote_path)
    place = PurePosixPath(_WORKDIR, target)
    if target.endswith("/") or place == PurePosixPath(_WORKDIR):
        place = place / Path(local_path).name
    return self.add_local_file(local_path, str(place), copy=True)


def copy_local_dir(self: Any, local_path: Any, remote_path: Any = ".", ignore: Any = ()) -> Any:
    """Copy a directory into the image while it is built. A relative target is below /root."""
    _said("copy_local_dir", "add_local_dir")
    rules = ignore if callable(ignore) else list(ignore)
    return self.add_local_dir(local_path, str(PurePosixPath(_WORKDIR, remote_path)), copy=True, ignore=rules)


def copy_mount(self: Any, mount: Mount, remote_path: Any = ".") -> Any:
    """Copy the files of a mount into the image while it is built."""
    if str(remote_path) not in (".", "/"):
        raise NotImplementedError("Image.copy_mount with a remote_path is not supported; give it to the Mount")
    return mount.apply(self, copy=True)


def _said(old: str, new: str) -> None:
    note(f"Image.{old} is retired: used as Image.{new}(..., copy=True)")
