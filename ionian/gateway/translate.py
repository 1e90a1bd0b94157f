"""A container's response head as HTTP/1.1 header lines. Pure. What a container sends is checked: it is not trusted."""

from __future__ import annotations

from ionian.gateway import headers


def translate(payload: bytes, date: bytes) -> tuple[int, list[bytes], int | None]:
    """Status, header lines without line ends, and the content-length among them (None: there is none).

    Headers that concern one hop are dropped; ``date`` is added when the application gave none. Raises ``ValueError``.
    """
    if b"\n" in payload or b"\r" in payload:
        raise ValueError("a header contains a line break")
    fields = payload.split(b"\0")
    if len(fields) % 2 == 0:
        raise ValueError("a header without a value")
    status = int(fields[0])
    if not 200 <= status <= 599:
        raise ValueError(f"status {status} is not a final HTTP status")
    lines: list[bytes] = []
    length: int | None = None
    dated = False
    for index in range(1, len(fields), 2):
        name = fields[index]
        kind = headers.response_kind(name)
        if kind == headers.PASS:
            lines.append(name + b": " + fields[index + 1])
        elif kind == headers.LENGTH:
            if length is not None:
                raise ValueError("more than one content-length")
            length = headers.content_length(fields[index + 1])
            lines.append(name + b": " + fields[index + 1])
        elif kind == headers.DATE:
            dated = True
            lines.append(name + b": " + fields[index + 1])
    if not dated:
        lines.append(b"date: " + date)
    return status, lines, length
