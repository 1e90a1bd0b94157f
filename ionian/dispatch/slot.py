"""A container as dispatch sees it, and the right to run something in it. A slot is released exactly once."""

from __future__ import annotations

from typing import Protocol

from ionian.model import ContainerState


class Releases(Protocol):
    """Who hands out slots."""

    def released(self, container: Container, broken: bool) -> None: ...


class Container:
    """A live container as dispatch sees it. ``in_flight`` counts taken slots, ``taken`` the inputs of its life."""

    __slots__ = (
        "capacity",
        "container_id",
        "found_at",
        "function_id",
        "idle_since",
        "in_flight",
        "key",
        "served",
        "socket",
        "started_at",
        "state",
        "taken",
    )

    def __init__(self, container_id: str, function_id: str, key: str, socket: str, capacity: int, now: float) -> None:
        self.container_id = container_id
        self.function_id = function_id
        self.key = key
        self.socket = socket
        self.capacity = capacity
        self.state = ContainerState.STARTING
        self.in_flight = 0
        self.served = 0
        self.taken = 0
        self.started_at = now
        self.found_at: float | None = None  # when this server took it over from an earlier one
        self.idle_since: float | None = None


class Slot:
    """The right to run one input, or one batch of inputs, in one container, until ``release``."""

    __slots__ = ("_broken", "_pool", "_shares", "container", "container_id", "socket")

    def __init__(self, pool: Releases, container: Container, shares: int = 1) -> None:
        self._pool = pool
        self._shares = shares
        self._broken = False
        self.container = container
        self.container_id = container.container_id
        self.socket = container.socket

    def release(self, broken: bool = False) -> None:
        """Give a share of it back; a slot has more than one for a batch, and is free when the last has come.

        ``broken``: the container misbehaved and gets no more inputs. More calls than shares are a bug.
        """
        if not self._shares:
            raise AssertionError(f"slot of {self.container_id} released twice")
        self._shares -= 1
        self._broken |= broken
        if not self._shares:
            self._pool.released(self.container, self._broken)
