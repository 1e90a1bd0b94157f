"""A server for each runner, shared by all programs; the programs of a session run some at a time, in the background."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.e2e.conftest import OLD, install, make_machine, stopped_without_trace, uv_cache
from tests.e2e.machine import COMMAND_TIMEOUT_S, Client, Machine

__all__ = ["make_machine", "uv_cache"]
CALLS = Path(__file__).parents[2] / "examples" / "calls"
RUNNERS = ("own", "stock")
AT_ONCE = 4


@dataclass(frozen=True)
class Ran:
    """``said`` is what the command wrote to stdout, ``complained`` to stderr."""

    code: int
    said: str
    complained: str


def run(machine: Machine, client: Client, *command: str) -> Ran:
    """A command of the client's environment in the directory of the examples, pointed at this server."""
    program, *arguments = command
    done = subprocess.run(
        [str(client.prefix / "bin" / program), *arguments],
        cwd=CALLS,
        env={**machine.environ, **machine.variables()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=COMMAND_TIMEOUT_S,
        encoding="utf-8",
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def client(uv_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Client]:
    """A real client of that version, installed once a session."""

    @cache
    def get(version: str) -> Client:
        # The old one needs an aiohttp of its time: later ones break its checksums of large uploads.
        options = ["aiohttp<3.12"] if version == OLD else []
        return install(version, uv_cache, tmp_path_factory.mktemp(f"client-{version}") / "venv", *options)

    return get


@pytest.fixture(scope="session")
def machines(
    make_machine: Callable[[Path], Machine], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Machine]]:
    """By runner."""
    made = {runner: make_machine(tmp_path_factory.mktemp(runner)) for runner in RUNNERS}
    try:
        for runner, machine in made.items():
            machine.environ["IONIAN_RUNNER"] = runner
            machine.up()
        yield made
    finally:
        for machine in made.values():
            stopped_without_trace(machine)


Case = tuple[str, str, str]  # runner, version, program


@pytest.fixture(scope="session")
def ran(
    request: pytest.FixtureRequest, machines: dict[str, Machine], client: Callable[[str], Client]
) -> Iterator[Callable[[Case], Ran]]:
    """How ``modal run -q PROGRAM`` went. All that the chosen tests will ask for is begun at once."""
    specs = [getattr(item, "callspec", None) for item in request.session.items]
    wanted: list[Case] = [spec.params["case"] for spec in specs if spec is not None and "case" in spec.params]
    clients = {version: client(version) for _, version, _ in wanted}
    for runner, version in dict.fromkeys((runner, version) for runner, version, _ in wanted):
        run(machines[runner], clients[version], "modal", "deploy", "by_name.py")  # a first build is shown even with -q

    def begin(case: Case) -> Future[Ran]:
        runner, version, program = case
        return pool.submit(run, machines[runner], clients[version], "modal", "run", "-q", program)

    pool = ThreadPoolExecutor(AT_ONCE)
    futures = {case: begin(case) for case in wanted}
    yield lambda case: futures[case].result()
    pool.shutdown(cancel_futures=True)
