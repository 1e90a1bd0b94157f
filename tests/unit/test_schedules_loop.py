"""The loop that fires schedules, on real rows: it sleeps, wakes, claims, follows, tells; and survives its own end."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from ionian.config import Config
from ionian.model import OpenInput, OutputRecord, Status
from ionian.scheduler import alarm
from ionian.scheduler.schedules import Schedules
from ionian.state import calls, schedules
from ionian.state.database import SqliteDatabase, Tx
from ionian.state.watch import Watch, call_topic
from ionian.timetable import Cron, Period
from tests.unit.state_tables import add_function, new_app, publish

HOUR = 3600.0
PATIENCE_S = 20.0
HOURLY = Cron("0 * * * *")


async def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


class Machine:
    """A loop under test, with a clock that can be set."""

    def __init__(self, database: SqliteDatabase, config: Config) -> None:
        self.database = database
        self.watch = Watch()
        self.ahead = 0.0
        self.ran: list[OpenInput] = []
        self.looks = 0
        self.loop = Schedules(config, database, self.watch, self.ran.extend, self._clock)

    def _clock(self) -> float:
        self.looks += 1
        return self.now

    @property
    def now(self) -> float:
        return time.time() + self.ahead

    def notify(self) -> None:
        self.watch.notify(schedules.TOPIC)

    async def end(self, opened: OpenInput, status: Status, error: str = "") -> None:
        record = OutputRecord(opened.input_id, opened.call_id, status, 1, b"", exception=error)
        await self.database.write(calls.record_output, replace(record, created_at=self.now))
        self.watch.notify(call_topic(opened.call_id))

    async def statuses(self, function_id: str) -> list[str]:
        return [run["status"] for run in await self.database.read(schedules.history, function_id, 1000)]


@asynccontextmanager
async def _running(database: SqliteDatabase, config: Config, opened: bool = True) -> AsyncIterator[Machine]:
    machine = Machine(database, config)
    task = asyncio.get_running_loop().create_task(machine.loop.run())
    if opened:
        machine.loop.open()
    try:
        yield machine
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _deployed(tx: Tx, schedule: Cron | Period, now: float, name: str = "a") -> str:
    app_id = new_app(tx, name)
    function_id = add_function(tx, app_id, "f")
    publish(tx, app_id, name, function_id)
    schedules.replace(tx, app_id, {function_id: schedule}, now, True)
    return function_id


async def test_it_fires_when_it_is_due_without_being_told(database: SqliteDatabase, tmp_path: Path) -> None:
    async with _running(database, Config(tmp_path)) as machine:
        begun = time.time()
        await database.write(_deployed, Period(seconds=1), begun)
        machine.notify()  # the deploy; after that nobody says anything
        await _until(lambda: len(machine.ran) == 1)
        await machine.end(machine.ran[0], Status.SUCCESS)
        await _until(lambda: len(machine.ran) == 2)
        assert time.time() >= begun + 2


async def test_it_sleeps_while_nothing_is_due(database: SqliteDatabase, tmp_path: Path) -> None:
    async with _running(database, Config(tmp_path)) as machine:
        await database.write(_deployed, Cron("0 0 1 1 *"), machine.now)
        machine.notify()
        await _until(lambda: machine.looks > 0)
        await asyncio.sleep(0.3)
        looks = machine.looks
        await asyncio.sleep(0.7)
        assert machine.looks == looks


async def test_a_clock_that_is_set_is_heard_of(database: SqliteDatabase, tmp_path: Path) -> None:
    async with _running(database, Config(tmp_path)) as machine:
        await database.write(_deployed, HOURLY, machine.now)
        machine.notify()
        machine.ahead = 5 * HOUR
        machine.notify()
        await _until(lambda: len(machine.ran) == 1)
        machine.ahead = 0.0
        machine.notify()
        due = _next_hour(machine.now)

        def planned() -> bool:
            row = database._reader.execute("SELECT due_at FROM schedules").fetchone()
            return bool(row["due_at"] == due)

        await _until(planned)
        assert len(machine.ran) == 1


def _next_hour(now: float) -> float:
    return now // HOUR * HOUR + HOUR


async def test_closed_it_claims_nothing(database: SqliteDatabase, tmp_path: Path) -> None:
    await database.write(_deployed, HOURLY, time.time() - HOUR)
    async with _running(database, Config(tmp_path), opened=False) as machine:
        machine.notify()
        await asyncio.sleep(0.1)
        assert machine.ran == []
        machine.loop.open()
        await _until(lambda: len(machine.ran) == 1)
        machine.loop.close()
        await machine.end(machine.ran[0], Status.SUCCESS)
        machine.ahead = 5 * HOUR
        machine.notify()
        await asyncio.sleep(0.1)
        assert len(machine.ran) == 1
    async with _running(database, Config(tmp_path)) as later:
        later.ahead = 5 * HOUR
        later.notify()
        await _until(lambda: len(later.ran) == 1)


async def test_a_new_server_goes_on_where_the_old_one_was_killed(database: SqliteDatabase, tmp_path: Path) -> None:
    """Killed after the claim was committed: the call is open, its due time taken, and its end is noted later."""
    function_id = await database.write(_deployed, HOURLY, time.time() - HOUR)
    inputs, _, _ = await database.write(schedules.fire, time.time(), HOUR, False, 10, 10)
    [opened] = await database.read(calls.open_inputs)
    assert inputs == [opened]
    async with _running(database, Config(tmp_path)) as machine:
        machine.notify()
        await _until(lambda: machine.looks > 0)
        await asyncio.sleep(0.1)
        assert machine.ran == []
        assert await machine.statuses(function_id) == ["running"]
        await machine.end(opened, Status.SUCCESS)
        await _settled(machine, function_id, ["success"])


async def test_a_run_that_ended_while_no_server_was_there_is_noted(database: SqliteDatabase, tmp_path: Path) -> None:
    function_id = await database.write(_deployed, HOURLY, time.time() - HOUR)
    [opened], _, _ = await database.write(schedules.fire, time.time(), HOUR, False, 10, 10)
    await database.write(calls.record_output, OutputRecord(opened.input_id, opened.call_id, Status.TIMEOUT, 1))
    async with _running(database, Config(tmp_path)) as machine:
        await _settled(machine, function_id, ["timeout"])


async def _settled(machine: Machine, function_id: str, wanted: list[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while await machine.statuses(function_id) != wanted:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def test_it_ends_when_it_is_woken_at_the_same_time(database: SqliteDatabase, tmp_path: Path) -> None:
    for turns in range(1, 8):
        machine = Machine(database, Config(tmp_path))
        task = asyncio.get_running_loop().create_task(machine.loop.run())
        for _ in range(turns):
            await asyncio.sleep(0)
        machine.loop.open()
        machine.notify()
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=PATIENCE_S)
        assert done == {task}
        assert task.cancelled()


async def test_many_schedules_fire_and_end(database: SqliteDatabase, tmp_path: Path) -> None:
    def deploy(tx: Tx) -> None:
        app_id = new_app(tx, "many")
        ids = [add_function(tx, app_id, f"f{number}") for number in range(250)]
        publish(tx, app_id, "many", *ids)
        schedules.replace(tx, app_id, dict.fromkeys(ids, HOURLY), time.time(), True)

    await database.write(deploy)
    async with _running(database, Config(tmp_path)) as machine:
        machine.ahead = HOUR
        machine.notify()
        await _until(lambda: len(machine.ran) == 250)
        await asyncio.gather(*(machine.end(opened, Status.SUCCESS) for opened in machine.ran))
        deadline = time.monotonic() + PATIENCE_S
        while await database.read(schedules.open_calls):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)
        assert len({opened.function_id for opened in machine.ran}) == 250


# -- who is told


async def _failed(database: SqliteDatabase, machine: Machine, error: str = "RuntimeError('no')") -> None:
    await database.write(_deployed, HOURLY, machine.now)
    machine.ahead = HOUR
    machine.notify()
    await _until(lambda: len(machine.ran) == 1)
    await machine.end(machine.ran[0], Status.FAILURE, error)


async def _all_told(database: SqliteDatabase) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while await database.read(schedules.untold):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def test_a_command_is_told_of_a_failure(database: SqliteDatabase, tmp_path: Path) -> None:
    command = f'cat >{tmp_path}/body; echo "$IONIAN_SCHEDULE_FUNCTION $IONIAN_SCHEDULE_STATUS" >{tmp_path}/words'
    config = Config(tmp_path, schedule_failure_command=command)
    async with _running(database, config) as machine:
        await _failed(database, machine, "broken \0 'quoted' $(nothing)")
        await _until(lambda: (tmp_path / "words").is_file() and (tmp_path / "words").read_text() != "")
        assert (tmp_path / "words").read_text() == "f failure\n"
        told = json.loads((tmp_path / "body").read_text())
        assert told["error"] == "broken \0 'quoted' $(nothing)"
        assert (told["event"], told["app"], told["environment"]) == ("schedule.failed", "a", "main")
        assert (told["schedule"], told["call_id"]) == ("cron 0 * * * * (UTC)", machine.ran[0].call_id)
        await _all_told(database)


async def test_success_is_told_to_nobody(database: SqliteDatabase, tmp_path: Path) -> None:
    config = Config(tmp_path, schedule_failure_command=f"touch {tmp_path}/told")
    async with _running(database, config) as machine:
        function_id = await database.write(_deployed, HOURLY, machine.now)
        machine.ahead = HOUR
        machine.notify()
        await _until(lambda: len(machine.ran) == 1)
        await machine.end(machine.ran[0], Status.SUCCESS)
        await _settled(machine, function_id, ["success"])
        await asyncio.sleep(0.1)
        assert not (tmp_path / "told").exists()


class _Receiver:
    """An address that takes what is posted to it, after answering with each of ``statuses`` in turn."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.headers["content-type"] == "application/json"
                receiver.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver() -> Iterator[_Receiver]:
    made = _Receiver()
    yield made
    made.close()


async def test_an_address_is_told_of_a_failure_once(
    database: SqliteDatabase, tmp_path: Path, receiver: _Receiver
) -> None:
    config = Config(tmp_path, schedule_failure_webhook=receiver.address)
    async with _running(database, config) as machine:
        await _failed(database, machine)
        await _until(lambda: len(receiver.bodies) == 1)
        await _all_told(database)
        machine.notify()
    async with _running(database, config) as machine:
        machine.notify()
        await _until(lambda: machine.looks > 0)
        await asyncio.sleep(0.1)
    assert [body["error"] for body in receiver.bodies] == ["RuntimeError('no')"]


async def test_a_failure_that_nobody_could_be_told_of_is_told_by_the_next_server(
    database: SqliteDatabase, tmp_path: Path, receiver: _Receiver
) -> None:
    slow = Config(tmp_path, schedule_failure_command=f"echo $$ >{tmp_path}/pid; exec sleep 1000")
    async with _running(database, slow) as machine:
        await _failed(database, machine)
        await _until(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text().strip() != "")
    pid = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()  # the command does not outlive the server that ran it
    async with _running(database, Config(tmp_path, schedule_failure_webhook=receiver.address)):
        await _until(lambda: len(receiver.bodies) == 1)
        await _all_told(database)


async def test_hooks_that_fail_are_a_line_in_the_log(
    database: SqliteDatabase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config(tmp_path, schedule_failure_command="exit 3", schedule_failure_webhook="http://127.0.0.1:9/none")
    async with _running(database, config) as machine:
        await _failed(database, machine)
        await _until(lambda: "schedule_failure_webhook" in caplog.text)
        assert "schedule_failure_command did too: exit code 3" in caplog.text
        await _all_told(database)


async def test_a_command_that_hangs_is_ended_and_nothing_waits_for_it(
    database: SqliteDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(alarm, "LIMIT_S", 1.0)
    command = f"(sleep 1000 & echo $! >{tmp_path}/child; wait)"
    async with _running(database, Config(tmp_path, schedule_failure_command=command)) as machine:
        await _failed(database, machine)
        await _until(lambda: (tmp_path / "child").is_file() and (tmp_path / "child").read_text().strip() != "")
        machine.ahead += HOUR  # the schedule goes on meanwhile
        machine.notify()
        await _until(lambda: len(machine.ran) == 2)
        await _until(lambda: "it took longer" in caplog.text)
        child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
        await _until(lambda: not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z")
