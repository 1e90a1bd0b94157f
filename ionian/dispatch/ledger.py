"""What dispatch has decided and not yet done: written first, all that wait in one commit, then acted upon.

So a killed server has promised nothing that is not in the rows, and the rows say what it may have begun.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from ionian.dispatch.links import ControlLink
from ionian.dispatch.running import Running
from ionian.errors import ResourceExhausted, Unavailable
from ionian.model import InputRef, JournalEntries, Journalled, OpenInput, OutputRecord
from ionian.runner import frames

AGAIN_S = 1.0  # seconds between tries to write while the disk is full
log = logging.getLogger("ionian.dispatch")

Journal = Callable[[JournalEntries], Awaitable[Journalled]]


class Ledger:
    """``again``: inputs that may be queued once more. ``claimed``: inputs that may be sent, as their rows have them."""

    def __init__(
        self,
        journal: Journal,
        again: Callable[[Iterable[OpenInput]], None],
        claimed: Callable[[list[Running], Iterable[InputRef | None]], None],
    ) -> None:
        self._journal = journal
        self._do_again = again
        self._do_claimed = claimed
        self._ends: list[tuple[OutputRecord, ControlLink | None]] = []
        self._again: list[tuple[OpenInput, ControlLink | None]] = []
        self._claims: list[Running] = []
        self._decided = asyncio.Event()

    @property
    def waits(self) -> bool:
        """Something is decided and not yet written."""
        return bool(self._ends or self._again or self._claims)

    def end(self, record: OutputRecord, link: ControlLink | None = None) -> None:
        """An input has ended. ``link``: who reported it and waits for the acknowledgement."""
        self._ends.append((record, link))
        self._decided.set()

    def again(self, opened: OpenInput, link: ControlLink | None = None) -> None:
        """An attempt has ended, and there is another."""
        self._again.append((opened, link))
        self._decided.set()

    def claim(self, running: Running) -> None:
        """An input is about to be sent into its container."""
        self._claims.append(running)
        self._decided.set()

    async def loop(self) -> None:
        """Write decisions as they come and act on them. Runs until cancelled."""
        while True:
            await self._decided.wait()
            self._decided.clear()
            try:
                await self.flush()
            except (ResourceExhausted, Unavailable) as error:
                log.error("the journal cannot be written now, trying again: %s", error)
                await asyncio.sleep(AGAIN_S)
                self._decided.set()

    async def flush(self) -> None:
        """Commit every decision so far and act on it. What cannot be written is kept for the next time."""
        ends, self._ends = self._ends, []
        again, self._again = self._again, []
        claims, self._claims = self._claims, []
        if not (ends or again or claims):
            return
        entries = JournalEntries(
            tuple(record for record, _ in ends),
            tuple(opened for opened, _ in again),
            tuple((running.input.input_id, running.slot.container_id) for running in claims),
        )
        try:
            done = await self._journal(entries)
        except BaseException:
            self._ends, self._again, self._claims = ends + self._ends, again + self._again, claims + self._claims
            raise
        for record, link in ends:
            _acknowledge(record.input_id, link)
        for opened, link in again:
            _acknowledge(opened.input_id, link)
        self._do_again(opened for (opened, _), is_open in zip(again, done.again, strict=True) if is_open)
        self._do_claimed(claims, done.claimed)


def _acknowledge(input_id: str, link: ControlLink | None) -> None:
    if link is not None:
        link.send(frames.ACK, {"id": input_id})
