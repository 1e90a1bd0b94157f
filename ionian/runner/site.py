"""Serving a web function: the application and the link share one event loop on the main thread."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from .client import Client, NotBuilt, is_async
from .control import Control
from .link import Link
from .load import Service
from .spec import Launch, Web
from .station import GRACE_S, Stopping, finish
from .web import WebServer


def application(client: Client, launch: Launch, service: Service) -> Any:
    """The ASGI application of a web function. Runs user code; raises what it raises."""
    if launch.web is None or service.web is None:
        raise NotBuilt(f"{launch.function_name} is not a web function")
    return built(client, launch, launch.web, service.web)


def built(client: Client, launch: Launch, web: Web, found: Callable[..., Any]) -> Any:
    """The ASGI application of a callable. Runs user code; raises what it raises."""
    if web.kind == "function":
        return client.fastapi_app(found, web.method, web.docs)
    app = found()
    if web.kind == "asgi":
        return app
    if web.kind == "wsgi":
        from . import wsgi

        return wsgi.adapt(app, max(1, launch.max_concurrent_inputs))
    raise NotBuilt(f"web functions of kind {web.kind!r} are not served yet")


def cancellable(launch: Launch, service: Service) -> bool:
    """Whether the application is one async function, which runs nothing in threads."""
    web = service.web
    return launch.web is not None and launch.web.kind == "function" and web is not None and is_async(web)


def new_loop(accel_path: str = "") -> asyncio.AbstractEventLoop:
    """uvloop's, the image's own or else ours; unless the image can patch asyncio in a way that uvloop refuses."""
    if importlib.util.find_spec("nest_asyncio") is not None:
        return asyncio.new_event_loop()
    sys.path.extend([accel_path] if accel_path else [])
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    finally:
        if accel_path:
            sys.path.remove(accel_path)
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


async def serve(
    app: Any,
    launch: Launch,
    listener: socket.socket,
    greet: Callable[[dict[str, Any]], bytes],
    ready: Callable[[], None],
    may_cancel: bool,
) -> None:
    """Serve until told to stop and drained. ``greet`` makes the first control frame for each server.

    ``may_cancel``: what ``cancellable`` says of the application.
    ``ready`` is called when the application has started; what is raised before is a failed start.
    """
    stopped = asyncio.Event()
    control = Control(on_inputs=lambda inputs: None, on_cancel=lambda name: None, on_stop=lambda grace: None)
    link = Link(control.connect)
    server = WebServer(
        app,
        name=launch.function_name.replace(".*", ""),
        cancellable=may_cancel,
        on_end=lambda orphan: control.freed() if orphan else None,
    )
    await server.startup()
    stop = Stopping(stopped.set, server.close, lambda: server.active)
    control.on_stop = stop
    control.greeting = lambda working: greet(
        {"web": True, "web_active": server.active, "stopping": control.stopping, "inputs": working}
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, control.stop, GRACE_S)
    link.open_web(server.protocol)
    ready()
    await link.serve(listener)
    await stopped.wait()
    await server.drain()
    await server.shutdown()
    await finish(control, link)
