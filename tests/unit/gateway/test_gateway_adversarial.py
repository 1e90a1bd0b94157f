"""Requests that no honest client sends: each is refused clearly, and none reaches a container as something else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ionian.gateway.head import Head, Reject
from tests.unit.gateway.web_site import HOST, Site, show, site, until

LINE = f"Host: {HOST}\r\n"


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(
        tmp_path, max_header_bytes=8192, max_body_bytes=100_000, header_timeout_s=0.3, keep_alive_s=0.6
    ) as running:
        await running.add(show, capacity=4)
        yield running


@pytest.mark.parametrize(
    ("status", "request_text"),
    [
        (400, f"POST / HTTP/1.1\r\n{LINE}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, f"POST / HTTP/1.1\r\n{LINE}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
        (400, f"POST / HTTP/1.1\r\n{LINE}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        (400, f"POST / HTTP/1.1\r\n{LINE}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
        (400, f"POST / HTTP/1.1\r\n{LINE}Content-Length: +5\r\n\r\nhello"),
        (400, f"POST / HTTP/1.1\r\n{LINE}Content-Length: 5, 5\r\n\r\nhello"),
        (400, f"POST / HTTP/1.1\r\n{LINE}Content-Length: -1\r\n\r\n"),
        (400, f"POST / HTTP/1.1\r\n{LINE}Content-Length: 0x5\r\n\r\nhello"),
        (400, f"POST / HTTP/1.1\r\n{LINE}Content-Length: 99999999999999999999999\r\n\r\n"),
        (400, f"POST / HTTP/1.1\r\n{LINE}Content-Length : 5\r\n\r\nhello"),
        (400, f"POST / HTTP/1.1\r\n{LINE}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (501, f"POST / HTTP/1.1\r\n{LINE}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        (400, f"POST / HTTP/1.1\r\n{LINE}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        (400, f"POST / HTTP/1.1\r\n{LINE}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
        (400, f"POST / HTTP/1.1\r\n{LINE}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        (400, f"POST / HTTP/1.0\r\n{LINE}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, f"POST / HTTP/1.1\r\n{LINE}Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"),
        (400, f"POST / HTTP/1.1\r\n{LINE}Transfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n0\r\n\r\n"),
        (400, f"POST / HTTP/1.1\r\n{LINE}Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n"),
        (400, f"POST / HTTP/1.1\r\n{LINE}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx"),
        (400, "GET / HTTP/1.1\r\n\r\n"),
        (400, f"GET / HTTP/1.1\r\n{LINE}Host: other.localhost\r\n\r\n"),
        (400, f"GET / HTTP/1.1\r\n{LINE}X: a\r\n folded\r\n\r\n"),
        (400, f"GET / HTTP/1.1\r\n{LINE}X: a\0b\r\n\r\n"),
        (400, f"GET / HTTP/1.1\r\n{LINE}X\0Y: a\r\n\r\n"),
        (400, f"GET / HTTP/1.1\r\n{LINE}X: a\rY: b\r\n\r\n"),
        (400, f"GET / HTTP/1.1\r\n{LINE}: empty\r\n\r\n"),
        (400, f"GET /\0 HTTP/1.1\r\n{LINE}\r\n"),
        (400, f"GET /%00 HTTP/1.1\r\n{LINE}\r\n"),
        (400, f"GET /%ff%fe HTTP/1.1\r\n{LINE}\r\n"),
        (400, f"GET /\xff HTTP/1.1\r\n{LINE}\r\n"),
        (400, f"GET /a#b HTTP/1.1\r\n{LINE}\r\n"),
        (400, f"GET ftp://x/ HTTP/1.1\r\n{LINE}\r\n"),
        (400, f"GET x HTTP/1.1\r\n{LINE}\r\n"),
        (400, f"get / HTTP/1.1\r\n{LINE}\r\n"),
        (505, f"GET / HTTP/2.0\r\n{LINE}\r\n"),
        (400, f"GET / HTTP/1.1 \r\n{LINE}\r\n"),
        (400, "\x80\x81\x82\x83 nonsense\r\n\r\n"),
        (413, f"POST / HTTP/1.1\r\n{LINE}Content-Length: 100001\r\n\r\n"),
        (417, f"POST / HTTP/1.1\r\n{LINE}Expect: the-best\r\nContent-Length: 1\r\n\r\nx"),
        (431, f"GET / HTTP/1.1\r\n{LINE}X: {'a' * 9000}\r\n\r\n"),
        (431, f"GET /{'a' * 9000} HTTP/1.1\r\n{LINE}\r\n"),
        (431, f"GET / HTTP/1.1\r\n{LINE}" + "".join(f"a{n}: \r\n" for n in range(501)) + "\r\n"),
    ],
)
async def test_refused_and_closed(shop: Site, status: int, request_text: str) -> None:
    client = await shop.connect()
    smuggled = f"GET /smuggled HTTP/1.1\r\n{LINE}\r\n"
    await client.send(request_text.encode("latin-1") + smuggled.encode())
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (status, "close")
    assert set(json.loads(answer.body)) == {"error", "detail", "request_id"}
    assert await client.rest() == b""
    assert shop.gateway.counters.requests == 1


@pytest.mark.parametrize("start", ["GET /", f"GET / HTTP/1.1\r\n{LINE}X: ", f"GET / HTTP/1.1\r\n{LINE}"])
async def test_a_head_without_end_is_431(shop: Site, start: str) -> None:
    client = await shop.connect()
    for piece in (start, "a" * 5000, "a" * 5000):
        await client.send(piece.encode())
        await asyncio.sleep(0)
    assert (await client.answer()).status == 431


async def test_a_chunked_body_over_the_limit(shop: Site) -> None:
    client = await shop.connect()
    await client.send(f"POST / HTTP/1.1\r\n{LINE}Transfer-Encoding: chunked\r\n\r\n".encode())
    for _ in range(4):
        await client.send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert await client.rest() == b""


async def test_a_head_that_never_ends_is_408(shop: Site) -> None:
    client = await shop.connect()
    await client.send(b"GET / HTTP/1.1\r\nHo")
    assert (await client.answer()).status == 408
    client = await shop.connect()
    assert await client.rest() == b""  # not a byte: closed without a word


async def test_a_dripping_head_is_408_however_often_it_drips(shop: Site) -> None:
    client = await shop.connect()
    await client.send(b"GET / HTTP/1.1\r\n")

    async def drip() -> None:
        for _ in range(10_000):
            await client.send(b"X: y\r\n")
            await asyncio.sleep(0.01)

    dripping = asyncio.create_task(drip())
    assert (await client.answer()).status == 408
    dripping.cancel()
    await asyncio.gather(dripping, return_exceptions=True)


async def test_a_body_that_never_comes_is_408(shop: Site) -> None:
    client = await shop.connect()
    await client.send(f"POST / HTTP/1.1\r\n{LINE}Content-Length: 10\r\n\r\nabc".encode())
    assert (await client.answer()).status == 408


async def test_an_idle_connection_is_closed(shop: Site) -> None:
    client = await shop.connect()
    assert (await client.get("/")).status == 200
    assert await client.rest() == b""


async def test_bytes_one_by_one(shop: Site) -> None:
    client = await shop.connect()
    for byte in f"POST /slow?x HTTP/1.1\r\n{LINE}Content-Length: 3\r\n\r\nabc".encode():
        client.writer.write(bytes([byte]))
        await asyncio.sleep(0)
    seen = json.loads((await client.answer()).body)
    assert (seen["path"], seen["query"], seen["body"]) == ("/slow", "x", "abc")


async def test_a_good_request_before_a_bad_one_is_answered(shop: Site) -> None:
    client = await shop.connect()
    await client.send(f"GET /good HTTP/1.1\r\n{LINE}\r\nBAD\r\n\r\n".encode())
    assert json.loads((await client.answer()).body)["path"] == "/good"
    assert (await client.answer()).status == 400
    assert await client.rest() == b""


async def test_nothing_after_connection_close_counts(shop: Site) -> None:
    client = await shop.connect()
    await client.send(f"GET /1 HTTP/1.1\r\n{LINE}Connection: close\r\n\r\nGET /2 HTTP/1.1\r\n{LINE}\r\n".encode())
    assert json.loads((await client.answer()).body)["path"] == "/1"
    assert await client.rest() == b""
    assert shop.gateway.counters.requests == 1


async def test_an_endless_pipeline_is_cut(shop: Site) -> None:
    client = await shop.connect()
    await client.send(f"GET / HTTP/1.1\r\n{LINE}\r\n".encode() * 300)
    await client.rest()
    assert 10 < shop.gateway.counters.requests <= 300


async def test_tls_is_refused_in_tls(shop: Site) -> None:
    client = await shop.connect()
    await client.send(bytes.fromhex("16030100050100000100"))
    assert (await client.rest())[:2] == b"\x15\x03"


async def test_half_closed_in_the_middle_of_a_request(shop: Site) -> None:
    client = await shop.connect()
    await client.send(f"POST / HTTP/1.1\r\n{LINE}Content-Length: 10\r\n\r\nabc".encode())
    client.writer.write_eof()
    assert await client.rest() == b""
    await until(lambda: not shop.slots.held)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_head_is_accepted_or_rejected(data: st.DataObject) -> None:
    head = Head()
    head.url = data.draw(st.binary(max_size=30))
    pairs = data.draw(st.lists(st.tuples(st.sampled_from(range(2, 8)), st.binary(max_size=20)), max_size=5))
    try:
        for kind, value in pairs:
            head.special(kind, value)
        head.check(b"GET", data.draw(st.sampled_from(["1.1", "1.0", "0.9"])), 1000)
    except Reject:
        return
    assert head.path.startswith(b"/")
    assert not (head.encoding and head.length is not None)
