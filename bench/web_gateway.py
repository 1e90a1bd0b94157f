"""The gateway before one container, without the rest of the server: ``python bench/web_gateway.py PORT SOCKET``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from ionian.config import Config
from ionian.gateway.router import Router, WebFunction
from ionian.gateway.server import Gateway


class Unlimited:
    """An acquirer with one container that always has room, and its slot."""

    container_id = "ta-bench"

    def __init__(self, path: str) -> None:
        self.socket = path

    def try_acquire(self, function_id: str) -> Unlimited:
        return self

    async def acquire(self, function_id: str, timeout_s: float) -> Unlimited:
        return self

    def release(self, broken: bool = False) -> None:
        if broken:
            print("broken slot", file=sys.stderr)


async def main(port: int, path: str) -> None:
    router = Router()
    router.replace([WebFunction("fu-bench", "local", "bench", "predict", "local--bench-predict", 300)])
    gateway = Gateway(Config(Path("/nonexistent")), router, Unlimited(path), {}, asyncio.Protocol)
    await gateway.start("127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
