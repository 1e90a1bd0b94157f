"""What the server answers itself on its port: blobs, health, status, a page per app; and the way to gRPC."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from grpclib.server import Server as GrpcServer

from ionian import __version__, overview
from ionian.api import approval, blobs, page, parking, scheduling
from ionian.api.context import Context
from ionian.errors import NotFound, Unauthenticated
from ionian.gateway.internal import Handler, Request, Response
from ionian.services import Server
from ionian.state import rotate, tokens


def routes(server: Server, context: Context) -> Mapping[str, Handler]:
    """Handlers by path prefix, for the gateway."""

    async def blob(request: Request) -> Response:
        return _response(await blobs.answer(context, request.path.removeprefix("/_blob/"), request))

    async def health(request: Request) -> Response:
        return _json({"ok": True})

    async def status(request: Request) -> Response:
        await _authenticate(context, request)
        return _json(_status(server, await scheduling.answer(context, "GET", "", "")))

    async def token(request: Request) -> Response:
        flow_id = request.path.removeprefix("/_ionian/token").strip("/")
        if flow_id:
            return _response(await approval.answer(context, flow_id, request))
        if request.method != "POST":
            raise NotFound("a token request has an address of its own: `modal token new` prints it")
        await approval.by_code(context, request, await _authenticate(context, request))
        return _json({"approved": True})

    async def secret_key(request: Request) -> Response:
        await _authenticate(context, request)
        if request.method != "POST":
            raise NotFound("`ionian secret rotate-key` sends a POST")
        return _json(await _rotate(context, request.path.endswith("/lost")))

    async def schedule(request: Request) -> Response:
        await _authenticate(context, request)
        path = request.path.removeprefix("/_ionian/schedule")
        return _json(await scheduling.answer(context, request.method, path, request.query))

    async def app(request: Request) -> Response:
        return _response(await page.answer(context, request.path.removeprefix("/_ionian/app").strip("/"), request))

    return {
        "/_blob": blob,
        "/_ionian/app": app,
        "/_ionian/health": health,
        "/_ionian/schedule": schedule,
        "/_ionian/secret-key": secret_key,
        "/_ionian/status": status,
        "/_ionian/token": token,
    }


async def _rotate(context: Context, lost: bool) -> dict[str, object]:
    database, key_file = context.database, context.config.secret_key_file
    if lost:
        return {"sealed": 0, "unreadable": await rotate.begin_anew(database, key_file)}
    sealed, unreadable = await rotate.rotate(database, key_file, context.now)
    return {"sealed": sealed, "unreadable": unreadable}


def _response(answer: blobs.HttpAnswer) -> Response:
    return Response(answer.status, [(name.decode(), value.decode()) for name, value in answer.headers], answer.body)


def _status(server: Server, scheduled: Mapping[str, Any]) -> dict[str, object]:
    config, info = server.config, server.engine.info
    return {
        "version": __version__,
        "pid": os.getpid(),
        "worker_pid": info.pid,
        "host": config.host,
        "port": server.port,
        "url": server.base_url,
        "home": str(config.home),
        "isolation": str(info.isolation),
        "details": list(info.details),
        **overview.of(server, scheduled["schedules"]),
    }


async def _authenticate(context: Context, request: Request) -> str:
    """The token id. Raises Unauthenticated unless ``authorization: Bearer TOKEN_ID:TOKEN_SECRET`` is right."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    token_id, _, secret = credentials.partition(":")
    if scheme.lower() != "bearer" or not await context.database.read(tokens.check, token_id, secret):
        raise Unauthenticated("send `authorization: Bearer TOKEN_ID:TOKEN_SECRET`; `ionian env` prints both")
    return token_id


def _json(value: object) -> Response:
    body = json.dumps(value, indent=1).encode() + b"\n"
    return Response(200, [("content-type", "application/json"), ("content-length", str(len(body)))], body)


def grpc_factory(service: GrpcServer) -> Callable[[], asyncio.Protocol]:
    """Protocols for HTTP/2 connections. The library makes them itself only for sockets that it has opened itself."""
    return parking.protocols(service)
