"""Tokens of containers: derived from the container's name with a key of the home, so that none is ever stored.

A right secret says which container speaks, not that it is still there: whoever asks must look for it among the living.
"""

from __future__ import annotations

import hashlib
import hmac

PREFIX = "ct-"
KEY_BYTES = 32


def mint(key: bytes, container_id: str) -> tuple[str, str]:
    """The token of a container: id and secret. The same each time."""
    token_id = PREFIX + container_id
    return token_id, "as-" + hmac.new(key, token_id.encode(), hashlib.sha256).hexdigest()


def container_of(key: bytes, token_id: str, secret: str) -> str | None:
    """The container that this token names; None when its secret is wrong. Compares in constant time."""
    if not token_id.startswith(PREFIX):
        return None
    container_id = token_id.removeprefix(PREFIX)
    right = hmac.compare_digest(mint(key, container_id)[1].encode(), secret.encode())
    return container_id if right else None
