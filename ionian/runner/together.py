"""A class that answers HTTP and calls in one container: applications, calls and the link share one event loop.

How much runs at once is the server's to decide: a request and a call take a slot alike. Sync methods have threads.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from typing import Any

from . import site
from .client import Client, is_async
from .concurrent import Concurrent
from .control import Control
from .invoke import Invoker
from .job import Call, Job
from .link import Link
from .load import Service
from .spec import Launch
from .station import GRACE_S, Station, Stopping, finish
from .web import Site, WebServer


def sites(client: Client, launch: Launch, service: Service) -> dict[str, Site]:
    """The application of each web method. Runs user code; raises what it raises."""
    made = {}
    for web in launch.web_methods:
        method = service.web_methods[web.class_method]
        app = site.built(client, launch, web, method)
        name = launch.function_name.replace("*", web.class_method)
        made[web.class_method] = Site(app, name, cancellable=web.kind == "function" and is_async(method))
    return made


async def serve(
    client: Client,
    launch: Launch,
    service: Service,
    sites: dict[str, Site],
    listener: socket.socket,
    greet: Callable[[dict[str, Any]], bytes],
    ready: Callable[[], None],
) -> None:
    """Serve until told to stop and drained. ``greet`` and ``ready``: as for ``site.serve``."""
    loop = asyncio.get_running_loop()
    stopped, worked = asyncio.Event(), asyncio.Event()
    control = Control(on_inputs=lambda inputs: None, on_cancel=lambda name: None, on_stop=lambda grace: None)
    link = Link(control.connect)
    server = WebServer(on_end=lambda orphan: control.freed() if orphan else None)
    server.sites = sites
    await server.startup()
    invoker, limit = Invoker(client, service.targets), max(1, launch.max_concurrent_inputs)
    work = Concurrent(client, invoker, Station(control, loop), loop, limit, worked.set)
    control.on_inputs = lambda inputs: work.submit(Job([Call.of(header, data) for header, data in inputs]))
    control.on_cancel = work.cancel

    def stop() -> None:
        stopped.set()
        work.stop()

    def cancel() -> None:
        work.cancel_all()
        server.close()

    control.on_stop = Stopping(stop, cancel, lambda: control.working or server.active)
    control.greeting = lambda working: greet(
        {"web": True, "web_active": server.active, "stopping": control.stopping, "inputs": working}
    )
    loop.add_signal_handler(signal.SIGTERM, control.stop, GRACE_S)
    link.open_web(server.protocol)
    ready()
    await link.serve(listener)
    await stopped.wait()
    await worked.wait()
    await server.drain()
    await server.shutdown()
    await finish(control, link)
