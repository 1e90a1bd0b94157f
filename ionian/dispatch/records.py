"""Output records: what a container reports of an input, and what is said of one that ended without a report."""

from __future__ import annotations

from typing import Any

from ionian.model import OpenInput, OutputRecord, Status


def reported(container_id: str, call_id: str, header: dict[str, Any], payload: bytes) -> OutputRecord:
    """What a container says of the end of an input, or of its own start: an OUTPUT or FAILED frame as a record."""
    sizes = header.get("parts") or [len(payload), 0, 0]
    data, tb, lines = (payload[sum(sizes[:i]) : sum(sizes[: i + 1])] for i in range(3))
    return OutputRecord(
        input_id=header["id"],
        call_id=call_id,
        status=int(header["status"]),
        data_format=int(header.get("data_format", 1)),
        data=data,
        exception=header.get("exception", ""),
        traceback=header.get("traceback", ""),
        serialized_tb=tb,
        tb_line_cache=lines,
        container_id=container_id,
        started_at=float(header.get("started_at", 0.0)),
        created_at=float(header.get("created_at", 0.0)),
    )


def failure(opened: OpenInput, status: Status, text: str, now: float, container_id: str = "") -> OutputRecord:
    """An end that no container reported; ``now`` is unix seconds."""
    return OutputRecord(
        input_id=opened.input_id,
        call_id=opened.call_id,
        status=int(status),
        data_format=0,
        exception=text,
        container_id=container_id,
        started_at=now,
        created_at=now,
    )
