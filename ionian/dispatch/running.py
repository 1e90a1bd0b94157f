"""An input that has a slot, and how it is sent into its container."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ionian.dispatch.links import ControlLink
from ionian.dispatch.pool import Pool
from ionian.dispatch.slot import Slot
from ionian.model import InputRef, OpenInput, OutputRecord
from ionian.runner import frames

MAX_RESULT_BYTES = 1024**3
WINDOW_ITEMS = 256  # items of a generator that may wait to be taken by its reader


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
    sent: bool = False  # its container may have begun it
    storing: bool = False  # its output is here, and on its way into the blob store


def send(batch: list[tuple[Running, InputRef]]) -> None:
    """Inputs of one slot into their container."""
    if not batch:
        return
    link = batch[0][0].link
    assert link is not None
    headers = [_header(running.input, ref) for running, ref in batch]
    if len(batch) == 1:
        link.send(frames.INPUT, headers[0], batch[0][1].args)
        return
    sized = [{**header, "size": len(ref.args)} for header, (_, ref) in zip(headers, batch, strict=True)]
    link.send(frames.BATCH, {"inputs": sized}, b"".join(ref.args for _, ref in batch))


def _header(opened: OpenInput, ref: InputRef) -> dict[str, Any]:
    header: dict[str, Any] = {
        "id": ref.input_id,
        "call_id": ref.call_id,
        "method": ref.method,
        "data_format": ref.data_format,
        "attempt": ref.attempt,
        "max_result": MAX_RESULT_BYTES,
    }
    if not opened.attempt and not opened.crashes:  # who reads on during a retry takes items of both attempts
        header["window"] = WINDOW_ITEMS
    return header
