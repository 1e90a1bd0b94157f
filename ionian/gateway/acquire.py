"""What the gateway needs from dispatch: a slot in a container, at once when one is warm, else after a wait."""

from __future__ import annotations

from typing import Protocol


class Slot(Protocol):
    """The right to send one request to one container. Whoever holds it calls ``release`` exactly once."""

    @property
    def container_id(self) -> str: ...

    @property
    def socket(self) -> str:
        """Path of the container's unix socket."""

    def release(self, broken: bool = False) -> None:
        """Give the slot back. ``broken``: the container did not answer as it should; do not use it again."""


class Acquirer(Protocol):
    """Dispatch, as the gateway sees it."""

    def try_acquire(self, function_id: str) -> Slot | None:
        """A free slot of a warm container, or None. Never waits. Raises ``NotFound``."""

    async def acquire(self, function_id: str, timeout_s: float) -> Slot:
        """A slot, waiting up to ``timeout_s``. A cancelled wait leaves the queue and holds no slot.

        Raises ``ResourceExhausted`` (queue full), ``DeadlineExceeded`` (waited too long), ``Unavailable``,
        ``ContainerFailed`` or ``NotFound``.
        """
