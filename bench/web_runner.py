"""One container's web side: ``python bench/web_runner.py SOCKET MODULE:APP``. Standard library and the app only."""

from __future__ import annotations

import asyncio
import importlib
import socket
import sys

from ionian.runner.link import Link
from ionian.runner.web import WebServer


async def main(path: str, target: str) -> None:
    module, _, name = target.partition(":")
    web = WebServer(getattr(importlib.import_module(module), name))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(128)
    link = Link(asyncio.Protocol)
    await web.startup()
    await link.serve(listener)
    link.open_web(web.protocol)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
