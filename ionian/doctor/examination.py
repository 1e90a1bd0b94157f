"""All checks of a home, in the order in which they are shown."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from urllib.parse import urlsplit

from ionian.config import Config
from ionian.doctor import clients, facts, machine, trial
from ionian.doctor.check import Check, failed, ok
from ionian.errors import Unavailable
from ionian.images import uvtool
from ionian.model import Isolation
from ionian.state.migrate import migrations


@dataclass(frozen=True, slots=True)
class Serving:
    """The server alive on the home, if any (empty ``url``). ``error``: why it does not answer."""

    url: str = ""
    version: str = ""
    error: str = ""


def examine(config: Config, client_python: str, serving: Serving, environ: Mapping[str, str]) -> list[Check]:
    """Every check. ``client_python``: the Python that ``ionian deploy`` would take here."""
    begun = time.time() - time.monotonic()
    space = facts.space(config.home)
    checks = [
        clients.python(sys.version_info[:3], sys.executable),
        clients.client(clients.ask(client_python), client_python, client_python == sys.executable, version("modal")),
        _uv(config, environ),
        _port(config, serving),
        *_containers(config, space, environ),
        machine.names(facts.names_resolve(), f"http://127.0.0.1:{config.port}"),
        machine.proxies(environ),
        machine.database(*_schema(config)),
        machine.token(config.token_file, *facts.token(config.token_file)),
        machine.server(serving.url, serving.version, serving.error),
    ]
    moved = time.time() - time.monotonic() - begun
    checks.append(machine.clock(datetime.now(UTC).year, moved, facts.ahead(config)))
    return checks


def _port(config: Config, serving: Serving) -> Check:
    if serving.url:
        where = urlsplit(serving.url)
        return machine.port(where.hostname or "", where.port or config.port, True, None)
    return machine.port(config.host, config.port, False, facts.bind_error(config.host, config.port))


def _schema(config: Config) -> tuple[int | None, int, str]:
    found, error = facts.schema(config.database)
    return found, migrations()[-1][0], error


def _uv(config: Config, environ: Mapping[str, str]) -> Check:
    try:
        return ok("uv", str(uvtool.uv_tool(config, environ).binary))
    except Unavailable as error:
        return failed("uv", str(error), f"{sys.executable} -m pip install uv")


def _containers(config: Config, space: facts.Space, environ: Mapping[str, str]) -> list[Check]:
    """The home, isolation, limits, and the trial of both."""
    try:
        tried = asyncio.run(trial.everything(config, space.place, environ))
    except OSError as error:
        return [machine.unusable_home(space.place, error.strerror or str(error))]
    level = tried.runtime.level if tried.runtime else None
    details = tried.runtime.details if tried.runtime else (tried.reason,)
    isolated, root = level is Isolation.NAMESPACES, os.geteuid() == 0
    return [
        machine.home(space.place, space.free, space.inodes, space.kind, isolated),
        machine.isolation(level, details, space.kind, root, config.require_isolation),
        machine.kernel(facts.kernel(), root, isolated),
        machine.cgroups(tried.limits.version, tuple(tried.limits.bases), tried.limits.missing, isolated),
        *tried.checks,
    ]
