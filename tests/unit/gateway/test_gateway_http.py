"""Requests and responses through a real gateway and a real runner web server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ionian.errors import NotFound, Unavailable
from ionian.gateway.internal import Request, Response
from tests.unit.gateway.web_site import HOST, Site, show, site, text


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path) as running:
        await running.add(show, capacity=4)
        yield running


async def test_a_request_as_the_app_sees_it(shop: Site) -> None:
    extra = (
        "X-One: 1\r\nX-One: 2\r\nConnection: keep-alive, x-secret\r\nX-Secret: s\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
    )
    extra += (
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nForwarded: for=6.6.6.6\r\nX-Ionian-Request-Id: mine\r\n"
    )
    answer = await shop.get("/a%2Fb/%C3%A9?q=1&r=%20", method="PUT", extra=extra, body=b"hello")
    seen = json.loads(answer.body)
    headers = [tuple(pair) for pair in seen.pop("headers")]
    assert answer.status == 200
    assert seen.pop("client")[0] == "127.0.0.1"
    assert seen.pop("server") == ["127.0.0.1", shop.port]
    assert seen == {
        "method": "PUT",
        "path": "/a/b/é",
        "raw_path": "/a%2Fb/%C3%A9",
        "root_path": "",
        "query": "q=1&r=%20",
        "http_version": "1.1",
        "scheme": "http",
        "body": "hello",
    }
    assert headers == [
        ("host", HOST),
        ("content-length", "5"),
        ("x-one", "1"),
        ("x-one", "2"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", HOST),
        ("x-ionian-request-id", answer.headers["x-ionian-request-id"]),
    ]
    assert "date" in answer.headers
    assert "connection" not in answer.headers


async def test_path_form_sets_root_path(shop: Site) -> None:
    seen = json.loads((await shop.get("/_web/local--iris/predict", host="127.0.0.1")).body)
    assert (seen["root_path"], seen["path"]) == ("/_web/local--iris/predict", "/_web/local--iris/predict/")


async def test_keep_alive_uses_one_connection(shop: Site) -> None:
    client = await shop.connect()
    ids = {(await client.get(f"/{turn}")).headers["x-ionian-request-id"] for turn in range(20)}
    assert len(ids) == 20
    assert shop.gateway.counters.accepted == 1
    assert len(shop.gateway.pool.every) == 1


async def test_connection_close_is_announced(shop: Site) -> None:
    client = await shop.connect()
    answer = await client.get("/", extra="Connection: close\r\n")
    assert answer.headers["connection"] == "close"
    assert await client.rest() == b""


async def test_http_1_0(shop: Site) -> None:
    client = await shop.connect()
    await client.send(f"GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode())
    answer = await client.answer()
    assert json.loads(answer.body)["http_version"] == "1.0"
    assert answer.headers["connection"] == "close"
    assert await client.rest() == b""
    client = await shop.connect()
    for _ in range(2):
        await client.send(f"GET / HTTP/1.0\r\nHost: {HOST}\r\nConnection: keep-alive\r\n\r\n".encode())
        assert (await client.answer()).headers["connection"] == "keep-alive"


async def test_chunked_upload_with_trailers(shop: Site) -> None:
    client = await shop.connect()
    head = f"POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n"
    await client.send(head.encode() + b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nX-Trailer: evil\r\n\r\n")
    seen = json.loads((await client.answer()).body)
    assert seen["body"] == "abcdefg"
    seen = json.loads((await client.get("/next")).body)
    assert "x-trailer" not in dict(seen["headers"])
    assert seen["path"] == "/next"


async def test_expect_100_continue(shop: Site) -> None:
    client = await shop.connect()
    await client.send(f"POST / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n".encode())
    assert await client.head() == (100, {})
    await client.send(b"ok")
    assert json.loads((await client.answer()).body)["body"] == "ok"


async def test_pipelined_requests_are_answered_in_order(shop: Site) -> None:
    client = await shop.connect()
    requests = [f"POST /{turn} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1\r\n\r\n{turn}" for turn in range(9)]
    await client.send("".join(requests).encode())
    for turn in range(9):
        seen = json.loads((await client.answer()).body)
        assert (seen["path"], seen["body"]) == (f"/{turn}", str(turn))
    assert (await client.get("/after")).status == 200


async def test_h2c_upgrade_is_ignored(shop: Site) -> None:
    client = await shop.connect()
    answer = await client.get("/", extra="Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n")
    assert answer.status == 200
    assert (await client.get("/again")).status == 200


async def test_websocket_is_refused_by_name(shop: Site) -> None:
    answer = await shop.get("/", extra="Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n")
    assert answer.status == 501
    assert "WebSocket" in json.loads(answer.body)["detail"]


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
async def test_methods_that_are_refused(shop: Site, method: str) -> None:
    target = f"{HOST}:80" if method == "CONNECT" else "/"
    assert (await shop.get(target, method=method)).status == 405


async def test_absolute_target_overrules_host(shop: Site) -> None:
    answer = await shop.get(f"http://{HOST}/abs?x", host="other.localhost")
    assert json.loads(answer.body)["path"] == "/abs"
    assert dict(json.loads(answer.body)["headers"])["host"] == HOST


async def test_unknown_host_names_it_and_what_exists(shop: Site) -> None:
    client = await shop.connect()
    answer = await client.get("/", host="local--iris-gone.localhost")
    body = json.loads(answer.body)
    assert answer.status == 404
    assert "local--iris-gone.localhost" in body["detail"]
    assert "local--iris-predict" in body["detail"]
    assert body["request_id"] == answer.headers["x-ionian-request-id"]
    assert (await client.get("/")).status == 200  # the connection lives on


async def test_the_plain_address_says_what_it_is(shop: Site) -> None:
    answer = await shop.get("/", host="127.0.0.1")
    assert answer.status == 200
    assert b"Ionian" in answer.body
    assert (await shop.get("/nope", host="127.0.0.1")).status == 404


async def answers(scope: Any, receive: Any, send: Any) -> None:
    """An app with a response of each framing."""
    if scope["type"] != "http":
        raise RuntimeError
    path = scope["path"]
    start = {"type": "http.response.start", "status": 200, "headers": []}
    if path == "/plain":
        await text(send, b"plain")
    elif path == "/unsized":
        await send(start)
        await send({"type": "http.response.body", "body": b"unsized"})
    elif path == "/stream":
        await send(start)
        for piece in (b"a", b"", b"bc"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})
    elif path == "/empty":
        await send({**start, "status": 204})
        await send({"type": "http.response.body"})
    elif path == "/short":
        await send({**start, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"short"})
    elif path == "/long":
        await send({**start, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"long"})
    elif path == "/raise":
        raise ValueError("before the head")
    elif path == "/raise-late":
        await send(start)
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        raise ValueError("after the head")
    elif path == "/nothing":
        return
    elif path == "/split":
        await send({**start, "headers": [(b"x-a", b"1\r\nx-b: 2")]})
        await send({"type": "http.response.body"})
    elif path == "/early":
        await text(send, b"no thanks", 413)


@pytest.fixture
async def gallery(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path) as running:
        await running.add(answers)
        yield running


async def test_response_framing(gallery: Site) -> None:
    client = await gallery.connect()
    assert (await client.get("/plain")).body == b"plain"
    unsized = await client.get("/unsized")
    assert (unsized.body, unsized.headers["content-length"]) == (b"unsized", "7")
    stream = await client.get("/stream")
    assert (stream.body, stream.headers["transfer-encoding"]) == (b"abc", "chunked")
    empty = await client.get("/empty")
    assert (empty.status, empty.body) == (204, b"")
    assert not {"content-length", "transfer-encoding"} & set(empty.headers)
    assert (await client.get("/plain")).body == b"plain"


async def test_head_has_no_body(gallery: Site) -> None:
    client = await gallery.connect()
    answer = await client.get("/plain", method="HEAD")
    assert answer.headers["content-length"] == "5"
    assert (await client.get("/stream", method="HEAD")).status == 200
    assert (await client.get("/plain")).body == b"plain"


async def test_stream_to_http_1_0_ends_with_the_connection(gallery: Site) -> None:
    client = await gallery.connect()
    await client.send(f"GET /stream HTTP/1.0\r\nHost: {HOST}\r\nConnection: keep-alive\r\n\r\n".encode())
    answer = await client.answer()
    assert (answer.body, answer.headers["connection"]) == (b"abc", "close")


async def test_a_response_shorter_than_announced_breaks_the_connection(gallery: Site) -> None:
    client = await gallery.connect()
    await client.send(f"GET /short HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    assert (await client.head())[1]["content-length"] == "10"
    assert len(await client.rest()) < 10


async def test_a_response_longer_than_announced_is_cut(gallery: Site) -> None:
    client = await gallery.connect()
    assert (await client.get("/long")).body == b"lo"
    assert await client.rest() == b""


async def test_an_app_that_raises_is_500_and_lives_on(gallery: Site, capsys: pytest.CaptureFixture[str]) -> None:
    client = await gallery.connect()
    assert (await client.get("/raise")).status == 500
    assert "before the head" in capsys.readouterr().err
    assert (await client.get("/nothing")).status == 500
    assert (await client.get("/plain")).body == b"plain"


async def test_an_app_that_raises_in_the_middle_breaks_the_connection(gallery: Site) -> None:
    client = await gallery.connect()
    await client.send(f"GET /raise-late HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    assert (await client.head())[0] == 200
    assert not (await client.rest()).endswith(b"0\r\n\r\n")
    assert (await gallery.get("/plain")).body == b"plain"


async def test_a_header_that_splits_the_response_is_502(gallery: Site) -> None:
    answer = await gallery.get("/split")
    assert answer.status == 502
    assert "ta-0" in json.loads(answer.body)["detail"]
    assert "x-b" not in answer.headers


async def test_an_answer_before_the_upload_ended(gallery: Site) -> None:
    client = await gallery.connect()
    await client.send(
        f"POST /early HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100000000\r\n\r\n".encode() + b"x" * 100000
    )
    answer = await client.answer()
    assert (answer.status, answer.body, answer.headers["connection"]) == (413, b"no thanks", "close")
    assert (await gallery.get("/plain")).body == b"plain"  # also when the container's connection is used again
    assert len(gallery.gateway.pool.every) == 1


async def echo(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        async for piece in request.body:
            yield piece

    if request.path.endswith("/missing"):
        raise NotFound("no such blob")
    if request.path.endswith("/busy"):
        raise Unavailable("later")
    if request.path.endswith("/bug"):
        raise RuntimeError("secret")
    if request.method == "GET":
        return Response(200, [("etag", '"x"')], f"{request.path}?{request.query}".encode())
    return Response(201, [], pieces())


async def test_internal_handlers(tmp_path: Path) -> None:
    async with site(tmp_path, {"/blobs": echo}) as running:
        client = await running.connect()
        answer = await client.get("/blobs/a?b", host="127.0.0.1")
        assert (answer.body, answer.headers["etag"]) == (b"/blobs/a?b", '"x"')
        big = bytes(range(256)) * 20000
        head = f"PUT /blobs/up HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(big)}\r\n\r\n"
        sending = asyncio.create_task(client.send(head.encode() + big))
        answer = await client.answer()
        assert (answer.status, answer.body) == (201, big)
        await sending
        client = await running.connect()  # the response began before the request had ended: that closes the connection
        for path, status in (("missing", 404), ("busy", 503), ("bug", 500)):
            answer = await client.get(f"/blobs/{path}", host="127.0.0.1")
            assert answer.status == status
            assert b"secret" not in answer.body
        assert (await client.get("/blobsx", host="127.0.0.1")).status == 404


async def test_port_taken(shop: Site) -> None:
    from ionian.config import Config
    from ionian.gateway.router import Router
    from ionian.gateway.server import Gateway

    other = Gateway(Config(shop.directory), Router(), shop.slots, {}, asyncio.Protocol)
    with pytest.raises(Unavailable, match=rf"port {shop.port} .* --port"):
        await other.start("127.0.0.1", shop.port)
