"""Who reads the items of which generators now, and how far. In memory: a reader is a stream of this server.

A client that hears of a failure drops the items it has not looked at yet, so a failure waits for its items.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Reader:
    """One stream of items. ``position``: the last item that was handed over."""

    __slots__ = ("position",)

    def __init__(self, position: int) -> None:
        self.position = position


class Readers:
    """By call."""

    def __init__(self) -> None:
        self._all: dict[str, list[Reader]] = {}

    @contextmanager
    def reading(self, call_id: str, after: int) -> Iterator[Reader]:
        """A stream of the items behind ``after``, while it is open."""
        reader = Reader(after)
        self._all.setdefault(call_id, []).append(reader)
        try:
            yield reader
        finally:
            self._all[call_id].remove(reader)
            if not self._all[call_id]:
                del self._all[call_id]

    def reads(self, call_id: str) -> bool:
        """Somebody reads this generator."""
        return call_id in self._all

    def behind(self, call_id: str, items: int) -> bool:
        """Of those who read it none has got that many items yet."""
        readers = self._all.get(call_id, [])
        return bool(readers) and all(reader.position < items for reader in readers)
