"""An input that has a slot, and how it is sent into its container."""

from __future__ import annotations

from dataclasses import dataclass

from ionian.dispatch.links import ControlLink
from ionian.dispatch.pool import Pool
from ionian.dispatch.slot import Slot
from ionian.model import InputRef, OpenInput, OutputRecord
from ionian.runner import frames


@dataclass(slots=True)
class Running:
    """An input that has a slot. Until ``link`` is set, its claim is on its way to the journal."""

    input: OpenInput
    slot: Slot
    pool: Pool
    link: ControlLink | None = None
    deadline: float = float("inf")  # of the clock
    kill_at: float = float("inf")
    verdict: OutputRecord | None = None  # how it will have ended, whatever its container still says
    cancelled: bool = False  # its row has an output already
    recalled: bool = False  # it shall run elsewhere


def send(batch: list[tuple[Running, InputRef]]) -> None:
    """Inputs of one slot into their container."""
    if not batch:
        return
    link = batch[0][0].link
    assert link is not None
    headers = [
        {
            "id": ref.input_id,
            "call_id": ref.call_id,
            "method": ref.method,
            "data_format": ref.data_format,
            "attempt": ref.attempt,
        }
        for _, ref in batch
    ]
    if len(batch) == 1:
        link.send(frames.INPUT, headers[0], batch[0][1].args)
        return
    sized = [{**header, "size": len(ref.args)} for header, (_, ref) in zip(headers, batch, strict=True)]
    link.send(frames.BATCH, {"inputs": sized}, b"".join(ref.args for _, ref in batch))
