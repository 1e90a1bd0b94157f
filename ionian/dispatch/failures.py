"""Why a container did not serve: it could not start, or it ended while it worked."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ionian.errors import ContainerFailed
from ionian.model import OpenInput, OutputRecord, Status


class StartFailed(ContainerFailed):
    """The program in the container failed before it was ready. Carries the user's exception as the runner sent it."""

    def __init__(self, message: str, record: OutputRecord | None = None) -> None:
        super().__init__(message)
        self._record = record

    def record(self, opened: OpenInput, now: float) -> OutputRecord:
        """The output of an input that waited for this container."""
        base = self._record or OutputRecord("", "", int(Status.INIT_FAILURE), 0, exception=str(self))
        return replace(base, input_id=opened.input_id, call_id=opened.call_id, started_at=now, created_at=now)


@dataclass
class ContainerLost(ContainerFailed):
    """A container ended unasked."""

    container_id: str
    code: int | None
    signal: int | None
    out_of_memory: bool
    last_output: str

    def __str__(self) -> str:
        if self.out_of_memory:
            how = "was killed because it used more memory than its limit"
        elif self.signal is not None:
            how = f"was ended by signal {self.signal}"
        elif self.code is None:
            how = "ended while nobody watched"
        else:
            how = f"exited with code {self.code}"
        tail = f"; last output:\n{self.last_output}" if self.last_output else ""
        return f"container {self.container_id} {how}{tail}"
