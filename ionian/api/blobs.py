"""Blobs: what is too large for a message goes over HTTP, to an address that a ticket opens for one blob and verb."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from ionian.api.context import Context
from ionian.errors import InvalidRequest, NotFound
from ionian.state import blobs
from ionian.wire import api_pb2

TICKET_S = 6 * 3600.0  # how long an address is good: large uploads on slow links
CHUNK_BYTES = 1 << 20


async def BlobCreate(ctx: Context, request: api_pb2.BlobCreateRequest) -> api_pb2.BlobCreateResponse:
    """An address to which a blob of this size and digest may be PUT; again only with the same bytes (a retry)."""
    sha256 = base64.b64decode(request.content_sha256_base64).hex() if request.content_sha256_base64 else ""
    blob_id = await ctx.database.write(blobs.create, request.content_length, request.content_md5, sha256, ctx.now)
    ticket = await ctx.database.write(blobs.ticket, blob_id, blobs.PUT, ctx.now + TICKET_S)
    url = ctx.services.blob_url(ctx.caller.host, ticket)
    response = api_pb2.BlobCreateResponse(blob_id=blob_id, upload_url=url, blob_ids=[blob_id])
    response.upload_urls.items.append(url)  # where clients since 1.2 look
    return response


async def BlobGet(ctx: Context, request: api_pb2.BlobGetRequest) -> api_pb2.BlobGetResponse:
    """An address from which a blob can be read for a while."""
    await ctx.database.read(blobs.get, request.blob_id)
    ticket = await ctx.database.write(blobs.ticket, request.blob_id, blobs.GET, ctx.now + TICKET_S)
    return api_pb2.BlobGetResponse(download_url=ctx.services.blob_url(ctx.caller.host, ticket))


class HttpRequest(Protocol):
    """What these handlers need of an HTTP request."""

    @property
    def method(self) -> str: ...

    @property
    def body(self) -> AsyncIterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Status, headers and body of an answer, for the gateway to send."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes | AsyncIterator[bytes] = b""


async def answer(ctx: Context, ticket: str, request: HttpRequest) -> HttpAnswer:
    """One HTTP request for ``/_blob/<ticket>``. Raises NotFound, InvalidRequest."""
    if request.method == "PUT":
        return await _put(ctx, ticket, request.body)
    if request.method == "GET":
        return await _get(ctx, ticket)
    return HttpAnswer(405, ((b"allow", b"GET, PUT"),))


async def _put(ctx: Context, ticket: str, body: AsyncIterator[bytes]) -> HttpAnswer:
    row = await ctx.database.read(blobs.admit, ticket, blobs.PUT, ctx.now)
    md5 = hashlib.md5(usedforsecurity=False)

    async def checked() -> AsyncIterator[bytes]:
        size = 0
        async for chunk in body:
            size += len(chunk)
            if size > row["size"]:
                raise InvalidRequest(f"more than the announced {row['size']} bytes were sent")
            md5.update(chunk)
            yield chunk
        if size != row["size"]:
            raise InvalidRequest(f"{size} bytes were sent, {row['size']} were announced")

    sha256, size = await ctx.blobs.put_stream(checked())
    if row["sha256"] and row["sha256"] != sha256:  # announced, or stored by an earlier attempt
        raise InvalidRequest(f"the bytes sent have the digest {sha256}, announced was {row['sha256']}")
    await ctx.database.write(blobs.stored, row["blob_id"], sha256, size)
    return HttpAnswer(200, ((b"etag", b'"' + md5.hexdigest().encode() + b'"'),))


async def _get(ctx: Context, ticket: str) -> HttpAnswer:
    row = await ctx.database.read(blobs.admit, ticket, blobs.GET, ctx.now)
    if not row["stored"]:
        raise NotFound("this blob has not been uploaded")
    path = await asyncio.to_thread(ctx.blobs.verified, row["sha256"])

    async def chunks() -> AsyncIterator[bytes]:
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    headers = ((b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % row["size"]))
    return HttpAnswer(200, headers, chunks())
