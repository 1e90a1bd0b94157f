"""Tokens that the database has found right: every RPC shows one, and the next need not ask again.

Only what is right is kept. A token that is about to be deleted is doubted first, and from then on always asked for.
"""

from __future__ import annotations

import hmac

from ionian.state import tokens
from ionian.state.database import Database

MOST = 1000  # tokens; beyond that the oldest is asked for again


class KnownTokens:
    """Digests of secrets by token id, as the database has them."""

    def __init__(self) -> None:
        self._digests: dict[str, str] = {}
        self._doubted: set[str] = set()

    async def right(self, database: Database, token_id: str, secret: str) -> bool:
        """Whether this is the token's secret. Takes the same time for every wrong secret of a token."""
        given = tokens.digest(secret)
        known = self._digests.get(token_id)
        if known is not None:
            return hmac.compare_digest(known, given)
        if await database.read(tokens.check, token_id, secret) is None:
            return False
        if token_id not in self._doubted:
            if len(self._digests) >= MOST:
                del self._digests[next(iter(self._digests))]
            self._digests[token_id] = given
        return True

    def doubt(self, token_id: str) -> None:
        """Ask the database about this one from now on. To be called before its row is deleted, not after."""
        self._doubted.add(token_id)
        self._digests.pop(token_id, None)
