"""Web requests through the entrypoint: an ASGI application whose messages travel as data chunks of a call."""

from __future__ import annotations

import asyncio
import itertools
import pickle
from typing import Any

from ..exchange import Reported
from .desk import Desk, Job

PICKLE = 1  # the client's DataFormat
SUCCESS = 1  # the client's GenericStatus
_FIRST_PIECE_S = 2.0  # the entrypoint gives a request up when nothing of it comes within 5 s
_PICKLE_PROTOCOL = 4


class Tunnel:
    """The application that our web server runs in the parent. ``method``: of a class, else empty."""

    def __init__(self, api: Any, desk: Desk, method: str) -> None:
        self._api = api
        self._desk = desk
        self._method = method
        self._number = itertools.count(1)
        self.routes: tuple[()] | None = None  # what ``alias`` looks at: not to be seen, or none

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} here: the entrypoint does that itself")
        seen: asyncio.Queue[Any] = asyncio.Queue(1)
        job = self._job(scope, seen)
        self._desk.submit(job)
        pump = asyncio.get_running_loop().create_task(self._pump(receive, job))
        try:
            while True:
                found = await seen.get()
                if not isinstance(found, dict):
                    break
                await send(found)
        finally:
            pump.cancel()
        if found != SUCCESS:
            raise Reported("the entrypoint has printed why")

    def _job(self, scope: dict[str, Any], seen: asyncio.Queue[Any]) -> Job:
        number = next(self._number)
        shown = {name: value for name, value in scope.items() if name != "state"}

        async def output(item: Any) -> None:
            await seen.put(item.result.status)

        async def chunk(data: Any) -> None:
            message = response_message(self._api.Asgi.FromString(data.data))
            if message is not None:
                await seen.put(message)

        return Job(
            input_id=f"in-web-{number}",
            call_id=f"fc-web-{number}",
            method=self._method,
            data_format=PICKLE,
            args=pickle.dumps(((shown,), {}), _PICKLE_PROTOCOL),
            attempt=0,
            output=output,
            chunk=chunk,
            dropped=lambda: seen.put_nowait(0),
        )

    async def _pump(self, receive: Any, job: Job) -> None:
        """The request's body, piece by piece, then the news that nobody waits any more."""
        waiting = asyncio.ensure_future(receive())
        try:
            done, _ = await asyncio.wait({waiting}, timeout=_FIRST_PIECE_S)
            if not done:
                await job.body.put(self._request(b"", True))
            while True:
                message = await waiting
                if message["type"] == "http.disconnect":
                    await job.body.put(self._api.Asgi(http_disconnect={}).SerializeToString())
                    return
                await job.body.put(self._request(message.get("body", b""), message.get("more_body", False)))
                waiting = asyncio.ensure_future(receive())
        finally:
            waiting.cancel()

    def _request(self, body: bytes, more: bool) -> bytes:
        piece = self._api.Asgi(http_request={"body": body, "more_body": more})
        data: bytes = piece.SerializeToString()
        return data


def response_message(asgi: Any) -> dict[str, Any] | None:
    """An ASGI message of the application. None for what HTTP/1.1 clients of ours cannot get (trailers)."""
    kind = asgi.WhichOneof("type")
    if kind == "http_response_start":
        flat = list(asgi.http_response_start.headers)
        headers = list(zip(flat[::2], flat[1::2]))  # noqa: B905 - older interpreters run this file too
        return {"type": "http.response.start", "status": asgi.http_response_start.status, "headers": headers}
    if kind == "http_response_body":
        body = asgi.http_response_body
        return {"type": "http.response.body", "body": body.body, "more_body": body.more_body}
    return None
