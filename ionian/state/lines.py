"""Who waits for items of a queue partition, in the order of coming. Items are handed over, never raced for.

A line is served by one task at a time: one transaction takes items for as many waiters, from the front, as there are
items for. Whoever gets nothing is not woken. What was taken for a waiter that has gone meanwhile goes back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from ionian.errors import IonianError, NotFound, Unavailable
from ionian.state import queues
from ionian.state.database import Database, Tx
from ionian.state.queues import NOTHING, Given

Place = tuple[str, bytes]  # queue id and partition key


class Waiter:
    """One request for items. ``done`` has what it was given, NOTHING when its time is over, or how it failed.

    ``done`` of one that just came is None when there is nothing yet: from then on it waits, with a new ``done``.
    """

    __slots__ = ("_line", "_timer", "count", "done", "request_key", "timeout_s", "waits")

    def __init__(self, line: _Line, count: int, request_key: str, timeout_s: float) -> None:
        self._line = line
        self._timer: asyncio.TimerHandle | None = None
        self.count = count
        self.request_key = request_key
        self.timeout_s = timeout_s
        self.waits = False  # it came and there was nothing
        self.done: asyncio.Future[Given | None] = asyncio.get_running_loop().create_future()

    def looked(self) -> None:
        """There was nothing for it when it came."""
        if self.done.done():  # it has gone
            self._line.leave(self)
        elif self.timeout_s <= 0:
            self._line.leave(self)
            self.done.set_result(NOTHING)
        else:
            loop, first = asyncio.get_running_loop(), self.done
            self.done = loop.create_future()
            self.done.add_done_callback(self._left)
            self._timer = loop.call_later(self.timeout_s, self._over)
            self.waits = True
            first.set_result(None)

    def _over(self) -> None:
        if not self.done.done():
            self.done.set_result(NOTHING)

    def _left(self, done: asyncio.Future[Given | None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._line.leave(self)

    def give_up(self) -> None:
        """Whoever asked has gone. What it was given and was not sent goes back to the front."""
        done = self.done
        self._line.leave(self)
        if done.cancel() or done.cancelled() or done.exception() is not None:
            return
        self.undo(done.result())

    def undo(self, given: Given | None) -> None:
        """Return what this request was given, for it was not sent."""
        if given is not None and given.values:
            self._line.put_back(given, self.request_key)


class _Line:
    """``waiters`` is ordered; ``fresh`` are those of them who have not been looked at."""

    __slots__ = ("_lines", "again", "busy", "fresh", "place", "waiters")

    def __init__(self, lines: Lines, place: Place) -> None:
        self._lines = lines
        self.place = place
        self.waiters: dict[Waiter, None] = {}
        self.fresh: list[Waiter] = []
        self.busy = False
        self.again = False  # something happened while it was served

    def leave(self, waiter: Waiter) -> None:
        self.waiters.pop(waiter, None)
        if not self.waiters and not self.busy:
            self._lines.end(self)

    def put_back(self, given: Given, request_key: str) -> None:
        self._lines.start(self._lines.put_back(self.place, given, request_key))

    async def serve(self, database: Database, clock: Callable[[], float]) -> None:
        self.busy = self.again = True
        try:
            while self.again and self.waiters:
                self.again = False
                try:
                    self._hand_over(*await database.write(self._take, clock))
                except IonianError as error:
                    self._fail(error)
        except BaseException:
            self._fail(Unavailable("items could not be taken: the server is stopping, or its log says why"))
            raise
        finally:
            self.busy = False
            if not self.waiters:
                self._lines.end(self)

    def _take(self, tx: Tx, clock: Callable[[], float]) -> tuple[list[Waiter], list[Given], list[Waiter]]:
        """Runs in the transaction: whoever is there now, and as many as there are items for."""
        asked: list[Waiter] = []

        def wanted() -> Iterator[tuple[str, int]]:
            for waiter in self.waiters:
                if not waiter.done.done():
                    asked.append(waiter)
                    yield waiter.request_key, waiter.count

        fresh, self.fresh = self.fresh, []
        return asked, queues.take(tx, *self.place, wanted(), clock()), fresh

    def _hand_over(self, asked: list[Waiter], given: list[Given], fresh: list[Waiter]) -> None:
        for waiter, items in zip(asked, given, strict=True):
            self.waiters.pop(waiter, None)
            if waiter.done.done():
                waiter.undo(items)
            else:
                waiter.done.set_result(items)
        for waiter in fresh:
            if waiter in self.waiters:
                waiter.looked()

    def _fail(self, error: Exception) -> None:
        self.fresh = []
        waiters, self.waiters = self.waiters, {}
        for waiter in waiters:
            if not waiter.done.done():
                waiter.done.set_exception(error)


class Lines:
    """All lines of one server. Belongs to one event loop."""

    _database: Database
    _clock: Callable[[], float]

    def __init__(self) -> None:
        self._lines: dict[Place, _Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def bind(self, database: Database, clock: Callable[[], float]) -> None:
        """Where the items are. Before anything else."""
        self._database, self._clock = database, clock

    def join(self, place: Place, count: int, request_key: str, timeout_s: float, again: bool) -> Waiter:
        """Stand at the end of a line. ``again``: the same request may stand there already; that one is over then."""
        line = self._lines.get(place)
        if line is None:
            line = self._lines[place] = _Line(self, place)
        if again and request_key:
            for other in [other for other in line.waiters if other.request_key == request_key]:
                other.give_up()
            self._lines[place] = line  # it may have been empty for a moment
        waiter = Waiter(line, count, request_key, timeout_s)
        rests = bool(line.waiters) and not line.busy  # others wait already: so there is nothing to take
        line.waiters[waiter] = None
        if rests:
            waiter.looked()
        else:
            line.fresh.append(waiter)
            self.serve(place)
        return waiter

    def end(self, line: _Line) -> None:
        """Nobody stands in it any more."""
        if self._lines.get(line.place) is line:
            del self._lines[line.place]

    def waiting(self, queue_id: str) -> list[Place]:
        """The lines of one queue."""
        return [place for place in self._lines if place[0] == queue_id]

    def serve(self, place: Place) -> None:
        """There may be items: give them to those who wait, if any do."""
        line = self._lines.get(place)
        if line is None:
            return
        line.again = True
        if not line.busy:
            line.busy = True
            self.start(line.serve(self._database, self._clock))

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def put_back(self, place: Place, given: Given, request_key: str) -> None:
        """Return items to the front; then the first in line gets them. Of a queue that was deleted they are gone."""
        with contextlib.suppress(NotFound):
            if await self._database.write(queues.put_back, *place, given, request_key, self._clock()):
                self.serve(place)
