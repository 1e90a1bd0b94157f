"""One call of a user's function, for one input or for the inputs of a batch.

Invariant: an input is in ``live`` until its output is given, so it is given once, whoever ends the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .client import PICKLE

Output = tuple[dict[str, Any], bytes]  # an OUTPUT frame's header and payload


class Call(NamedTuple):
    """One accepted input."""

    input_id: str
    call_id: str
    method: str
    data_format: int
    args: bytes
    window: int = 0  # generator items that may wait to be taken; 0: no limit
    max_result: int = 0  # bytes of a result that the server takes in pieces; 0: what fits into one frame

    @classmethod
    def of(cls, header: dict[str, Any], args: bytes) -> Call:
        data_format = int(header.get("data_format") or PICKLE)
        window, limit = int(header.get("window") or 0), int(header.get("max_result") or 0)
        method = header.get("method", "")
        return cls(header["id"], header.get("call_id", ""), method, data_format, args, window, limit)


class Job:
    """The inputs of one call. The holder guards it: ``Serial`` by a lock, ``Concurrent`` by its loop."""

    __slots__ = ("begun", "live")

    def __init__(self, calls: Sequence[Call]) -> None:
        self.live = {call.input_id: call for call in calls}
        self.begun = False

    def begin(self) -> list[Call]:
        """The inputs that are still wanted; nothing begins when there are none."""
        self.begun = bool(self.live)
        return list(self.live.values())

    def drop(self, input_id: str) -> bool:
        """Take a cancelled input out, where the call does not depend on it. False: only an interruption ends it."""
        if self.begun and len(self.live) == 1:
            return False
        return self.live.pop(input_id, None) is not None

    def left(self, outputs: list[Output]) -> list[Output]:
        """Those outputs that nobody has given yet. The call is over."""
        wanted = [output for output in outputs if output[0]["id"] in self.live]
        self.live.clear()
        return wanted
