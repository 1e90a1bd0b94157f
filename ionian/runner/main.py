"""Entry of a container: load the user's function, say READY or FAILED, serve until told to stop.

The listening socket exists before this process; servers that connect early wait in its backlog until the load is over.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from . import environment, failure, forks, frames, spec
from .client import Client
from .control import Control

_FAILED_WAIT_S = 60.0  # how long a failed start waits for a server to hear of it
_EXIT_HOOKS_S = 30.0  # how long all exit hooks together may take
_EXIT_WAIT_S = 5.0  # how long the user's threads and exit handlers may take after all work is done


class Clock:
    """Milliseconds of each phase since the start of ``main``."""

    def __init__(self) -> None:
        self._began = self._last = time.perf_counter()
        self.phases_ms: dict[str, float] = {}
        self.ready = False  # servers may connect: from here on a failure is no failed start

    def mark(self, phase: str) -> None:
        now = time.perf_counter()
        self.phases_ms[phase] = round((now - self._last) * 1000, 1)
        self.phases_ms["total"] = round((now - self._began) * 1000, 1)
        self._last = now

    def start(self) -> None:
        """The load is over."""
        self.mark("ready")
        self.ready = True
        gc.freeze()


def main() -> None:
    """Run one container. Ends the process: 0 after a stop, 1 when the function could not be loaded."""
    clock = Clock()
    signal.signal(signal.SIGTERM, lambda number, frame: _leave(0))  # an init process ignores it otherwise
    signal.signal(signal.SIGINT, lambda number, frame: _leave(0))
    with open(os.environ["IONIAN_SPEC"], encoding="utf-8") as file:
        launch = spec.load(file.read())
    listener = socket.socket(fileno=int(os.environ["IONIAN_SOCKET_FD"]))
    container_id = os.environ["IONIAN_CONTAINER_ID"]
    if launch.runner == spec.STOCK:
        _stock(launch, listener, container_id)
    environment.prepare(launch, os.environ.get("IONIAN_LIB", ""), container_id)
    clock.mark("prepare")
    client: Client | None = None
    thresholds = gc.get_threshold()
    gc.set_threshold(100_000, *thresholds[1:])  # imports make much and free little: collecting there is lost time
    try:
        if launch.compat:
            environment.install_compat(os.environ.get("IONIAN_LIB", ""))
        client = Client(container_id, launch.function_id)
        clock.mark("client")
        gc.set_threshold(*thresholds)
        _serve(client, launch, listener, clock)
    except BaseException as error:  # noqa: BLE001  the edge: a start that fails is reported, whatever it raised
        if clock.ready:
            failure.show(error)
        else:
            _report(client, error, listener)
        _leave(1)
    threading.Thread(target=_watchdog, daemon=True).start()
    sys.exit(0)


def _serve(client: Client, launch: spec.Launch, listener: socket.socket, clock: Clock) -> None:
    from . import load

    service = load.service(client, launch)
    client.attach(launch)
    clock.mark("module")
    if launch.web is not None:
        from . import site

        loop = site.new_loop(launch.accel_path)
        asyncio.set_event_loop(loop)
        _hooks(service.enter, loop)
        app = site.application(client, launch, service)
        clock.mark("web")
        may_cancel = site.cancellable(launch, service)
        loop.run_until_complete(site.serve(app, launch, listener, _greeter(clock), clock.start, may_cancel))
        _exit_hooks(service.exit, loop)
    elif launch.web_methods:
        from . import site, together

        loop = site.new_loop(launch.accel_path)
        asyncio.set_event_loop(loop)
        _hooks(service.enter, loop)
        sites = together.sites(client, launch, service)
        clock.mark("web")
        forks.register()
        loop.run_until_complete(together.serve(client, launch, service, sites, listener, _greeter(clock), clock.start))
        _exit_hooks(service.exit, loop)
    else:
        _serve_calls(client, launch, service, listener, clock)


def _serve_calls(client: Client, launch: spec.Launch, service: Any, listener: socket.socket, clock: Clock) -> None:
    from .concurrent import Concurrent
    from .invoke import Invoker
    from .job import Call, Job
    from .serial import Serial
    from .station import GRACE_S, Station, Stopping

    loop = asyncio.new_event_loop()
    _hooks(service.enter, loop)
    control = Control(on_inputs=lambda inputs: None, on_cancel=lambda name: None, on_stop=lambda grace: None)
    station = Station(control)
    invoker = Invoker(client, service.targets)
    work: Any
    if launch.max_concurrent_inputs > 1:
        work = Concurrent(client, invoker, station, loop, launch.max_concurrent_inputs)
    else:
        work = Serial(client, invoker, station, loop)
    control.on_inputs = lambda inputs: work.submit(Job([Call.of(header, data) for header, data in inputs]))
    control.on_cancel = work.cancel
    control.on_stop = Stopping(work.stop, work.cancel_all, lambda: control.working)
    greet = _greeter(clock)
    control.greeting = lambda working: greet(
        {"web": False, "web_active": 0, "stopping": control.stopping, "inputs": working}
    )
    signal.signal(signal.SIGTERM, lambda number, frame: station.post(control.stop, GRACE_S))
    forks.register()
    clock.start()
    station.start(listener)
    work.run()
    _exit_hooks(service.exit, loop)
    station.finish()


def _greeter(clock: Clock) -> Callable[[dict[str, Any]], bytes]:
    return lambda fields: frames.control(frames.READY, {**fields, "timings_ms": clock.phases_ms})


def _hooks(hooks: list[Callable[..., Any]], loop: asyncio.AbstractEventLoop) -> None:
    """Run enter or exit hooks in order. Old exit hooks take the three arguments of ``__exit__``."""
    for hook in hooks:
        try:
            wants = len(inspect.signature(hook).parameters)
        except (TypeError, ValueError):
            wants = 0
        result = hook(*([None] * 3 if wants else []))
        if inspect.isawaitable(result):
            loop.run_until_complete(_awaited(result))


def _exit_hooks(hooks: list[Callable[..., Any]], loop: asyncio.AbstractEventLoop) -> None:
    """Run all of them; a failure is printed, for nothing can be done about it any more."""
    if hooks:
        threading.Thread(target=_limit, daemon=True).start()
    for hook in hooks:
        try:
            _hooks([hook], loop)
        except Exception as error:  # noqa: BLE001  the edge to user code
            failure.show(error)


async def _awaited(value: Any) -> Any:
    return await value


def _report(client: Client | None, error: BaseException, listener: socket.socket) -> None:
    """Print the failure, and hand it to the first server that asks."""
    text = failure.show(error)
    environment.flush()
    header, payload = failure.parts(client, error, text)
    frame = frames.control(frames.FAILED, header, payload)
    try:
        asyncio.new_event_loop().run_until_complete(_deliver(frame, listener))
    except Exception as reason:  # noqa: BLE001  user code may have broken asyncio; the process ends with 1 all the same
        environment.say(f"ionian: the failure could not be delivered: {reason!r}")


def _stock(launch: spec.Launch, listener: socket.socket, container_id: str) -> None:
    """Let the client's own entrypoint run the function, and end as it ended."""
    from .stock.main import serve

    code = serve(launch, listener, container_id, _deliver)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    _leave(code)


async def _deliver(frame: bytes, listener: socket.socket) -> None:
    from .link import Link

    delivered = asyncio.Event()

    def greet(working: list[str]) -> bytes:
        delivered.set()
        return frame

    control = Control(on_inputs=lambda inputs: None, on_cancel=lambda name: None, on_stop=lambda grace: None)
    control.on_stop = lambda grace: delivered.set()
    control.greeting = greet
    link = Link(control.connect)
    await link.serve(listener)
    await asyncio.wait_for(delivered.wait(), _FAILED_WAIT_S)
    await asyncio.wait_for(control.close(), _EXIT_WAIT_S)
    link.close()


def _limit() -> None:
    time.sleep(_EXIT_HOOKS_S)
    environment.say(f"ionian: the exit hooks took more than {_EXIT_HOOKS_S:.0f} s; leaving them")
    _leave(1)


def _watchdog() -> None:
    time.sleep(_EXIT_WAIT_S)
    environment.say("ionian: threads of the program still run after its end; leaving them")
    _leave(0)


def _leave(code: int) -> None:
    environment.flush()
    os._exit(code)
