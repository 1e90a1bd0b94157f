"""Tokens that expire, as JSON Web Tokens: signed with a key of the caller, read by nobody but this server. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any


def sign(claims: dict[str, str | int], key: bytes) -> str:
    """The token of these claims (HS256). ``exp``: unix seconds."""
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
    return f"{signed}.{_encode(hmac.digest(key, signed.encode(), hashlib.sha256))}"


def claims_of(token: str) -> dict[str, Any]:
    """What a token claims, true or not. Raises ValueError for what is no token."""
    parts = token.split(".")
    if len(parts) != 3:
        raise ValueError("not a token")
    claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    if not isinstance(claims, dict):
        raise ValueError("not a token")
    return claims


def is_signed(token: str, key: bytes) -> bool:
    """Whether ``sign`` made this token with this key. Compares in constant time."""
    signed, _, signature = token.rpartition(".")
    right = _encode(hmac.digest(key, signed.encode(), hashlib.sha256))
    return hmac.compare_digest(right.encode(), signature.encode())


def _part(fields: dict[str, str | int]) -> str:
    return _encode(json.dumps(fields, separators=(",", ":")).encode())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
