"""Tables and small pure functions about HTTP/1.1 heads. Header names are lower-cased once, here or on arrival."""

from __future__ import annotations

import re
from http import HTTPStatus

# What to do with a header. Every name that is not in a table is PASS.
PASS, DROP, HOST, LENGTH, ENCODING, CONNECTION, EXPECT, UPGRADE, DATE = range(9)

REQUEST = {
    b"host": HOST,
    b"content-length": LENGTH,
    b"transfer-encoding": ENCODING,
    b"connection": CONNECTION,
    b"expect": EXPECT,
    b"upgrade": UPGRADE,
    **dict.fromkeys(
        (b"keep-alive", b"proxy-connection", b"proxy-authorization", b"te", b"trailer"), DROP
    ),  # meant for this hop only
    **dict.fromkeys(
        (b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port"), DROP
    ),  # ours to say
    b"x-forwarded-prefix": DROP,
    b"x-real-ip": DROP,
    b"x-ionian-request-id": DROP,
}

_RESPONSE = {
    b"content-length": LENGTH,
    b"connection": CONNECTION,
    b"date": DATE,
    **dict.fromkeys(
        (
            b"transfer-encoding",
            b"keep-alive",
            b"proxy-connection",
            b"proxy-authenticate",
            b"te",
            b"trailer",
            b"upgrade",
        ),
        DROP,
    ),
    b"x-ionian-request-id": DROP,
}

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_DIGITS = re.compile(rb"[0-9]{1,18}\Z")
_known: dict[bytes, int] = dict(_RESPONSE)  # a cache of response_kind; bounded, never wrong


def response_kind(name: bytes) -> int:
    """What to do with a response header from a container. Raises ``ValueError`` when it is not a header name."""
    kind = _known.get(name)
    if kind is None:
        if not _TOKEN.match(name):
            raise ValueError(f"invalid header name {name!r}")
        kind = _RESPONSE.get(name.lower(), PASS)
        if len(_known) < 4096:
            _known[name] = kind
    return kind


def content_length(value: bytes) -> int:
    """A content-length as a number. Raises ``ValueError``: digits only, no sign, no list."""
    if not _DIGITS.match(value):
        raise ValueError(f"invalid content-length {value!r}")
    return int(value)


def tokens(value: bytes) -> list[bytes]:
    """The lower-cased members of a comma-separated header."""
    return [part.strip().lower() for part in value.split(b",") if part.strip()]


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


STATUS_LINES = {status: _status_line(status) for status in range(200, 600)}
REASONS = {status.value: status.phrase for status in HTTPStatus}
