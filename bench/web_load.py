"""A load generator on raw connections: every response's status and body are checked. Prints one JSON line.

``python bench/web_load.py HOST PORT PATH CONNECTIONS SECONDS [HOST_HEADER]``
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast

import uvloop

REQUESTS = [
    ([5.1, 3.5, 1.4, 0.2], {"prediction": 0, "class_name": "setosa"}),
    ([6.0, 2.8, 4.2, 1.3], {"prediction": 1, "class_name": "versicolor"}),
    ([6.7, 3.0, 5.8, 2.2], {"prediction": 2, "class_name": "virginica"}),
]


class Client(asyncio.Protocol):
    """One connection that asks again as soon as it has its answer."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._turn = 0
        self._sent = 0.0
        self._data = b""
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def _ask(self) -> None:
        self._turn += 1
        self._sent = time.perf_counter()
        self._transport.write(self._run.requests[self._turn % len(REQUESTS)])

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, mark, body = self._data.partition(b"\r\n\r\n")
        if not mark:
            return
        at = head.lower().index(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self._run.latencies.append(time.perf_counter() - self._sent)
        self._data = b""
        if not head.startswith(b"HTTP/1.1 200") or json.loads(body) != REQUESTS[self._turn % len(REQUESTS)][1]:
            self._run.wrong.append((head + b"\r\n\r\n" + body).decode())
        if time.perf_counter() < self._run.until:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if time.perf_counter() < self._run.until:
            self._run.wrong.append("connection lost")
        self._run.open -= 1
        if not self._run.open:
            self._run.over.set_result(None)


class Run:
    def __init__(self, host: str, path: str, seconds: float, connections: int) -> None:
        self.requests = [self._request(host, path, features) for features, _ in REQUESTS]
        self.latencies: list[float] = []
        self.wrong: list[str] = []
        self.until = time.perf_counter() + seconds
        self.open = connections
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @staticmethod
    def _request(host: str, path: str, features: list[float]) -> bytes:
        body = json.dumps({"features": features}).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        )
        return head.encode() + b"\r\n" + body


async def main(host: str, port: int, path: str, connections: int, seconds: float, name: str) -> None:
    run = Run(name, path, seconds, connections)
    began = time.perf_counter()
    for _ in range(connections):
        await asyncio.get_running_loop().create_connection(lambda: Client(run), host, port)
    await run.over
    took = time.perf_counter() - began
    ordered = sorted(run.latencies)
    result = {
        "requests": len(ordered),
        "per_second": len(ordered) / took,
        "p50_us": ordered[len(ordered) // 2] * 1e6,
        "p99_us": ordered[len(ordered) * 99 // 100] * 1e6,
        "wrong": len(run.wrong),
        "example": run.wrong[:1],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    host, port, path, connections, seconds = sys.argv[1:6]
    name = sys.argv[6] if len(sys.argv) > 6 else host
    uvloop.run(main(host, int(port), path, int(connections), float(seconds), name))
