"""Writes what dispatch decides and what generators yield, then wakes whoever waits for it. What cannot be written now
is kept and tried again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from ionian.dispatch.ledger import AGAIN_S
from ionian.errors import ResourceExhausted, Unavailable
from ionian.model import JournalEntries, Journalled
from ionian.state import calls
from ionian.state.database import Database, Tx
from ionian.state.watch import Watch, call_topic

log = logging.getLogger("ionian")

Item = tuple[str, int, int, bytes]  # call, position, data format, data


class Recorder:
    """``call_of`` names the call of an input that runs in a container; None for one that does not."""

    def __init__(self, database: Database, watch: Watch, call_of: Callable[[str, str], str | None]) -> None:
        self._database = database
        self._watch = watch
        self._call_of = call_of
        self._items: list[Item] = []
        self._came = asyncio.Event()

    async def journal(self, entries: JournalEntries) -> Journalled:
        """Write what dispatch has decided, then wake whoever waits for it."""
        done = await self._database.write(calls.commit, entries)
        for call_id in {record.call_id for record in entries.ends}:
            self._watch.notify(call_topic(call_id))
        return done

    def item(self, container_id: str, header: dict[str, Any], payload: bytes) -> None:
        """A container has yielded one item of a generator."""
        call_id = self._call_of(header["id"], container_id)
        if call_id is not None:
            self._items.append((call_id, int(header["index"]), int(header["data_format"]), payload))
            self._came.set()

    async def loop(self) -> None:
        """Write items in the order in which they came, all that wait in one commit. Runs until cancelled."""
        while True:
            await self._came.wait()
            self._came.clear()
            try:
                await self.flush()
            except (ResourceExhausted, Unavailable) as error:
                log.error("items of generators cannot be written now, trying again: %s", error)
                await asyncio.sleep(AGAIN_S)
                self._came.set()

    async def flush(self) -> None:
        """Commit every item so far, then wake who waits for them."""
        batch, self._items = self._items, []
        try:
            await self._database.write(_add_all, batch)
        except BaseException:
            self._items = batch + self._items
            raise
        for call_id in {item[0] for item in batch}:
            self._watch.notify(call_topic(call_id))


def _add_all(tx: Tx, items: list[Item]) -> None:
    for call_id, position, data_format, data in items:
        calls.add_item(tx, call_id, position, data_format, data)
