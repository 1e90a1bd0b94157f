"""Layers on disk: ``layers/DIGEST/tree`` is data that nobody writes to, ``meta.json`` beside it says what it is.

A layer is whole or absent: it is made in a staging directory and renamed. What a crash left is removed when the store
opens. File data is not synced: after a power loss, not a kill, a layer may be damaged. That is noticed by ``sums``, the
layer is set aside, and the next deploy makes it anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ionian.blobs.store import BlobStore
from ionian.config import Config
from ionian.errors import InvalidRequest, NotFound
from ionian.images import sums
from ionian.model import MountFile

_STAGING = ".staging-"
DAMAGED = ".damaged-"
_MODES = {"tmp": 0o1777, "var/tmp": 0o1777, "root": 0o700}  # a layer's directory gives its mode to the one below


@dataclass(frozen=True, slots=True)
class LayerMeta:
    """What a layer is. ``packages``: "name==version" of what it installs."""

    what: str
    command: str
    parents: tuple[str, ...]
    packages: tuple[str, ...] = ()
    files: int = 0
    bytes: int = 0


class Layers:
    """All layers and client mounts of this machine."""

    def __init__(self, config: Config) -> None:
        self.root = config.layers
        self._mounts = config.home / "mounts"
        self._cache = config.uv_cache
        self._checked: set[str] = set()

    def clean(self) -> None:
        """Remove what a crash left half-made. Only before anything is being made."""
        for entry in self.staging():
            remove_tree(entry)

    def staging(self) -> list[Path]:
        """What is being made, or was left half-made."""
        return [entry for root in (self.root, self._mounts) for entry in root.glob(_STAGING + "*")]

    def has(self, digest: str) -> bool:
        return (self.root / digest / "meta.json").is_file()

    def path(self, digest: str) -> Path:
        """The tree of a layer, relative to the container's root. Raises NotFound."""
        if not self.has(digest):
            raise NotFound(f"image layer {digest[:12]} is not on this machine; deploy again to build it")
        return self.root / digest / "tree"

    def checked(self, digest: str) -> Path:
        """``path`` of a layer about to be used: at its first use, its files are those that it was made of, by size.

        One that is damaged is set aside: containers may still have it. Raises NotFound naming the file.
        """
        path = self.path(digest)
        if digest not in self._checked:
            if found := sums.misfit(path.parent):
                forget_cached(self._cache, path / found)
                self.set_aside(path.parent)
                raise NotFound(
                    f"image layer {digest[:12]} was damaged on disk ({found}) and is set aside; "
                    "deploy again to build it"
                )
            self._checked.add(digest)
        return path

    def set_aside(self, path: Path) -> None:
        """Take a damaged layer or mount out of use, without touching its files."""
        os.rename(path, path.with_name(f"{DAMAGED}{path.name}-{secrets.token_hex(4)}"))

    def meta(self, digest: str) -> LayerMeta:
        """Raises NotFound."""
        self.path(digest)
        raw = json.loads((self.root / digest / "meta.json").read_text())
        return LayerMeta(**{**raw, "parents": tuple(raw["parents"]), "packages": tuple(raw["packages"])})

    def current(self, key: str) -> str | None:
        """The layer made last for ``key``: the one of that digest, or what a forced build made in its stead."""
        ref = self.root / "refs" / key
        digest = ref.read_text() if ref.is_file() else key
        return digest if self.has(digest) else None

    def stage(self) -> Path:
        """A private directory with an empty ``tree``, on the file system of the store."""
        (self.root / "refs").mkdir(parents=True, exist_ok=True)
        path = self.root / (_STAGING + secrets.token_hex(8))
        (path / "tree").mkdir(parents=True)
        path.chmod(0o755)
        (path / "tree").chmod(0o755)
        return path

    def commit(self, stage: Path, key: str, meta: LayerMeta, *, force: bool = False) -> str:
        """Make the staged tree the layer of ``key``; returns its digest. An existing layer is kept unless ``force``.

        A forced one gets a digest of its own and becomes the current one: containers may still run on the old one.
        """
        digest = f"{key[:48]}{secrets.token_hex(8)}" if force and self.has(key) else key
        files, size = _weigh(stage / "tree")
        record = asdict(meta) | {"files": files, "bytes": size}
        if not (stage / sums.NAME).exists():
            sums.write(stage)
        for entry in stage.iterdir():
            if entry.name not in ("tree", sums.NAME):
                remove_tree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        _write_synced(stage / "meta.json", json.dumps(record, indent=1))
        if self.has(digest):
            remove_tree(stage)
            return digest
        os.rename(stage, self.root / digest)
        if digest != key:
            pointer = self.root / "refs" / f".{key}"
            _write_synced(pointer, digest)
            os.replace(pointer, self.root / "refs" / key)
        _sync_directory(self.root)
        return digest

    def mount_path(self, digest: str) -> Path:
        """Where the tree of a client mount is, once ``mount_layer`` made it."""
        return self._mounts / digest

    def mount_layer(self, files: Sequence[MountFile], digest: str, blobs: BlobStore) -> Path:
        """The tree of a client mount, made when it is not there. Raises NotFound naming a file without content.

        At its first use the files of one that is there are compared with their digests; a damaged one is made anew.
        """
        final = self.mount_path(digest)
        if digest not in self._checked and final.is_dir() and not _intact(final, files):
            self.set_aside(final)
        self._checked.add(digest)
        if final.is_dir():
            return final
        stage = self._mounts / (_STAGING + secrets.token_hex(8))
        try:
            stage.mkdir(parents=True)
            stage.chmod(0o755)
            for file in files:
                place(stage, file, blobs)
            try:
                os.rename(stage, final)
            except OSError:
                if not final.is_dir():  # else somebody has made it meanwhile
                    raise
        finally:
            remove_tree(stage)
        return final


def forget_cached(cache: Path, file: Path) -> None:
    """uv's cache may share a damaged file with a layer, as a hard link: what it was unpacked to is removed there."""
    if not file.exists() or os.lstat(file).st_nlink == 1:
        return
    same = os.lstat(file)
    for unpacked in cache.glob("archive-*/*"):
        for folder, _, names in os.walk(unpacked):
            if any(os.path.samestat(same, os.lstat(os.path.join(folder, name))) for name in names):
                remove_tree(unpacked)
                return


def inside(tree: Path, path: str) -> Path:
    """Where the container path ``path`` lies in ``tree``. Raises InvalidRequest when it would leave it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or not parts or "\0" in path:
        raise InvalidRequest(f"{path!r} is not a path of a file inside a container")
    return tree.joinpath(*parts)


def place(tree: Path, file: MountFile, blobs: BlobStore, mode: int = 0) -> None:
    """Put one file of a mount into ``tree``: a hard link of its blob where that will do, else a copy."""
    try:
        source = blobs.verified(file.sha256)
    except NotFound as error:
        raise NotFound(f"the content of {file.path} is not on this machine: {error}; deploy again") from error
    target = inside(tree, file.path)
    make_parents(tree, target)
    wanted = ((mode or file.mode or 0o644) & 0o777) | 0o444
    if not wanted & 0o111 and stat.S_IMODE(source.stat().st_mode) & 0o444 == 0o444:
        try:
            target.unlink(missing_ok=True)
            os.link(source, target)
            return
        except OSError:
            pass  # another file system, or too many links
    shutil.copyfile(source, target)
    target.chmod(wanted)


def _intact(tree: Path, files: Sequence[MountFile]) -> bool:
    """Whether each of these files has its content in ``tree``."""
    try:
        for file in files:
            with open(inside(tree, file.path), "rb") as content:
                if hashlib.file_digest(content, "sha256").hexdigest() != file.sha256:
                    return False
    except OSError:
        return False
    return True


def make_parents(tree: Path, target: Path) -> None:
    """The directories above ``target`` inside ``tree``, readable by every user whatever the umask is."""
    missing = []
    parent = target.parent
    while parent != tree and not parent.is_dir():
        missing.append(parent)
        parent = parent.parent
    for folder in reversed(missing):
        folder.mkdir(mode=0o755, exist_ok=True)
        folder.chmod(_MODES.get(str(folder.relative_to(tree)), 0o755))


def readable(tree: Path) -> None:
    """Let every user read ``tree`` (containers may run under another uid). Only for trees without private files."""
    for folder, _, names in os.walk(tree):
        for path, wanted in [(folder, 0o755), *((os.path.join(folder, name), 0o444) for name in names)]:
            status = os.lstat(path)
            if (stat.S_ISREG(status.st_mode) or path == folder) and status.st_mode & wanted != wanted:
                os.chmod(path, stat.S_IMODE(status.st_mode) | wanted)


def remove_tree(path: Path) -> None:
    """Remove a directory, also one with directories that were made read-only."""
    if not path.exists():
        return
    for folder, _, _ in os.walk(path):
        if not os.access(folder, os.W_OK | os.X_OK):
            os.chmod(folder, 0o700)
    shutil.rmtree(path, ignore_errors=False)


def _weigh(tree: Path) -> tuple[int, int]:
    files = size = 0
    for folder, _, names in os.walk(tree):
        for name in names:
            files, size = files + 1, size + os.lstat(os.path.join(folder, name)).st_size
    return files, size


def _write_synced(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
