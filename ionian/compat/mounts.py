"""``modal.Mount``: records which local files a program asks for, and adds them to an image when a function has one.

Nothing is read before the client uploads: a missing file is then the client's own error, and in a container none is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Union

from .notes import note, remote

_Path = Union[str, Path]  # noqa: UP007  evaluated by the oldest interpreters too
_Remote = Union[str, PurePosixPath, None]  # noqa: UP007
_CODE_ROOT = "/root"


class Mount:
    """Files of the local machine for a container, in the manner of clients before 1.0. Immutable."""

    def __init__(self, steps: tuple[Callable[..., Any], ...] = ()) -> None:
        self._steps = steps

    @classmethod
    def from_local_file(cls, local_path: _Path, remote_path: _Remote = None) -> Mount:
        """One file; at ``/NAME`` without ``remote_path``."""
        return cls().add_local_file(local_path, remote_path)

    @classmethod
    def from_local_dir(
        cls,
        local_path: _Path,
        *,
        remote_path: _Remote = None,
        condition: Callable[[str], bool] | None = None,
        recursive: bool = True,
    ) -> Mount:
        """The files of a directory for which ``condition(path)`` is true; at ``/NAME`` without ``remote_path``."""
        return cls().add_local_dir(local_path, remote_path=remote_path, condition=condition, recursive=recursive)

    @classmethod
    def from_local_python_packages(
        cls,
        *module_names: str,
        remote_dir: _Remote = _CODE_ROOT,
        condition: Callable[[str], bool] | None = None,
        ignore: Sequence[str] | Callable[[Path], bool] | None = None,
    ) -> Mount:
        """Local modules, importable in the container."""
        if str(remote_dir) != _CODE_ROOT:
            text = (
                f"Mount.from_local_python_packages(remote_dir={str(remote_dir)!r}) is not supported: only {_CODE_ROOT}"
            )
            raise NotImplementedError(text)
        options: dict[str, Any] = {}
        if condition is not None:
            wanted = condition
            options["ignore"] = lambda path: not wanted(str(path))
        elif ignore is not None:
            options["ignore"] = ignore
        return cls((lambda image, copy: image.add_local_python_source(*module_names, copy=copy, **options),))

    @classmethod
    def from_name(cls, name: str, *args: Any, **kwargs: Any) -> Mount:
        raise NotImplementedError(f"Mount.from_name({name!r}) was retired without a successor; use a modal.Volume")

    def add_local_file(self, local_path: _Path, remote_path: _Remote = None) -> Mount:
        local = Path(local_path).expanduser()
        target = str(PurePosixPath("/", remote_path if remote_path is not None else local.name))
        return self._with(lambda image, copy: image.add_local_file(local, target, copy=copy))

    def add_local_dir(
        self,
        local_path: _Path,
        *,
        remote_path: _Remote = None,
        condition: Callable[[str], bool] | None = None,
        recursive: bool = True,
    ) -> Mount:
        local = Path(local_path).expanduser()
        target = str(PurePosixPath("/", remote_path if remote_path is not None else local.absolute().name))

        def ignore(path: Path) -> bool:
            below = path.relative_to(local.absolute()) if path.is_absolute() else path
            if not recursive and len(below.parts) > 1:
                return True
            return condition is not None and not condition(str(local / below))

        return self._with(lambda image, copy: image.add_local_dir(local, target, copy=copy, ignore=ignore))

    def apply(self, image: Any, copy: bool = False) -> Any:
        """``image`` with these files; unchanged in a container, which has them already."""
        if remote():
            return image
        note("modal.Mount is retired: its files are added to the image (Image.add_local_file, add_local_dir)")
        for step in self._steps:
            image = step(image, copy)
        return image

    def _with(self, step: Callable[..., Any]) -> Mount:
        return Mount((*self._steps, step))


def apply(image: Any, mounts: Sequence[Any]) -> Any:
    """``image`` with the files of all ``mounts``."""
    for mount in mounts:
        if not isinstance(mount, Mount):
            raise TypeError(f"mounts= takes modal.Mount objects, not {type(mount).__name__}")
        image = mount.apply(image)
    return image
