"""Tokens: who may speak to this server. Only a digest of the secret is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable

from ionian.errors import FailedPrecondition, NotFound
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
    """The row of a token that is taken, with its right secret. Compares in constant time, also for an unknown id."""
    row = tx.one("SELECT * FROM tokens WHERE token_id = ?", token_id)
    expected = row["secret_sha256"] if row else digest("")
    right = hmac.compare_digest(expected, digest(secret))
    return row if row is not None and right and not row["disabled"] else None


def get(tx: Tx, token_id: str) -> Row:
    """The token's row. Raises NotFound."""
    row = tx.one("SELECT * FROM tokens WHERE token_id = ?", token_id)
    if row is None:
        raise NotFound(f"token {token_id} not found")
    return row


def valid(tx: Tx, token_id: str) -> Row:
    """The row of a token that is taken. Raises NotFound."""
    row = get(tx, token_id)
    if row["disabled"]:
        raise NotFound(f"token {token_id} is disabled")
    return row


def every(tx: Tx) -> list[Row]:
    """All tokens, oldest first."""
    return tx.all("SELECT token_id, name, created_at, disabled FROM tokens ORDER BY created_at, token_id")


def disable(tx: Tx, token_ids: Iterable[str], disabled: bool) -> None:
    """Take these no more, or again. All or none. Raises NotFound, FailedPrecondition for the home's own."""
    for token_id in token_ids:
        removable(tx, token_id)
        tx.execute("UPDATE tokens SET disabled = ? WHERE token_id = ?", int(disabled), token_id)


def removable(tx: Tx, token_id: str) -> None:
    """Raises NotFound, FailedPrecondition for the home's own token."""
    if get(tx, token_id)["name"] == FIRST:
        raise FailedPrecondition(
            f"token {token_id} is this server's own, for `ionian env`: it stays as it is. To have another one, remove "
            "token.json from its home while it is down"
        )


def delete(tx: Tx, token_id: str) -> None:
    """This token is valid no more."""
    tx.execute("DELETE FROM tokens WHERE token_id = ?", token_id)
