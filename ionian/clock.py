"""Time that only goes forward, beside the machine's clock, which may be set while the server runs.

Rows, logs and tickets have the machine's clock; whatever measures how long something took or may take has ``steady``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]


def steady(wall: Clock = time.time, elapsed: Clock = time.monotonic) -> Clock:
    """A clock that reads unix seconds now and from then on counts what passes, whatever the machine's clock does."""
    begun = wall() - elapsed()
    return lambda: begun + elapsed()


class Jumps:
    """How far the machine's clock was moved, or stood while the machine slept, from one look to the next."""

    def __init__(self, wall: Clock = time.time, elapsed: Clock = time.monotonic) -> None:
        self._wall = wall
        self._elapsed = elapsed
        self._offset = wall() - elapsed()

    def look(self) -> float:
        """Seconds forward (or back, below 0) since the last look; drift below a second counts as none."""
        offset = self._wall() - self._elapsed()
        moved = offset - self._offset
        if abs(moved) < 1:
            return 0.0
        self._offset = offset
        return moved
