"""The parent process of the entrypoint: starts it, waits until it is loaded, then serves as the first runner does.

It ends as the child ended: same exit code, same signal.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from .. import environment, frames, interactive
from ..control import Control
from ..flow import Flow
from ..job import Call
from ..link import Link
from ..spec import NEWEST_KNOWN, Launch, is_newer
from ..station import GRACE_S, Stopping, finish
from ..web import Site, WebServer
from . import child, wire
from .answers import Answers, failure_parts
from .blobs import Blobs
from .desk import TERMINATED, Desk, Job
from .proxy import Proxy
from .tunnel import PICKLE, Tunnel

_SOCKET = "modal.sock"
_TOKEN = ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET")  # stays here: who comes through the socket is known by it
_LONGEST_PATH = 100  # bytes of a unix socket's path
_DOCUMENTATION = ("docs", "redoc")  # paths that a web function with documentation answers itself
_TOO_LARGE = frames.MAX_PAYLOAD - 1024 * 1024  # bytes of a result

Deliver = Callable[[bytes, socket.socket], Any]


def serve(launch: Launch, listener: socket.socket, container_id: str, deliver: Deliver) -> int:
    """Run one container to its end; its exit code, or minus the number of the signal that ended it.

    ``deliver`` hands a FAILED frame to the first server that asks.
    """
    library = os.environ.get("IONIAN_LIB", "")
    code_root = {launch.code_root, library}
    sys.path[:] = [path for path in environment.search_path(launch, library, sys.path) if path not in code_root]
    if is_newer(launch.client_version):
        known = ".".join(map(str, NEWEST_KNOWN))
        print(  # noqa: T201 - the container's own log
            f"ionian: warning: client {launch.client_version} is newer than this Ionian knows (up to {known}): "
            "its own container entrypoint runs this function",
            file=sys.stderr,
            flush=True,
        )
    folder = _folder()
    try:
        return asyncio.new_event_loop().run_until_complete(_Parent(launch, container_id, folder).run(listener, deliver))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _folder() -> Path:
    """A private directory for the socket: the container's own, if it can be written, for it goes with the container."""
    place = Path(os.environ["IONIAN_SPEC"]).parent
    fits = len(os.fsencode(place)) + len("/entry-12345678/" + _SOCKET) <= _LONGEST_PATH
    inside = str(place) if fits and os.access(place, os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="entry-", dir=inside))


class _Parent:
    """One container: the RPC server, the child, the link."""

    def __init__(self, launch: Launch, container_id: str, folder: Path) -> None:
        self._launch = launch
        self._container_id = container_id
        self._folder = folder
        self._api = wire.protocol()
        self._desk = Desk(repeats=hasattr(self._api, "AppLayout"))  # clients up to 0.64 act each time
        self._blobs = Blobs()
        self._interactive = interactive.WANTED in os.environ  # the terminal's signals are for the child

    async def run(self, listener: socket.socket, deliver: Deliver) -> int:
        definition = Path(self._launch.definition).read_bytes()
        params = Path(self._launch.params).read_bytes() if self._launch.params else b""
        arguments = wire.arguments(self._api, self._launch, self._container_id, definition, params)
        (self._folder / "arguments").write_bytes(arguments.SerializeToString())
        if self._interactive:
            signal.signal(signal.SIGINT, lambda number, frame: None)
        waiting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        waiting.bind(str(self._folder / _SOCKET))
        waiting.listen(16)
        process = await self._start(arguments)
        await self._blobs.open()
        forward = self._proxy().forward
        answers = Answers(self._api, self._launch, arguments.function_def, self._desk, self._blobs, forward)
        server = wire.server(answers.table(), forward)
        await server.start(sock=waiting)
        ended = asyncio.ensure_future(process.wait())
        await _either(ended, self._desk.asked.wait())
        if answers.failed:
            await ended
            await deliver(answers.failed, listener)
            return 1
        if not self._desk.asked.is_set():
            return await ended
        return await self._serve(listener, ended)

    def _proxy(self) -> Proxy:
        token_id, secret = (os.environ.get(name, "") for name in _TOKEN)
        return Proxy(self._api, os.environ.get("MODAL_SERVER_URL", ""), (token_id, secret), self._blobs)

    async def _start(self, arguments: Any) -> asyncio.subprocess.Process:
        package = __name__.split(".stock.", maxsplit=1)[0]
        boot = child.BOOT.format(lib=os.environ.get("IONIAN_LIB", ""), package=package)
        command = [sys.executable, "-c", boot]
        if not hasattr(self._api, "AppLayout"):  # clients up to 0.64 take them from the command line
            command.append(base64.b64encode(arguments.SerializeToString()).decode())
        env = {
            **{name: value for name, value in os.environ.items() if name not in _TOKEN},
            "MODAL_SERVER_URL": f"unix://{self._folder / _SOCKET}",
            "MODAL_CONTAINER_ARGUMENTS_PATH": str(self._folder / "arguments"),
        }
        return await asyncio.create_subprocess_exec(*command, env=env, start_new_session=not self._interactive)

    async def _serve(self, listener: socket.socket, ended: asyncio.Future[int]) -> int:
        control = Control(on_inputs=lambda inputs: None, on_cancel=self._desk.cancel, on_stop=lambda grace: None)
        control.on_inputs = lambda inputs: self._desk.submit(*(self._job(control, *one) for one in inputs))
        link = Link(control.connect)
        stopped = asyncio.Event()
        web = self._web(control) if self._launch.web is not None or self._launch.web_methods else None

        def cancel() -> None:
            self._desk.cancel_all()
            if web is not None:
                web.close()

        control.on_stop = Stopping(stopped.set, cancel, lambda: control.working or (web is not None and web.active))
        control.greeting = lambda working: frames.control(
            frames.READY,
            {
                "web": web is not None,
                "web_active": web.active if web else 0,
                "inputs": working,
                "stopping": control.stopping,
                "timings_ms": {},
            },
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, control.stop, GRACE_S)
        if web is not None:
            await web.startup()
            link.open_web(web.protocol)
        await link.serve(listener)
        await _either(ended, stopped.wait())
        if web is not None and not ended.done():
            await _either(ended, web.drain())
        self._desk.stop()
        code = await ended
        if (code == 0 and not control.busy) or stopped.is_set():
            await finish(control, link)
        return code

    def _web(self, control: Control) -> WebServer:
        """A function's application, or those of the web methods of a class."""
        server = WebServer(on_end=lambda orphan: control.freed() if orphan else None)
        own = (self._launch.web,) if self._launch.web is not None else ()
        for web in (*own, *self._launch.web_methods):
            name = self._launch.function_name.replace("*", web.class_method)
            tunnel = Tunnel(self._api, self._desk, web.class_method)
            if web.kind == "function" and not (web.docs and name in _DOCUMENTATION):
                tunnel.routes = ()  # nothing at /NAME; of other applications nothing can be seen from here
            server.sites[web.class_method] = Site(tunnel, name)
        return server

    def _job(self, control: Control, header: dict[str, Any], args: bytes) -> Job:
        call = Call.of(header, args)
        limit = max(call.max_result, _TOO_LARGE)

        async def output(item: Any) -> None:
            control.output(*_output(item, limit), call.max_result > 0)

        flow = Flow(
            call.window, control.writable, lambda index, form, data: control.item(call.input_id, index, form, data)
        )
        control.flow(call.input_id, flow)

        async def chunk(data: Any) -> None:
            await flow.room()
            flow.send(data.index, data.data_format, data.data)

        return Job(
            input_id=call.input_id,
            call_id=call.call_id,
            method=call.method,
            data_format=call.data_format,
            args=args,
            attempt=int(header.get("attempt") or 0),
            output=output,
            chunk=chunk,
            dropped=lambda: control.output({"id": call.input_id, "status": TERMINATED, "parts": [0, 0, 0]}, b""),
            release=flow.release,
        )


async def _either(ended: asyncio.Future[Any], other: Coroutine[Any, Any, Any]) -> None:
    """Wait for the end of the child or for something else."""
    task: asyncio.Future[Any] = asyncio.get_running_loop().create_task(other)
    await asyncio.wait([ended, task], return_when=asyncio.FIRST_COMPLETED)
    task.cancel()


def _output(item: Any, limit: int) -> tuple[dict[str, Any], bytes]:
    """An OUTPUT frame's header and payload."""
    header, payload = failure_parts(item.result)
    status = item.result.status
    if len(payload) > limit:
        text = f"the result has {len(payload)} bytes; the limit is {limit}"
        status, payload = 2, b""
        header = {"exception": text, "traceback": "", "parts": [0, 0, 0]}
    fields = {
        "id": item.input_id,
        "status": status,
        "data_format": item.data_format or PICKLE,
        "started_at": item.input_started_at,
        "created_at": item.output_created_at,
    }
    return {**header, **fields}, payload
