"""For the process runtime: absolute paths of layers, provided on the host by symbolic links that are removed again.

Invariants: nothing that exists on the host is ever replaced, except a link of our own; a link is recorded in
``links.json`` before it is made; every link of ours points into ``trees``, whose directories are named by content.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ionian.errors import InvalidRequest
from ionian.runtimes import trees

_HOME = "/root"  # what is below it and ends in .py is found through the working directory
_VENV = "/usr/local"
_OURS = re.compile(r"(.+)/base/trees/[0-9a-f]{32}/it")


@dataclass(slots=True)
class Link:
    target: str
    owners: list[str]


class Links:
    """The links of one worker, kept under ``state``. ``root`` is the host's root directory (another one in tests)."""

    def __init__(self, state: Path, root: Path = Path("/")) -> None:
        self._file = state / "links.json"
        self._trees = state / "trees"
        self._root = root
        self._links: dict[str, Link] = {}
        if self._file.exists():
            stored = json.loads(self._file.read_text())
            self._links = {path: Link(entry["target"], list(entry["owners"])) for path, entry in stored.items()}

    def provide(self, layers: tuple[Path, ...], owner: str) -> None:
        """Make every path of the layers (bottom first) exist. Raises InvalidRequest naming the path, making none."""
        wanted = dict(self._wanted(list(reversed(layers)), self._root, ""))
        missing = {path: sources for path, sources in wanted.items() if not self._has(path, sources, owner)}
        for path in missing:
            self._refuse(path, str(self._tree(wanted[path])), owner)
        for path, sources in missing.items():
            tree = self._tree(sources)
            self._materialise(tree, sources)
            link = self._links.get(path)
            owners = sorted({*(link.owners if link is not None else ()), owner})
            self._links[path] = Link(str(tree), owners)
            self._save()
            self._point(path, tree)
        if missing:
            self._drop_trees()

    def keep(self, owners: Collection[str]) -> None:
        """Remove every link that none of these owners has."""
        for owner in {name for link in self._links.values() for name in link.owners}.difference(owners):
            self.release(owner)

    def _has(self, path: str, sources: Sequence[Path], owner: str) -> bool:
        """Whether this owner's link is there already, with these files behind it."""
        link, tree = self._links.get(path), self._tree(sources)
        recorded = link is not None and owner in link.owners and link.target == str(tree)
        return recorded and _read_link(path) == str(tree / "it") and os.path.lexists(tree / "it")

    def release(self, owner: str) -> None:
        """Remove the links that only this owner has."""
        for path, link in list(self._links.items()):
            if owner not in link.owners:
                continue
            link.owners.remove(owner)
            if not link.owners:
                if self._is_ours(path):
                    os.unlink(path)
                del self._links[path]
        self._save()
        self._drop_trees()

    def _wanted(self, sources: Sequence[Path], host: Path, inside: str) -> Iterator[tuple[str, list[Path]]]:
        """The highest paths that are not on the host, with what each is merged from. ``inside``: path in the layers."""
        for name, paths in trees.merge(sources).items():
            path, here = f"{inside}/{name}", host / name
            if path == _VENV or not _needed(path, paths):
                continue
            made = self._is_ours(str(here)) or _OURS.fullmatch(_read_link(str(here)))
            if paths[0].is_dir() and not paths[0].is_symlink() and here.is_dir() and not made:
                yield from self._wanted(paths, here, path)
            else:
                yield str(here), paths

    def _refuse(self, path: str, target: str, owner: str) -> None:
        """Raise when ``path`` is taken: by the host, or by another owner's link to something else."""
        if not os.path.lexists(path):
            parent = os.path.dirname(path)
            if not os.access(parent, os.W_OK | os.X_OK):
                raise InvalidRequest(
                    f"cannot provide {path}: no permission to write to {parent}. Mount it where this user may write, "
                    f"such as /tmp/{os.path.basename(path)}, or run Ionian as root, or where namespaces work"
                )
            return
        if not self._is_ours(path):
            raise InvalidRequest(
                f"cannot provide {path}: it exists on this machine{_whose(_read_link(path))} and is never overwritten. "
                "Move it away, mount yours at another path, or run Ionian where namespaces work"
            )
        link = self._links.get(path)
        others = [name for name in link.owners if name != owner] if link is not None else []
        if others and link is not None and link.target != target:
            raise InvalidRequest(
                f"cannot provide {path}: app {', '.join(others)} has other files there. Stop that app, or mount it at "
                "another path"
            )

    def _tree(self, sources: Sequence[Path]) -> Path:
        """Where the merged copy of ``sources`` lives. Layers are named by content, so their paths say what it is."""
        key = "\n".join(str(source) for source in sources)
        return self._trees / hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32]

    def _materialise(self, tree: Path, sources: Sequence[Path]) -> None:
        """A copy, so that an app that writes there does not change the layer. ``tree/it`` is the file or directory."""
        if os.path.lexists(tree / "it"):
            return
        aside = tree.with_name(f"{tree.name}.tmp")
        for leftover in (aside, tree):
            trees.finish(trees.removal(leftover))
        aside.mkdir(parents=True)
        if sources[0].is_dir() and not sources[0].is_symlink():
            trees.finish(trees.build(sources, aside / "it", trees.copy))
        elif sources[0].is_symlink():
            (aside / "it").symlink_to(os.readlink(sources[0]))
        else:
            trees.copy(sources[0], aside / "it", sources[0].stat())
        aside.rename(tree)

    def _point(self, path: str, tree: Path) -> None:
        """Make or atomically replace our link."""
        if _read_link(path) == str(tree / "it"):
            return
        aside = f"{path}.ionian-{os.getpid()}"
        try:
            if not os.path.lexists(path):
                os.symlink(tree / "it", path)  # fails rather than replaces, should somebody be quicker
                return
            os.symlink(tree / "it", aside)
            os.replace(aside, path)
        except OSError as error:
            raise InvalidRequest(f"cannot provide {path}: {error.strerror}") from error

    def _is_ours(self, path: str) -> bool:
        return _read_link(path).startswith(f"{self._trees}/")

    def _drop_trees(self) -> None:
        """Remove the trees that no link points to."""
        used = {Path(link.target).name for link in self._links.values()}
        if self._trees.is_dir():
            for name in set(os.listdir(self._trees)) - used:
                trees.finish(trees.removal(self._trees / name))

    def _save(self) -> None:
        """Durably, and before what it says is done."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        aside = self._file.with_suffix(".tmp")
        stored = {path: {"target": link.target, "owners": link.owners} for path, link in self._links.items()}
        with aside.open("w") as file:
            json.dump(stored, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self._file)


def _whose(target: str) -> str:
    """What a link in the way is, in brackets; empty when there is none."""
    if found := _OURS.fullmatch(target):
        home = found[1]
        hint = f"`ionian down --home {home}` removes it" if os.path.isdir(home) else "which is gone: remove the link"
        return f" (a link of another Ionian home, {home}: {hint})"
    return f" (a link to {target})" if target else ""


def _read_link(path: str) -> str:
    """Where the link at ``path`` points; empty when there is none."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _needed(path: str, sources: Sequence[Path]) -> bool:
    """Whether the working directory does not provide it already: only Python files below the home directory are."""
    if not f"{path}/".startswith(f"{_HOME}/"):
        return True
    if path == _HOME:
        return True
    if sources[0].is_dir() and not sources[0].is_symlink():
        return any(_needed(f"{path}/{name}", paths) for name, paths in trees.merge(sources).items())
    return not path.endswith((".py", ".pyc"))
