"""The HTTP edge: one port for gRPC and HTTP, who answers a request, timers, drain."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate

from ionian.config import Config
from ionian.errors import InvalidRequest, NotFound, Unavailable
from ionian.gateway import answers
from ionian.gateway.acquire import Acquirer
from ionian.gateway.answering import Exchange
from ionian.gateway.door import Door
from ionian.gateway.head import Head
from ionian.gateway.http import HttpConnection
from ionian.gateway.internal import Handler, Internal, Request, Response
from ionian.gateway.proxy import Proxied
from ionian.gateway.router import Router
from ionian.gateway.upstream import Kill, Pool

_BACKLOG = 1024


@dataclass(slots=True)
class Counters:
    """What the gateway has done (counts since it started) and is doing (``in_flight``, ``queued``)."""

    accepted: int = 0  # connections
    grpc: int = 0  # connections that spoke HTTP/2
    requests: int = 0
    in_flight: int = 0
    queued: int = 0
    client_gone: int = 0
    responses: list[int] = field(default_factory=lambda: [0] * 6)  # by first digit of the status


class Gateway:
    """``grpc`` makes a protocol per HTTP/2 connection; ``internal`` maps path prefixes on plain hosts to handlers.

    ``kill(container_id, reason)`` ends a container whose application does not return.
    """

    def __init__(
        self,
        config: Config,
        router: Router,
        dispatch: Acquirer,
        internal: Mapping[str, Handler],
        grpc: Callable[[], asyncio.Protocol],
        sweep_s: float = 1.0,
        kill: Kill = lambda container_id, reason: None,
    ) -> None:
        self.config = config
        self.router = router
        self.acquirer = dispatch
        self.grpc = grpc
        self.counters = Counters()
        self.connections: set[Door | HttpConnection] = set()
        self.grpc_transports: set[asyncio.Transport] = set()
        self.draining = False
        self.date = b""
        self.loop: asyncio.AbstractEventLoop
        self.pool: Pool
        self._internal = sorted(((_prefix(path), path, handler) for path, handler in internal.items()), reverse=True)
        self._sweep_s = sweep_s
        self._kill = kill
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._boot = secrets.token_hex(4)
        self._count = 0

    async def start(self, host: str, port: int) -> int:
        """Listen. Returns the port, chosen by the system for 0. Raises ``Unavailable`` when it is taken."""
        self.loop = asyncio.get_running_loop()
        self.pool = Pool(self.loop, self._kill)
        try:
            self._server = await self.loop.create_server(lambda: Door(self), host, port, backlog=_BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Unavailable(
                    f"port {port} on {host} is taken; stop what uses it, or choose another: --port N (0: any free one)"
                ) from error
            if error.errno == errno.EACCES:
                raise InvalidRequest(
                    f"port {port} needs privileges that this user does not have; choose one over 1023"
                ) from error
            raise InvalidRequest(f"cannot listen on {host}:{port}: {error}") from error
        self._sweep()
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def drain(self, timeout_s: float) -> bool:
        """Take no new connections, let requests in flight finish. Returns whether all did within ``timeout_s``."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        deadline = self.loop.time() + timeout_s
        for connection in list(self.connections):
            if connection.idle:
                connection.transport.close()
        while self.counters.in_flight and self.loop.time() < deadline:
            await asyncio.sleep(0.02)
        return not self.counters.in_flight

    async def close(self) -> None:
        """Stop at once: what is still in flight is broken off."""
        self.draining = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._server is None:
            return
        self._server.close()
        for connection in list(self.connections):
            connection.transport.abort()
        for transport in self.grpc_transports:
            transport.abort()
        self.grpc_transports.clear()
        self.pool.close()
        await asyncio.sleep(0)  # let transports report that they are lost
        self._server = None

    def next_id(self) -> bytes:
        """A request id, unique over restarts."""
        self._count += 1
        return f"rq-{self._boot}-{self._count:x}".encode()

    def exchange(self, conn: HttpConnection, head: Head) -> Exchange:
        """Who answers this request. Raises ``NotFound``."""
        target = self.router.resolve(head.host or b"", head.path)
        if target is not None:
            return Proxied(self, conn, head, target)
        for prefix, exact, handler in self._internal:
            if head.path.startswith(prefix) or head.path == exact.encode():
                return Internal(conn, head, handler)
        named = self._is_this_machine((head.host or b"").decode("latin-1"))
        if (named and head.path == b"/") or (head.path == b"/*" and head.method == b"OPTIONS"):
            return Internal(conn, head, self._welcome)
        path, host = head.path.decode("utf-8", "replace"), (head.host or b"").decode("latin-1")
        raise NotFound(
            f"nothing answers at {path!r} on host {host!r}; "
            "web functions have addresses of their own: ionian url APP lists them"
        )

    def _is_this_machine(self, host: str) -> bool:
        """Whether a Host header names this machine: an address, localhost, its own name. Another name is a mistake."""
        name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
        known = ("", "localhost", self.config.host, socket.gethostname(), socket.gethostname().partition(".")[0])
        if name.lower().rstrip(".") in known:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    async def _welcome(self, request: Request) -> Response:
        body = answers.welcome(request.headers.get("host", "ADDRESS"), self.config.workspace)
        return Response(200, [("content-type", "text/plain; charset=utf-8")], body)

    def _sweep(self) -> None:
        """Everything that depends on time, about once a second, instead of a timer for each request."""
        self.date = formatdate(time.time(), usegmt=True).encode()
        now = self.loop.time()
        for connection in list(self.connections):
            connection.expire(now)
        for upstream in list(self.pool.every):
            upstream.expire(now)
        self.grpc_transports = {transport for transport in self.grpc_transports if not transport.is_closing()}
        self._timer = self.loop.call_later(self._sweep_s, self._sweep)


def _prefix(path: str) -> bytes:
    """``/blobs`` and ``/blobs/`` both serve everything below ``/blobs/``."""
    return (path.rstrip("/") + "/").encode()
