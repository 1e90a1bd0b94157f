"""What a container still works on, or wants acknowledged, though by its row the input is not its own any more.

It has ended, or its next attempt is due; a server that was killed could not say so. A stray takes up a slot until the
container is done with it, and until then the container is not offered the same input again: it would not hear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ionian.dispatch.links import ControlLink
from ionian.dispatch.running import Running
from ionian.model import OpenInput
from ionian.runner import frames


class Strays:
    """``submit``: where attempts go that waited for a stray to end."""

    def __init__(self, submit: Callable[[Iterable[OpenInput]], None]) -> None:
        self._submit = submit
        self._all: dict[tuple[str, str], Running] = {}  # by container and input
        self._held: dict[tuple[str, str], OpenInput] = {}

    def all(self) -> list[Running]:
        return list(self._all.values())

    def add(self, stray: Running) -> None:
        """Nobody waits for it: it is told to stop."""
        stray.cancelled = True
        self._all[stray.slot.container_id, stray.input.input_id] = stray
        if stray.link is not None:
            stray.link.send(frames.CANCEL, {"id": stray.input.input_id})

    def hold(self, container_id: str, opened: OpenInput) -> bool:
        """True when the input strays in this container: it is kept here until that has ended."""
        place = container_id, opened.input_id
        if place not in self._all:
            return False
        self._held[place] = opened
        return True

    def output(self, container_id: str, input_id: str, link: ControlLink) -> bool:
        """True when what the container reports is the end of a stray."""
        if (container_id, input_id) not in self._all:
            return False
        link.send(frames.ACK, {"id": input_id})
        self._end((container_id, input_id), broken=False)
        return True

    def container_exited(self, container_id: str) -> None:
        for place in [place for place in self._all if place[0] == container_id]:
            self._end(place, broken=True)

    def take_back(self, container_id: str) -> list[OpenInput]:
        """What waited for this container."""
        return [self._held.pop(place) for place in list(self._held) if place[0] == container_id]

    def _end(self, place: tuple[str, str], broken: bool) -> None:
        self._all.pop(place).slot.release(broken)
        held = self._held.pop(place, None)
        if held is not None:
            self._submit([held])
