"""Tokens: who may speak to this server. Only a digest of the secret is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from ionian.errors import NotFound
from ionian.state.database import Row, Tx

FIRST = "first"  # name of the token that the server makes for its home


def mint() -> tuple[str, str]:
    """A fresh token: id and secret (176 random bits)."""
    return "ak-" + secrets.token_hex(11), "as-" + secrets.token_hex(22)


def digest(secret: str) -> str:
    """What is stored of a secret. Secrets are random and long, so a plain SHA-256 is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def ensure(tx: Tx, token_id: str, secret: str, name: str, now: float) -> None:
    """Make this token valid (again)."""
    tx.execute(
        "INSERT INTO tokens (token_id, secret_sha256, name, created_at) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (token_id) DO UPDATE SET secret_sha256 = excluded.secret_sha256",
        token_id,
        digest(secret),
        name,
        now,
    )


def replace_first(tx: Tx, token_id: str, secret: str, now: float) -> None:
    """Make this the home's own token. One that was it before is valid no more: removing its file replaces it."""
    tx.execute("DELETE FROM tokens WHERE name = ? AND token_id <> ?", FIRST, token_id)
    ensure(tx, token_id, secret, FIRST, now)


def check(tx: Tx, token_id: str, secret: str) -> Row | None:
    """The token's row when the secret is right. Compares in constant time, also for an unknown id."""
    row = tx.one("SELECT * FROM tokens WHERE token_id = ?", token_id)
    expected = row["secret_sha256"] if row else digest("")
    right = hmac.compare_digest(expected, digest(secret))
    return row if row is not None and right else None


def get(tx: Tx, token_id: str) -> Row:
    """The token's row. Raises NotFound."""
    row = tx.one("SELECT * FROM tokens WHERE token_id = ?", token_id)
    if row is None:
        raise NotFound(f"token {token_id} not found")
    return row


def delete(tx: Tx, token_id: str) -> None:
    """This token is valid no more."""
    tx.execute("DELETE FROM tokens WHERE token_id = ?", token_id)
