"""Blob addresses over HTTP: they open one blob for one verb, and take only what was announced."""

from __future__ import annotations

import base64
import hashlib

import aiohttp
import pytest

from ionian.api import blobs, mounts
from ionian.api.context import Caller, Context
from ionian.errors import InvalidRequest, NotFound
from ionian.state import blobs as rows
from ionian.wire import api_pb2
from tests.wire.stage import Stage

DATA = b"some bytes" * 1000


@pytest.fixture
def context(scene: Stage) -> Context:
    return scene.context.of(Caller(host="127.0.0.1"))


async def _create(context: Context, data: bytes = DATA) -> api_pb2.BlobCreateResponse:
    request = api_pb2.BlobCreateRequest(
        content_length=len(data), content_sha256_base64=base64.b64encode(hashlib.sha256(data).digest()).decode()
    )
    return await blobs.BlobCreate(context, request)


async def _http(method: str, url: str, data: bytes | None = None) -> tuple[int, bytes, str]:
    async with aiohttp.ClientSession() as session, session.request(method, url, data=data) as response:
        return response.status, await response.read(), response.headers.get("ETag", "")


async def test_what_is_put_is_got(context: Context) -> None:
    made = await _create(context)
    assert made.upload_url == made.upload_urls.items[0]
    for _ in range(2):  # a client that lost the answer sends it again
        status, _, etag = await _http("PUT", made.upload_url, DATA)
        assert (status, etag) == (200, f'"{hashlib.md5(DATA).hexdigest()}"')
    found = await blobs.BlobGet(context, api_pb2.BlobGetRequest(blob_id=made.blob_id))
    assert await _http("GET", found.download_url) == (200, DATA, "")


@pytest.mark.parametrize("sent", [DATA[:-1] + b"?", DATA[:-1], DATA + b"more", b""])
async def test_other_bytes_than_announced_are_refused(context: Context, sent: bytes) -> None:
    made = await _create(context)
    assert (await _http("PUT", made.upload_url, sent))[0] == 400
    with pytest.raises(NotFound):
        await blobs.BlobGet(context, api_pb2.BlobGetRequest(blob_id=made.blob_id))


async def test_an_address_opens_one_verb_and_expires(context: Context) -> None:
    made = await _create(context)
    assert (await _http("GET", made.upload_url))[0] == 404
    assert (await _http("DELETE", made.upload_url))[0] == 405
    assert (await _http("PUT", made.upload_url, DATA))[0] == 200
    url = (await blobs.BlobGet(context, api_pb2.BlobGetRequest(blob_id=made.blob_id))).download_url
    assert (await _http("PUT", url, DATA))[0] == 404
    assert (await _http("GET", url[:-1] + ("A" if url[-1] != "A" else "B")))[0] == 404
    await context.database.write(rows.expire, context.now + blobs.TICKET_S + 1)
    assert (await _http("GET", url))[0] == 404


async def test_a_mounted_file_must_fit_its_digest(context: Context) -> None:
    wrong = api_pb2.MountPutFileRequest(sha256_hex=hashlib.sha256(b"a").hexdigest(), data=b"b")
    with pytest.raises(InvalidRequest, match="damaged"):
        await mounts.MountPutFile(context, wrong)
    assert not context.blobs.has(hashlib.sha256(b"b").hexdigest())
    asked = api_pb2.MountPutFileRequest(sha256_hex=hashlib.sha256(b"a").hexdigest())
    assert not (await mounts.MountPutFile(context, asked)).exists
    right = api_pb2.MountPutFileRequest(sha256_hex=hashlib.sha256(b"a").hexdigest(), data=b"a")
    assert (await mounts.MountPutFile(context, right)).exists
    assert (await mounts.MountPutFile(context, asked)).exists
