"""Mounts: read-only files from the client. A mount is its listing: the same files are the same mount."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ionian.errors import AlreadyExists, NotFound
from ionian.model import MountFile, new_id
from ionian.state.database import Row, Tx

_PROVIDED = "provided:"  # digests of mounts without files that the server itself supplies
GLOBAL_NAMES = ("modal-client-mount-", "modal-client-dependencies-", "python-standalone")


def is_provided(digest: str) -> bool:
    """Whether this is a mount that the server supplies (the client's package), not files of the user."""
    return digest.startswith(_PROVIDED)


def get_or_create(tx: Tx, files: Sequence[MountFile], now: float) -> Row:
    """The mount of exactly these files, in any order."""
    ordered = sorted(files, key=lambda file: file.path)
    lines = "".join(f"{file.path}\0{file.sha256}\0{file.mode:o}\n" for file in ordered)
    row, fresh = _row(tx, hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest(), now)
    if fresh:
        tx.many(
            "INSERT INTO mount_files (mount_id, path, sha256, mode, size) VALUES (?, ?, ?, ?, ?)",
            [(row["mount_id"], file.path, file.sha256, file.mode, file.size) for file in ordered],
        )
    return row


def _row(tx: Tx, digest: str, now: float) -> tuple[Row, bool]:
    row = tx.one("SELECT * FROM mounts WHERE digest = ?", digest)
    if row:
        return row, False
    mount_id = new_id("mo")
    tx.execute("INSERT INTO mounts (mount_id, digest, created_at) VALUES (?, ?, ?)", mount_id, digest, now)
    return {"mount_id": mount_id, "digest": digest, "created_at": now}, True


def provided(tx: Tx, name: str, now: float) -> Row:
    """A global mount of the client (its own package, a standalone Python), which the server supplies itself.

    Raises NotFound for a name that is not one of those.
    """
    if not name.startswith(GLOBAL_NAMES):
        raise NotFound(f"global mount {name!r} does not exist on this server")
    return _row(tx, _PROVIDED + name, now)[0]


def name(tx: Tx, environment: str, name: str, mount_id: str, overwrite: bool) -> None:
    """Publish a mount under a name. Raises AlreadyExists."""
    if not overwrite and tx.one("SELECT * FROM mount_names WHERE environment = ? AND name = ?", environment, name):
        raise AlreadyExists(f"mount {name!r} exists already in environment {environment!r}")
    tx.execute(
        "INSERT INTO mount_names (environment, name, mount_id) VALUES (?, ?, ?) "
        "ON CONFLICT (environment, name) DO UPDATE SET mount_id = excluded.mount_id",
        environment,
        name,
        mount_id,
    )


def named(tx: Tx, environment: str, name: str) -> Row:
    """The mount published under a name. Raises NotFound."""
    row = tx.one("SELECT mount_id FROM mount_names WHERE environment = ? AND name = ?", environment, name)
    if row is None:
        raise NotFound(f"mount {name!r} not found in environment {environment!r}")
    return get(tx, row["mount_id"])


def get(tx: Tx, mount_id: str) -> Row:
    """The mount's row. Raises NotFound."""
    row = tx.one("SELECT * FROM mounts WHERE mount_id = ?", mount_id)
    if row is None:
        raise NotFound(f"mount {mount_id} not found")
    return row


def files(tx: Tx, mount_id: str) -> tuple[MountFile, ...]:
    """The files of a mount, by path."""
    rows = tx.all("SELECT * FROM mount_files WHERE mount_id = ? ORDER BY path", mount_id)
    return tuple(MountFile(row["path"], row["sha256"], row["mode"], row["size"]) for row in rows)
