"""Blobs that clients upload and download over HTTP, and the tickets that allow it. The bytes are in the blob store."""

from __future__ import annotations

import hashlib
import secrets

from ionian.errors import NotFound
from ionian.model import new_id
from ionian.state.database import Row, Tx

PUT, GET = "PUT", "GET"


def create(tx: Tx, size: int, md5: str, sha256: str, now: float) -> str:
    """Announce a blob of ``size`` bytes; ``md5`` is base64, ``sha256`` hex, each empty when unknown. Returns its id."""
    blob_id = new_id("bl")
    tx.execute(
        "INSERT INTO blobs (blob_id, size, md5, sha256, stored, created_at) VALUES (?, ?, ?, ?, 0, ?)",
        blob_id,
        size,
        md5,
        sha256,
        now,
    )
    return blob_id


def add(tx: Tx, sha256: str, size: int, now: float) -> str:
    """A blob that the store has already."""
    blob_id = create(tx, size, "", sha256, now)
    stored(tx, blob_id, sha256, size)
    return blob_id


def stored(tx: Tx, blob_id: str, sha256: str, size: int) -> None:
    """The bytes are in the store."""
    tx.execute("UPDATE blobs SET sha256 = ?, size = ?, stored = 1 WHERE blob_id = ?", sha256, size, blob_id)


def get(tx: Tx, blob_id: str) -> Row:
    """A blob whose bytes are here. Raises NotFound."""
    row = tx.one("SELECT * FROM blobs WHERE blob_id = ? AND stored = 1", blob_id)
    if row is None:
        raise NotFound(f"blob {blob_id} not found, or its upload has not finished")
    return row


def ticket(tx: Tx, blob_id: str, verb: str, expires_at: float) -> str:
    """A secret that allows ``verb`` on this blob until a time (unix seconds)."""
    secret = secrets.token_urlsafe(24)
    tx.execute(
        "INSERT INTO blob_tickets (ticket, blob_id, verb, expires_at) VALUES (?, ?, ?, ?)",
        _digest(secret),
        blob_id,
        verb,
        expires_at,
    )
    return secret


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def admit(tx: Tx, secret: str, verb: str, now: float) -> Row:
    """The blob that this ticket opens. Raises NotFound when unknown, expired, or for another verb."""
    row = tx.one(
        "SELECT blobs.* FROM blob_tickets JOIN blobs ON blobs.blob_id = blob_tickets.blob_id "
        "WHERE ticket = ? AND verb = ? AND expires_at > ?",
        _digest(secret),
        verb,
        now,
    )
    if row is None:
        raise NotFound("this blob address is unknown or has expired")
    return row


def expire(tx: Tx, now: float) -> None:
    """Forget tickets that are over."""
    tx.execute("DELETE FROM blob_tickets WHERE expires_at <= ?", now)
