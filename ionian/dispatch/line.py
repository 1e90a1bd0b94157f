"""Who waits for a slot, in order. To leave the middle of a long line costs nothing: the place stays, and is skipped."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol

from ionian.dispatch.slot import Slot
from ionian.errors import IonianError


class Waiter(Protocol):
    """Somebody in the queue: an HTTP request or an input of a call."""

    since: float  # unix seconds when it began to wait
    waiting: bool  # it stands in the line; the line keeps this

    def give(self, slot: Slot) -> bool:
        """Take the slot. False: no longer interested, the slot goes to the next."""

    def fail(self, error: IonianError) -> None: ...


class Line:
    """First come, first served. A waiter joins once in its life."""

    __slots__ = ("_empty", "_places")

    def __init__(self) -> None:
        self._places: deque[Waiter] = deque()
        self._empty = 0  # places of those who left

    def __len__(self) -> int:
        return len(self._places) - self._empty

    def __iter__(self) -> Iterator[Waiter]:
        return (waiter for waiter in self._places if waiter.waiting)

    def join(self, waiter: Waiter) -> None:
        waiter.waiting = True
        self._places.append(waiter)

    def leave(self, waiter: Waiter) -> bool:
        """True when it stood here."""
        if not waiter.waiting:
            return False
        waiter.waiting = False
        self._empty += 1
        if self._empty > 64 and self._empty > len(self._places) // 2:
            self._places = deque(self)
            self._empty = 0
        return True

    def first(self) -> Waiter | None:
        """Who is next; stays in the line."""
        while self._places and not self._places[0].waiting:
            self._places.popleft()
            self._empty -= 1
        return self._places[0] if self._places else None

    def next(self) -> Waiter:
        """Take the first out. Raises IndexError when nobody waits."""
        self.first()
        waiter = self._places.popleft()
        waiter.waiting = False
        return waiter

    def take_all(self) -> list[Waiter]:
        """Everybody, out of the line by it."""
        everybody = list(self)
        for waiter in everybody:
            waiter.waiting = False
        self._places.clear()
        self._empty = 0
        return everybody
