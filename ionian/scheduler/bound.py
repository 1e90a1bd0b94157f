"""Bound functions that take part: those that were used a short time ago, have containers, or have something to do.

A class may have as many of them as it has users. The rest are rows, and come back when somebody calls them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ionian.dispatch.dispatch import Dispatch
from ionian.state import functions
from ionian.state.database import Database, Tx

KEPT_S = 600.0  # seconds after its last call that an idle one stays
MOST = 256  # of them, before idle ones leave


class Bound:
    """``dispatch`` gives what the server has only later. ``changing`` is held while the live functions change."""

    def __init__(self, database: Database, dispatch: Callable[[], Dispatch], clock: Callable[[], float]) -> None:
        self._database = database
        self._dispatch = dispatch
        self._clock = clock
        self._used: dict[str, float] = {}
        self.changing = asyncio.Lock()

    async def enlist(self, function_id: str) -> bool:
        """Let a function take part, if its app runs. False for one that does not exist or whose app has stopped."""
        pool = self._dispatch().pools.get(function_id)
        if pool is not None and not pool.retired:
            if pool.spec.base_id:
                self._used[function_id] = self._clock()
            return True
        async with self.changing:
            spec = await self._database.read(functions.bound_spec, function_id)
            if spec is None:
                return False
            self._used[function_id] = self._clock()
            self._dispatch().enlist(spec)
            await self._let_go()
        return True

    def kept(self) -> list[str]:
        """Those that are to stay when the live functions change, whether or not they have something to do."""
        bound = {pool.spec.function_id for pool in self._dispatch().pools.values() if pool.spec.base_id}
        return sorted(bound - set(self._idle()))

    def _idle(self) -> list[str]:
        recent = self._clock() - KEPT_S
        return [
            function_id
            for function_id, pool in self._dispatch().pools.items()
            if pool.spec.base_id
            and not (pool.containers or pool.waiting or pool.spec.scaling.min_containers)
            and self._used.get(function_id, 0.0) < recent
        ]

    async def _let_go(self) -> None:
        if len(self._used) <= MOST:
            return
        idle = self._idle()
        working = await self._database.read(_working, idle)
        for function_id in set(idle).intersection(self._idle()) - working:
            self._dispatch().retire(function_id)
        self._used = {one: when for one, when in self._used.items() if one in self._dispatch().pools}


def _working(tx: Tx, function_ids: list[str]) -> set[str]:
    """Those with inputs that have not ended, wherever they wait."""
    query = "SELECT 1 AS one FROM inputs WHERE function_id = ? AND finished = 0 LIMIT 1"
    return {function_id for function_id in function_ids if tx.one(query, function_id)}
