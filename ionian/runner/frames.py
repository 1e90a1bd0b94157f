"""The frame format between a container's runner and the server. Standard library only; both sides import this file.

A container listens on ONE unix socket. Whoever connects first sends two bytes: a link kind and the format version.

* ``CONTROL`` link: readiness, inputs, outputs, cancel, stop. Many inputs share it. Frames carry JSON and bytes.
* ``WEB`` link: HTTP requests, one at a time per connection, pooled by the gateway. Frames carry plain bytes.

Every frame is ``>IB``: payload length (u32, without these five bytes), frame type (u8); then the payload.
A control payload is ``>I`` JSON length, JSON object, raw bytes.
A head payload (REQUEST, RESPONSE) is fields joined by NUL bytes, which HTTP forbids inside any of them.
"""

from __future__ import annotations

import json
import struct
from typing import Any

VERSION = 1
CONTROL = b"C"
WEB = b"W"
CONTROL_PREFACE = CONTROL + bytes([VERSION])
WEB_PREFACE = WEB + bytes([VERSION])

# What Python code writes to sys.stderr goes through stdout's pipe between these marks: their common order is kept,
# and a write of up to PIPE_BUF bytes arrives in one piece. What other programs write to descriptor 2 has a pipe of its
# own. On when IONIAN_STREAM_MARKS is set.
STDERR_BEGINS = b"\0\x02"
STDERR_ENDS = b"\0\x03"

# What a program with a terminal writes there when it wants somebody to type.
TERMINAL_WANTED = b"\0\x04"

HEADER = struct.Struct(">IB")
_LENGTH = struct.Struct(">I")
MAX_PAYLOAD = 256 * 1024 * 1024  # bytes; a longer one is a protocol error

# Control link, server -> runner
INPUT = 1  # {id, call_id, method, data_format, attempt, window?, max_result?}, args bytes
CANCEL = 2  # {id}: reaches user code
ACK = 3  # {id}: output is safe, forget it
STOP = 4  # {grace_s}: finish what you have, run exit hooks, exit 0
BATCH = (
    5  # {inputs: [an INPUT header each, plus size]}, their args joined: one call of a batched function for them all;
)
#            each input still has an OUTPUT, an ACK and a CANCEL of its own
TAKEN = 6  # {id, items}: so many items of this generator, in all, were taken by whoever reads them. Counted only for
#            an input whose header has "window": N; its generator waits while N items (or 8 MiB) are sent and not taken
# Control link, both directions
PART = 7  # {id, first?: bool}, bytes: a piece of an input's args, before the INPUT or BATCH that names it, which
#           carries the rest; or of an output's payload, before its OUTPUT, which carries the rest, if the header of
#           the input has "max_result": N (bytes) and the payload is long. Pieces of different inputs may mix. A lost
#           connection forgets them, and so does a first piece those that came before it
# Control link, runner -> server
READY = 16  # {web: bool, web_active: int, stopping?: bool, inputs: [ids whose output is still to come or to be
#             acknowledged], timings_ms: {...}}. An input that was sent before and is not named was never received;
#             one that stops takes no more
FAILED = 17  # {exception, traceback, parts: [n, n, n]}, data + serialized_tb + tb_line_cache: start-up failed
OUTPUT = 18  # {id, status, data_format, exception, traceback, parts: [n, n, n], started_at, created_at}, the parts
ITEM = 19  # {id, index, data_format}, one generator item
FREED = 20  # {}: a web request of a previous server's connection has ended

# Web link, both directions. One exchange at a time: REQUEST, BODY*, LAST; and RESPONSE, BODY*, LAST, DONE back.
# The two halves are independent: a response may begin, and even end, before the request has.
# The exchange is over when DONE came back AND the gateway has sent LAST or ABORT; then the next REQUEST may follow.
# After DONE the runner ignores whatever is left of the old request. DONE without LAST before it: the response is
# incomplete, and the gateway must make that visible to the client.
REQUEST = 32  # gateway -> runner, see request_head()
BODY = 33  # a piece of body
LAST = 34  # the final piece of body (may be empty)
ABORT = 35  # gateway -> runner: nobody waits for the response any more (http.disconnect); DONE still follows
RESPONSE = 36  # runner -> gateway, see response_head()
DONE = 37  # runner -> gateway: the application has returned; the slot is free. Payload b"" or an error text
CREDIT = 38  # reserved: explicit flow control; today the socket's own backpressure is used

PIECE = 4 * 1024 * 1024  # bytes: a long payload travels in PARTs of this size
WEB_PIECE = 64 * 1024  # bytes: the runner cuts response bodies into pieces no longer than this
WEB_MAX_PAYLOAD = 1024 * 1024  # bytes: the gateway hangs up on a container that sends a longer frame
ABORT_CANCEL = b"cancel"  # payload of ABORT when the time allowed is over: cancel the application where that is safe


class ProtocolError(Exception):
    """The peer broke the frame format."""


def frame(kind: int, payload: bytes = b"") -> bytes:
    """One frame as bytes."""
    return HEADER.pack(len(payload), kind) + payload


def control(kind: int, header: dict[str, Any], payload: bytes = b"") -> bytes:
    """One control frame as bytes."""
    head = json.dumps(header, separators=(",", ":")).encode()
    return HEADER.pack(4 + len(head) + len(payload), kind) + _LENGTH.pack(len(head)) + head + payload


def split_control(payload: bytes) -> tuple[dict[str, Any], bytes]:
    """The header object and raw bytes of a control payload."""
    (length,) = _LENGTH.unpack_from(payload)
    if 4 + length > len(payload):
        raise ProtocolError("control header longer than its frame")
    head = payload[4 : 4 + length]
    header = json.loads(head)
    if b"\\u" in head:
        header = _encodable(header)
    return header, payload[4 + length :]


def _encodable(value: Any) -> Any:
    """With text that UTF-8 can carry: a lone surrogate in a user's message must not stop who writes it down."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(name): _encodable(one) for name, one in value.items()}
    return [_encodable(one) for one in value] if isinstance(value, list) else value


class Parser:
    """Cuts a byte stream into frames. ``feed`` returns the complete frames so far as ``(kind, payload)``."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        buffer = self._buffer
        buffer += data
        frames: list[tuple[int, bytes]] = []
        start, size = 0, len(buffer)
        while size - start >= 5:
            length, kind = HEADER.unpack_from(buffer, start)
            if length > MAX_PAYLOAD:
                raise ProtocolError(f"frame of {length} bytes is over the limit of {MAX_PAYLOAD}")
            end = start + 5 + length
            if end > size:
                break
            frames.append((kind, bytes(buffer[start + 5 : end])))
            start = end
        if start:
            del buffer[:start]
        return frames


def request_head(
    method: bytes,
    http_version: bytes,
    scheme: bytes,
    path: bytes,
    query: bytes,
    root_path: bytes,
    client: bytes,
    server: bytes,
    headers: list[bytes],
) -> bytes:
    """A REQUEST payload. ``path`` is raw (still percent-encoded), decodes to UTF-8 and starts with ``root_path``.

    ``client`` and ``server`` are ``host NUL port``. ``headers`` alternates lower-case names and values; hop-by-hop
    headers are gone, so there is no ``transfer-encoding``: the body is delimited by LAST.
    """
    return b"\0".join([method, http_version, scheme, path, query, root_path, client, server, *headers])


REQUEST_FIELDS = 10  # fixed fields in front of the header pairs
METHOD_HEADER = b"x-ionian-method"  # the last header of a request for a class: the method that answers; removed there


def response_head(status: int, headers: list[bytes]) -> bytes:
    """A RESPONSE payload. ``headers`` alternates names and values."""
    return b"\0".join([b"%d" % status, *headers])


def pairs(fields: list[bytes], first: int) -> list[tuple[bytes, bytes]]:
    """Header pairs of a split head payload, from field ``first``."""
    if (len(fields) - first) % 2:
        raise ProtocolError("odd number of header fields")
    return list(zip(fields[first::2], fields[first + 1 :: 2]))  # noqa: B905 - older interpreters run this file too
