"""The only place that builds things: from a Config to a running server, then drain, then stop.

One server per home (a lock decides). Leaving cleanly ends every container and the worker; a killed server leaves them
to the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import uvloop
from grpclib.server import Server as GrpcServer

from ionian import __version__, internal
from ionian.api import apps, objects, schedules
from ionian.api.context import Context
from ionian.api.modules import MODULES, ROUTER_MODULES
from ionian.api.servicer import assemble, assemble_router
from ionian.blobs.files import FileBlobStore
from ionian.clock import Jumps, steady
from ionian.config import Config, make_home, read_token
from ionian.dispatch.dispatch import Dispatch
from ionian.engines.local import LocalEngine
from ionian.errors import FailedPrecondition, IonianError
from ionian.gateway.router import Router
from ionian.gateway.server import Gateway
from ionian.images import pruning
from ionian.recorder import Recorder
from ionian.scheduler.builds import Builds
from ionian.scheduler.loop import Scheduler
from ionian.scheduler.sandboxes import Sandboxes
from ionian.scheduler.schedules import Schedules
from ionian.services import Server
from ionian.state import apps as app_rows
from ionian.state import blobs, calls, functions, images, passes, rotate, sandboxes, secrets, tokens
from ionian.state import schedules as schedule_rows
from ionian.state.database import SqliteDatabase
from ionian.state.migrate import migrate
from ionian.state.watch import Watch

CHECK_S = 2.0  # seconds that a start may look through its database
HOUSEKEEPING_S = 20.0  # seconds between looks for what has ended or expired
log = logging.getLogger("ionian")


def serve(config: Config, ready: Callable[[], None] | None = None) -> int:
    """Run the server until SIGTERM or SIGINT. ``ready`` is called once it answers. Raises IonianError before that."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    _directories(config)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold secrets; what we start inherits it
    with _lock(config):
        uvloop.run(_run(config, ready))
        _leave(config)
    return 0


def cleanup(config: Config) -> None:
    """After a killed server: end the worker and every container of this home, and remove what they left."""
    left = (config.run / "c").is_dir() and any((config.run / "c").iterdir())
    if not left and not config.worker_socket.exists():
        return

    async def end() -> None:
        engine = LocalEngine(config)
        await engine.connect()
        await engine.shutdown(config.drain_s)

    with _lock(config):
        uvloop.run(end())
        (config.run / "server.json").unlink(missing_ok=True)
        _leave(config)


def prune(config: Config, recent_s: float, *, cache: bool) -> tuple[int, int]:
    """Remove layers and mounts that no live function and no image built in the last ``recent_s`` seconds has.

    Returns how many, and their bytes. Raises FailedPrecondition while a server runs on the home.
    """

    async def needed() -> tuple[frozenset[str], frozenset[str]]:
        database = SqliteDatabase(config.database, config.synchronous)
        try:
            await migrate(database)
            specs = await database.read(functions.live)
            layers = await database.read(images.recent_layers, time.time() - recent_s)
        finally:
            database.close()
        layers |= {layer for spec in specs for layer in spec.layers}
        return frozenset(layers), frozenset(mount.digest for spec in specs for mount in spec.mounts)

    _directories(config)
    cleanup(config)
    with _lock(config):
        return pruning.prune(config, *uvloop.run(needed()), cache=cache)


def _leave(config: Config) -> None:
    """A long home has its sockets in a stand-in outside of it: nothing stays there. Called with the lock held."""
    if config.run.parent != config.home:
        shutil.rmtree(config.run, ignore_errors=True)


def _directories(config: Config) -> None:
    make_home(config)
    if config.run.stat().st_uid != os.getuid():
        raise FailedPrecondition(f"{config.run} belongs to another user; choose another --home")


@contextlib.contextmanager
def _lock(config: Config) -> Any:
    """Held while this process serves the home. Raises FailedPrecondition naming the one that does."""
    lock = os.open(config.run / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(lock, 32).decode().strip() or "unknown"
        os.close(lock)
        raise FailedPrecondition(
            f"a server already runs on {config.home} (pid {pid}); `ionian down` ends it, or choose another --home"
        ) from None
    os.truncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    try:
        yield
    finally:
        os.close(lock)


def _token(config: Config) -> tuple[str, str]:
    """The home's first token, made when there is none; the file has mode 0600 from its first byte."""
    if found := read_token(config):
        return found
    made = tokens.mint()
    _write_private(config.token_file, json.dumps({"token_id": made[0], "token_secret": made[1]}).encode())
    return made


def _container_key(config: Config) -> bytes:
    """The key of the containers' tokens, made when there is none. A new one ends the tokens of running containers."""
    with contextlib.suppress(FileNotFoundError):
        key = config.container_key_file.read_bytes()
        if len(key) == passes.KEY_BYTES:
            return key
        log.warning("%s is damaged: making a new one", config.container_key_file)
    key = os.urandom(passes.KEY_BYTES)
    _write_private(config.container_key_file, key)
    return key


def _write_private(path: Path, content: bytes) -> None:
    """A file that only its owner can read, from its first byte; all of it or nothing."""
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


async def _finish_rotation(config: Config, database: SqliteDatabase) -> None:
    """What is wrong with the key of secrets concerns only those who need one: everything else goes on."""
    try:
        await rotate.finish(database, config.secret_key_file, time.time())
    except IonianError as error:
        log.warning("secrets cannot be used: %s", error)


def rotate_key(config: Config, lost: bool) -> tuple[int, list[str]]:
    """While no server runs on the home: what ``rotate.rotate`` does, or with ``lost`` ``rotate.begin_anew``."""

    async def work() -> tuple[int, list[str]]:
        database = SqliteDatabase(config.database, config.synchronous)
        try:
            await migrate(database)
            if lost:
                return 0, await rotate.begin_anew(database, config.secret_key_file)
            return await rotate.rotate(database, config.secret_key_file, time.time())
        finally:
            database.close()

    _directories(config)
    with _lock(config):
        return uvloop.run(work())


async def _run(config: Config, ready: Callable[[], None] | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with _running(config):
        if ready is not None:
            ready()
        await stop.wait()
        log.info("stopping: requests in flight have %.0f s to finish", config.drain_s)


@contextlib.asynccontextmanager
async def _running(config: Config) -> AsyncIterator[Server]:
    database = SqliteDatabase(config.database, config.synchronous)
    try:
        if not database.check(CHECK_S):
            log.warning("%s is too large to be looked through in %.0f s", config.database, CHECK_S)
        await migrate(database)
        await _finish_rotation(config, database)
        token_id, secret = _token(config)
        await database.write(tokens.replace_first, token_id, secret, time.time())
        await database.write(schedules.restore, time.time())
        engine = LocalEngine(config)
        info = await engine.connect()
        if config.require_isolation and info.isolation != config.require_isolation:
            await engine.shutdown(0)
            raise FailedPrecondition(
                f"isolation {config.require_isolation} is required but only {info.isolation} is possible here: "
                + "; ".join(info.details)
            )
        server, gateway, context = _wire(config, database, engine)
        try:
            async with _loops(server, context):
                await server.reload()
                await server.adopt()
                server.port = await gateway.start(config.host, config.port)
                _announce(server)
                server.schedules.open()
                try:
                    yield server
                finally:
                    server.schedules.close()
                    (config.run / "server.json").unlink(missing_ok=True)
                    await gateway.drain(config.drain_s)
                    server.scheduler.paused = True
            await server.recorder.flush()
            await server.dispatch.calls.ledger.flush()
        finally:
            await gateway.close()
            await engine.shutdown(config.drain_s)
    finally:
        database.close()


def _wire(config: Config, database: SqliteDatabase, engine: LocalEngine) -> tuple[Server, Gateway, Context]:
    watch, router = Watch(), Router()
    store = FileBlobStore(config.blobs)
    server = Server(config, database, watch, engine, router, _container_key(config))
    server.recorder = Recorder(database, watch, server.running_call)
    server.dispatch = Dispatch(
        clock=steady(),
        blobs=store,
        journal=server.recorder.journal,
        items=server.recorder.item,
        kill=lambda container_id, reason: server.scheduler.kill(container_id, reason),
        max_queued=config.max_queued,
        crash_requeue=config.crash_requeue == "yes",
    )
    cores = len(os.sched_getaffinity(0))
    most = config.max_containers or 8 * cores
    server.scheduler = Scheduler(server.dispatch, engine, server.prepare, server.describe, most, cores)
    server.sandboxes = Sandboxes(database, engine, watch, server.prepare, lambda: server.base_url, time.time)
    server.builds = Builds(config, database, engine, watch)
    server.schedules = Schedules(config, database, watch, server.submit)
    context = Context(config, database, watch, store, server)
    service = GrpcServer([assemble(MODULES, context), assemble_router(ROUTER_MODULES, context)])
    routes = internal.routes(server, context)
    grpc = internal.grpc_factory(service)
    gateway = Gateway(config, router, server.dispatch, routes, grpc, kill=server.scheduler.kill)
    return server, gateway, context


@contextlib.asynccontextmanager
async def _loops(server: Server, context: Context) -> AsyncIterator[None]:
    """The loops of a server, ended with it. One that breaks ends the server: nothing limps on half alive."""
    loops = [
        server.scheduler.run(),
        server.builds.run(),
        server.schedules.run(),
        server.dispatch.calls.ledger.loop(),
        server.recorder.loop(),
        server.engine_events(),
        server.prepare_all(),
        _housekeeping(context),
    ]
    tasks = [asyncio.get_running_loop().create_task(loop) for loop in loops]
    for task in tasks:
        task.add_done_callback(_broken)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _housekeeping(context: Context) -> None:
    """End apps whose client is gone; forget results, and addresses of blobs, that are past their time."""
    jumps = Jumps()
    await objects.began(context)
    while True:
        await asyncio.sleep(HOUSEKEEPING_S)
        try:
            if moved := jumps.look():
                log.warning("the clock was moved by %.0f s (or the machine slept)", moved)
                await context.database.write(app_rows.move_heartbeats, moved)
                context.watch.notify(schedule_rows.TOPIC)
            await apps.end_lost_apps(context)
            await context.database.write(calls.expire, context.now - context.config.result_retention_s)
            await context.database.write(blobs.expire, context.now)
            await context.database.write(sandboxes.expire, context.now - context.config.result_retention_s)
            await context.database.write(secrets.expire, context.now)
            await context.database.write(schedule_rows.expire, context.now - context.config.log_retention_s)
            await objects.keep_house(context, moved)
            await _forget_logs(context)
        except IonianError as error:
            log.warning("housekeeping is put off: %s", error)


async def _forget_logs(context: Context) -> None:
    """Remove the logs of apps that stopped, and of builds that ended, longer ago than they are kept."""
    before = context.now - context.config.log_retention_s
    ended = await context.database.read(app_rows.ended, before) | await context.database.read(images.ended, before)
    for name in ended.intersection(os.listdir(context.config.logs)):
        await asyncio.to_thread(shutil.rmtree, context.config.logs / name, ignore_errors=True)


def _broken(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        error = task.exception()
        if isinstance(error, IonianError):
            log.critical("the server cannot go on: %s", error)
        else:
            log.critical("a loop of the server broke; stopping", exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)


def _start_time() -> int:
    """Clock ticks since boot when this process began (field 22 of its stat): with the pid, its identity."""
    with open("/proc/self/stat") as file:
        return int(file.read().rpartition(")")[2].split()[19])


def _announce(server: Server) -> None:
    """Write ``server.json``: that it is ready, and where."""
    config, info = server.config, server.engine.info
    content = {
        "pid": os.getpid(),
        "host": config.host,
        "port": server.port,
        "url": server.base_url,
        "isolation": str(info.isolation),
        "details": list(info.details),
        "started_at": time.time(),
        "start_time": _start_time(),
        "version": __version__,
    }
    temporary = config.run / "server.json.new"
    temporary.write_text(json.dumps(content))
    temporary.replace(config.run / "server.json")
