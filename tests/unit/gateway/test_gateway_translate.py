"""Response heads of containers, which are not trusted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ionian.gateway.translate import translate
from ionian.runner.frames import response_head

DATE = b"Mon, 01 Jan 2024 00:00:00 GMT"


def test_passes_on_what_is_end_to_end() -> None:
    end_to_end = [b"Content-Type", b"text/plain", b"Content-Length", b"5", b"Set-Cookie", b"a=1", b"Set-Cookie", b"b=2"]
    hop = [b"Connection", b"keep-alive", b"Transfer-Encoding", b"chunked", b"Keep-Alive", b"1", b"Upgrade", b"h2c"]
    payload = response_head(201, [*end_to_end, *hop])
    status, lines, length = translate(payload, DATE)
    assert (status, length) == (201, 5)
    assert lines == [
        b"Content-Type: text/plain",
        b"Content-Length: 5",
        b"Set-Cookie: a=1",
        b"Set-Cookie: b=2",
        b"date: " + DATE,
    ]


def test_keeps_the_application_s_date() -> None:
    assert translate(response_head(200, [b"date", b"then"]), DATE)[1] == [b"date: then"]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"x",
        b"101",
        b"199",
        b"600",
        b"200\0name",
        b"200\0a\0b\r\nc: d",
        b"200\0a\nb\0c",
        b"200\0na me\0v",
        b"200\0name:\0v",
        b"200\0\0v",
        b"200\0content-length\0-1",
        b"200\0content-length\0005\0content-length\0005",
        b"200\0content-length\0+5",
        b"200\0content-length\0005, 5",
    ],
)
def test_refuses(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        translate(payload, DATE)


@given(st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=8)), max_size=4), st.integers(0, 1000))
def test_never_lets_a_header_through_that_is_two(pairs: list[tuple[bytes, bytes]], status: int) -> None:
    try:
        _, lines, _ = translate(response_head(status, [field for pair in pairs for field in pair]), DATE)
    except ValueError:
        return
    assert 200 <= status < 600
    for line in lines:
        name, _, _ = line.partition(b":")
        assert name
        assert not set(line) & set(b"\r\n\0")
        assert not set(name) & set(b" \t:")
