"""A server for one test: real gRPC, rows, blobs and logs; builds and containers are played by the test.

``functions`` holds what containers would run, by function name: the stage unpickles arguments and pickles results.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import time
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from grpclib.server import Server

from ionian.api import approval, page
from ionian.api import blobs as api_blobs
from ionian.api.context import Context, Inside
from ionian.api.modules import MODULES, ROUTER_MODULES
from ionian.api.servicer import Servicer, assemble, assemble_router
from ionian.blobs.files import FileBlobStore
from ionian.config import Config
from ionian.dispatch.slot import Slot
from ionian.errors import IonianError, NotFound
from ionian.logs import STDOUT, Record, Writer
from ionian.model import FunctionSpec, InputRef, JournalEntries, OpenInput, OutputRecord, RunningContainer, Status
from ionian.state import calls, functions, images, labels, passes, sandboxes, tokens
from ionian.state.database import SqliteDatabase
from ionian.state.migrate import migrate
from ionian.state.watch import Watch, call_topic, image_topic, logs_topic
from tests.wire.commands import PlayedExecs

TOKEN = ("ak-test", "as-test")
CONTAINER_KEY = b"k" * passes.KEY_BYTES
PICKLE, GENERATOR_DONE = 1, 3


@dataclass
class Played:
    """The server's insides, played: implements ``api.context.Services``."""

    config: Config
    database: SqliteDatabase
    watch: Watch
    blobs: FileBlobStore
    functions: dict[str, Callable[..., Any]] = field(default_factory=dict)
    failing_builds: dict[str, str] = field(default_factory=dict)  # text in a command -> error of the build
    hanging_builds: bool = False
    refuse: Exception | None = None  # what prepare raises
    live: list[FunctionSpec] = field(default_factory=list)
    reloads: int = 0
    released: list[str] = field(default_factory=list)
    submitted: list[OpenInput] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    running: list[RunningContainer] = field(default_factory=list)
    machine_gpus: list[str] = field(default_factory=list)
    alive: dict[str, Inside] = field(default_factory=dict)  # containers whose tokens are good
    http_port: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    execs: PlayedExecs = field(default_factory=PlayedExecs)
    grpc_port: int = 0
    sandbox_envs: dict[str, dict[str, str]] = field(default_factory=dict)

    def submit(self, inputs: list[OpenInput]) -> None:
        self.submitted += inputs
        for given in inputs:
            self._start(self._run(given))

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _run(self, opened: OpenInput) -> None:
        name = (await self.database.read(functions.get, opened.function_id))["name"]
        claim = JournalEntries(claims=((opened.input_id, "ta-1"),))
        given = (await self.database.write(calls.commit, claim)).claimed[0]
        assert given is not None
        body = self.functions.get(given.method or name)
        if body is None:
            return  # never answered
        data = given.args or await self.blobs.get(given.args_blob)
        args, kwargs = pickle.loads(data)
        try:
            result = body(*args, **kwargs)
            if hasattr(result, "__next__"):
                record = await self._yield(given, result)
            else:
                record = OutputRecord(given.input_id, given.call_id, Status.SUCCESS, PICKLE, pickle.dumps(result))
        except Exception as error:  # noqa: BLE001 - what a container does with user code
            record = OutputRecord(
                given.input_id,
                given.call_id,
                Status.FAILURE,
                PICKLE,
                pickle.dumps(error),
                exception=repr(error),
                traceback=traceback.format_exc(),
            )
        await self.database.write(calls.record_output, record)
        self.watch.notify(call_topic(given.call_id))

    async def _yield(self, given: InputRef, items: Any) -> OutputRecord:
        count = 0
        for item in items:
            count += 1
            await self.database.write(calls.add_item, given.call_id, count, PICKLE, pickle.dumps(item))
            self.watch.notify(call_topic(given.call_id))
            await asyncio.sleep(0)
        done = b"\x08" + bytes([count])  # the GeneratorDone message: field 1, a small number
        return OutputRecord(given.input_id, given.call_id, Status.SUCCESS, GENERATOR_DONE, done)

    def cancel(self, call_id: str, terminate_containers: bool) -> None:
        self.cancelled.append(call_id)

    def queued(self, function_id: str) -> int:
        return 0

    async def enlist(self, function_id: str) -> bool:
        return False

    def reserve(self, function_id: str) -> None:
        return None

    def start(self, slot: Slot, opened: OpenInput, ref: InputRef) -> None:
        raise AssertionError("nothing is reserved here")

    def taken(self, call_id: str, items: int) -> None:
        pass

    async def reload(self) -> None:
        self.reloads += 1
        self.live = await self.database.read(functions.live)

    def build(self) -> None:
        if not self.hanging_builds:
            self._start(self._build())

    async def _build(self) -> None:
        while waiting := await self.database.read(images.pending):
            for image_id in waiting:
                await self.database.write(images.begin, image_id)
                await self._build_one(image_id)

    async def _build_one(self, image_id: str) -> None:
        order = await self.database.read(images.build_request, image_id)
        writer = Writer(self.config.logs / image_id, 1 << 20)
        error = ""
        for number, command in enumerate(order.recipe.dockerfile_commands, 1):
            writer.append([Record(number, "", "", STDOUT, f"step: {command}\n")])
            self.watch.notify(image_topic(image_id))
            error = next((text for part, text in self.failing_builds.items() if part in command), error)
        writer.close()
        layers = (*order.base_layers, f"layer-of-{image_id}")
        if error:
            await self.database.write(images.fail, image_id, error, time.time())
        else:
            found = {"python_version_info": "Python 3.11.2"}
            await self.database.write(
                images.finish, image_id, layers, (("A", "1"),), "/root", "3.11", found, time.time()
            )
        self.watch.notify(image_topic(image_id))

    async def release(self, app_id: str) -> None:
        self.released.append(app_id)

    async def prepare(self, spec: FunctionSpec) -> None:
        if self.refuse:
            raise self.refuse

    def url(self, suffix: str, label: str) -> str:
        return f"http://{labels.host(self.config.workspace, suffix, label)}.localhost:1"

    def blob_url(self, host: str, ticket: str) -> str:
        return f"http://{host or '127.0.0.1'}:{self.http_port}/_blob/{ticket}"

    def token_url(self, host: str, flow_id: str) -> str:
        return f"http://{host or '127.0.0.1'}:{self.http_port}/_ionian/token/{flow_id}"

    def app_url(self, host: str, app_id: str) -> str:
        return f"http://{host or '127.0.0.1'}:{self.http_port}/_ionian/app/{app_id}"

    async def gpus(self) -> list[str]:
        return self.machine_gpus

    def containers(self) -> list[RunningContainer]:
        return self.running

    def router_url(self, host: str) -> str:
        return f"http://{host or '127.0.0.1'}:{self.grpc_port}"

    async def start_sandbox(self, sandbox_id: str, env: dict[str, str]) -> None:
        row = await self.database.read(sandboxes.get, sandbox_id)
        self.sandbox_envs[sandbox_id] = env
        self.running.append(RunningContainer(row["container_id"], sandbox_id, row["app_id"], "", 1.0, ""))
        self.execs.containers.add(row["container_id"])

    async def stop_sandbox(self, sandbox_id: str, status: Status) -> None:
        await self.database.write(sandboxes.finish, sandbox_id, int(status), 137, "", 2.0)
        self.running = [container for container in self.running if container.function_id != sandbox_id]
        self.watch.notify(sandboxes.topic(sandbox_id))

    def inside(self, token_id: str, secret: str) -> Inside | None:
        container_id = passes.container_of(CONTAINER_KEY, token_id, secret)
        return self.alive.get(container_id or "")

    async def type_at_terminal(self, container_id: str, number: int, data: bytes) -> None:
        raise NotFound(f"container {container_id} has no terminal")

    async def claim_terminal(self, container_id: str) -> bool:
        return False

    async def stop_container(self, container_id: str, graceful: bool) -> None:
        self.running = [container for container in self.running if container.container_id != container_id]


@dataclass
class Stage:
    """A running server and the ways to use it."""

    home: Path
    url: str
    context: Context
    played: Played
    service: Servicer

    @property
    def database(self) -> SqliteDatabase:
        return self.played.database

    def rpcs(self, name: str) -> int:
        """How often an RPC was called."""
        return self.service.guard.calls[name]

    def print(self, app_id: str, *lines: str) -> None:
        """A container of this app prints."""

        writer = Writer(self.context.config.logs / app_id, 1 << 20)
        writer.append([Record(time.time_ns(), "ta-1", "fu-1", STDOUT, line) for line in lines])
        writer.close()
        self.context.watch.notify(logs_topic(app_id))

    def environment(self, secret: str = TOKEN[1]) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "MODAL_SERVER_URL": self.url,
            "MODAL_CONFIG_PATH": str(self.home / "modal.toml"),
            "MODAL_TOKEN_ID": TOKEN[0],
            "MODAL_TOKEN_SECRET": secret,
            "NO_PROXY": "127.0.0.1",
            "COLUMNS": "200",
            "PYTHONDONTWRITEBYTECODE": "1",  # a test edits its program within a second, which caches would miss
        }

    async def run(self, *command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> Done:
        """Run a client to its end (at most a minute)."""
        process = await asyncio.create_subprocess_exec(
            *map(str, command),
            cwd=cwd,
            env=env or self.environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            stdin=asyncio.subprocess.DEVNULL,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), 60)
        except TimeoutError:
            process.kill()
            output, _ = await process.communicate()
            raise AssertionError(f"{command} did not end; it printed:\n{output.decode()}") from None
        return Done(process.returncode, output.decode())


@dataclass
class Done:
    code: int | None
    output: str

    def ok(self) -> str:
        assert self.code == 0, self.output
        return self.output


@asynccontextmanager
async def stage(home: Path) -> AsyncIterator[Stage]:
    config = Config(home=home, workspace="acme")
    database = SqliteDatabase(home / "ionian.db")
    await migrate(database)
    await database.write(tokens.ensure, *TOKEN, "test", 1.0)
    watch, blobs = Watch(), FileBlobStore(config.blobs)
    played = Played(config, database, watch, blobs)
    context = Context(config, database, watch, blobs, played)
    service = assemble(MODULES, context)
    server = Server([service, assemble_router(ROUTER_MODULES, context)])
    await server.start("127.0.0.1", 0)
    runner = await _http(context)
    played.http_port = runner.addresses[0][1]
    assert isinstance(server._server, asyncio.Server)
    port = played.grpc_port = server._server.sockets[0].getsockname()[1]
    try:
        yield Stage(home, f"http://127.0.0.1:{port}", context, played, service)
    finally:
        server.close()
        await server.wait_closed()
        await runner.cleanup()
        await played.execs.end()
        for task in list(played.tasks):
            task.cancel()
        await asyncio.gather(*played.tasks, return_exceptions=True)
        database.close()


async def _http(context: Context) -> web.AppRunner:
    """The addresses of blobs, token requests and apps, over a plain HTTP server in place of the gateway."""
    handlers = {"/_blob": api_blobs.answer, "/_ionian/token": approval.answer, "/_ionian/app": page.answer}

    async def blob(request: web.Request) -> web.StreamResponse:
        given = _Request(request.method, request.content.iter_any())
        handler = handlers[request.path.removesuffix("/" + request.match_info["key"])]
        try:
            answer = await handler(context, request.match_info["key"], given)
        except IonianError as error:
            return web.Response(status=error.http, text=str(error))
        headers = {name.decode(): value.decode() for name, value in answer.headers}
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        if isinstance(answer.body, bytes):
            await response.write(answer.body)
        else:
            async for chunk in answer.body:
                await response.write(chunk)
        return response

    application = web.Application(client_max_size=0)
    for path in handlers:
        application.router.add_route("*", path + "/{key}", blob)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


@dataclass
class _Request:
    method: str
    body: AsyncIterator[bytes]


__all__ = ["Done", "Played", "Stage", "stage"]
