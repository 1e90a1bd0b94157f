"""Dicts and queues from containers under both runners, the examples, a killed server, gets that wait in thousands."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from grpclib.client import Channel
from grpclib.exceptions import GRPCError, StreamTerminatedError
from modal_proto import api_pb2
from modal_proto.api_grpc import ModalClientStub

from tests.e2e.conftest import APPS, OLD, served
from tests.e2e.machine import Client, Machine

EXAMPLES = Path(__file__).parents[2] / "examples" / "objects"
MANY, CONNECTIONS = 5000, 50
BOUND_BYTES = 20_000_000
CALL = """
import json, sys, modal
name, *given = sys.argv[1:]
function = modal.Function.from_name("objects-inside", name)
if name == "async_ways":
    q = modal.Queue.from_name("passed", create_if_missing=True)
    d = modal.Dict.from_name("passed", create_if_missing=True)
    q.put("item")
    given = [q.hydrate(), d.hydrate()]
print("told " + json.dumps(function.remote(*given)))
"""


@pytest.fixture(scope="module", params=["own", "stock"])
def runner(
    request: pytest.FixtureRequest, make_machine: Callable[[Path], Machine], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """A server with that runner."""
    with served(make_machine, tmp_path_factory.mktemp(f"objects-{request.param}"), request.param) as machine:
        yield machine


def _python(machine: Machine, client: Client, program: str, *arguments: str) -> str:
    return machine.command([str(client.prefix / "bin/python"), "-c", program, *arguments], environ=machine.variables())


def _call(machine: Machine, client: Client, name: str, *given: str) -> Any:
    said = _python(machine, client, CALL, name, *given)
    return json.loads(said.partition("told ")[2])


@pytest.mark.parametrize("version", [OLD, "1.6.4"])
def test_from_inside_containers(runner: Machine, client: Callable[[str], Client], version: str) -> None:
    chosen = client(version)
    runner.modal(chosen, "deploy", str(APPS / "objects.py"))
    expected = [1, [2], True, ["a", "c"], "default", 1, [2], "p", None, 0, 1_800_000]
    assert _call(runner, chosen, "every_way", f"inside-{version}") == expected
    assert _call(runner, chosen, "async_ways") == ["item", "item"]


def test_objects_of_other_environments_are_out_of_reach(runner: Machine, new_client: Client) -> None:
    runner.modal(new_client, "deploy", str(APPS / "objects.py"))
    runner.modal(new_client, "environment", "create", "dev")
    program = (
        "import modal; d = modal.Dict.from_name('theirs', environment_name='dev', create_if_missing=True); "
        "d['x'] = 'secret'; print(d.object_id)"
    )
    dict_id = _python(runner, new_client, program).split()[-1]
    said = _call(runner, new_client, "of_another_environment", dict_id)
    assert len(said) == 2
    assert all("is not the container's own" in text for text in said), said


def test_the_examples(runner: Machine, new_client: Client) -> None:
    def run(name: str) -> list[str]:
        said = runner.modal(new_client, "run", str(EXAMPLES / name))
        return [line.strip() for line in said.splitlines()]

    said = run("word_count.py")
    for line in ("texts counted: 3", "haiku: 13 words", "proverb: 6 words", "twister: 8 words"):
        assert line in said
    for visit in (1, 2):
        said = run("shared_state.py")
        for line in (f"visit of ann: {visit}", "claims that succeeded: 1", "popped: caller"):
            assert line in said
    said = run("pipeline.py")
    for line in (
        "left for all to see: [20, 40, 60, 'end']",
        "taken: [20, 40, 60]",
        "still there: 1 of 1",
        "nothing more comes",
    ):
        assert line in said


class Caller:
    """One connection that asks as the client does, and goes on asking, with the same key, until there is an answer."""

    def __init__(self, machine: Machine) -> None:
        token = json.loads((machine.home / "token.json").read_text())
        self._secrets = {"x-modal-token-id": token["token_id"], "x-modal-token-secret": token["token_secret"]}
        self._port = machine.server.port
        self._channel: Channel | None = None
        self.again = 0  # answers that were lost, or requests that never arrived
        self.gone = False  # it asks no more

    async def ask(self, rpc: str, request: Any) -> Any:
        key, attempt = str(uuid.uuid4()), 0
        while True:
            channel = self._channel = self._channel or Channel("127.0.0.1", self._port)
            metadata = {**self._secrets, "x-idempotency-key": key, "x-retry-attempt": str(attempt)}
            try:
                return await getattr(ModalClientStub(channel), rpc)(request, metadata=metadata)
            except (OSError, StreamTerminatedError, GRPCError, AttributeError) as error:
                if isinstance(error, GRPCError) and error.status.name not in ("UNAVAILABLE", "UNKNOWN", "INTERNAL"):
                    raise
                if self.gone:
                    raise
                self.close()
                attempt += 1
                self.again += 1
                await asyncio.sleep(0.05)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    async def queue(self, name: str) -> str:
        made = api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING
        request = api_pb2.QueueGetOrCreateRequest(deployment_name=name, object_creation_type=made)
        return str((await self.ask("QueueGetOrCreate", request)).queue_id)

    async def put(self, queue_id: str, *values: bytes) -> None:
        await self.ask("QueuePut", api_pb2.QueuePutRequest(queue_id=queue_id, values=values))

    async def get(self, queue_id: str, timeout_s: float, count: int = 1) -> list[bytes]:
        request = api_pb2.QueueGetRequest(queue_id=queue_id, timeout=timeout_s, n_values=count)
        return list((await self.ask("QueueGet", request)).values)


def test_a_killed_server_loses_and_doubles_nothing(machine: Machine) -> None:
    """Producers and consumers go on while the server is killed three times. Each producer's items keep their order."""
    producers, each = 3, 400
    machine.up()
    port = machine.server.port
    callers = [Caller(machine) for _ in range(producers + 4)]
    received: list[list[bytes]] = [[] for _ in range(4)]

    async def produce(number: int, queue_id: str) -> None:
        for item in range(each):
            await callers[number].put(queue_id, b"%d %d" % (number, item))
            if item % 10 == 0:
                await asyncio.sleep(0.01)

    async def consume(number: int, queue_id: str) -> None:
        while sum(map(len, received)) < producers * each:
            received[number] += await callers[producers + number].get(queue_id, 0.5, 1 + number)

    async def kill() -> None:
        for part in (1, 2, 3):
            while sum(map(len, received)) < producers * each * part // 4:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(machine.kill_server)
            await asyncio.to_thread(machine.up, "--port", str(port))

    async def everything() -> None:
        queue_id = await callers[0].queue("jobs")
        work: list[Awaitable[None]] = [produce(number, queue_id) for number in range(producers)]
        work += [consume(number, queue_id) for number in range(4)]
        await asyncio.wait_for(asyncio.gather(*work, kill()), 240)
        for caller in callers:
            caller.close()

    asyncio.run(everything())
    every = [item for items in received for item in items]
    assert sorted(every) == sorted(b"%d %d" % (number, item) for number in range(producers) for item in range(each))
    for items in received:
        for number in range(producers):
            mine = [int(item.split()[1]) for item in items if item.startswith(b"%d " % number)]
            assert mine == sorted(mine), "a consumer has got the items of a producer in another order"
    assert sum(caller.again for caller in callers) >= 3, "nobody noticed that the server was killed"


def _anonymous(pid: int) -> int:
    """Bytes of memory of a process without files."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) * 1024


def _cpu_s(pid: int) -> float:
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


def test_thousands_of_gets_wait_for_next_to_nothing(machine: Machine) -> None:
    machine.up()
    pid = machine.server.pid
    callers = [Caller(machine) for _ in range(CONNECTIONS)]

    async def everything() -> None:
        queue_id = await callers[0].queue("jobs")
        warm = [asyncio.create_task(caller.get(queue_id, 50)) for caller in callers for _ in range(2)]
        await asyncio.sleep(1)
        await callers[0].put(queue_id, *[b"warm"] * len(warm))
        await asyncio.gather(*warm)
        before = _anonymous(pid)
        waiting = [
            asyncio.create_task(caller.get(queue_id, 50)) for _ in range(MANY // CONNECTIONS) for caller in callers
        ]
        await _settled(pid)
        grown, spent = _anonymous(pid) - before, _cpu_s(pid)
        await asyncio.sleep(2)
        spent = _cpu_s(pid) - spent
        assert not any(task.done() for task in waiting)
        assert grown < BOUND_BYTES, f"{MANY} waiting gets take {grown} bytes"
        assert spent < 0.2, f"the server spent {spent} s of CPU while nothing happened for 2 s"
        putter = Caller(machine)
        await putter.put(queue_id, b"first")
        done, rest = await asyncio.wait(waiting, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == [[b"first"]]
        callers[-1].gone = True  # and those that wait there; what comes is for the others
        callers[-1].close()
        gone = [task for task in waiting[CONNECTIONS - 1 :: CONNECTIONS] if task in rest]
        await asyncio.gather(*gone, return_exceptions=True)
        stay = [task for task in rest if task not in gone]
        values = [b"%d" % number for number in range(len(stay))]
        for start in range(0, len(values), 1000):
            await putter.put(queue_id, *values[start : start + 1000])
        found = await asyncio.wait_for(asyncio.gather(*stay), 60)
        assert sorted(value for one in found for value in one) == sorted(values)
        for caller in (*callers, putter):
            caller.close()

    asyncio.run(everything())


async def _settled(pid: int) -> None:
    """Until the server has done all that it was asked to do."""
    deadline, spent = time.monotonic() + 60, -1.0
    while (now := _cpu_s(pid)) - spent > 0.05:
        assert time.monotonic() < deadline
        spent = now
        await asyncio.sleep(1)


WAITING = """
import queue, threading, time
import modal
q = modal.Queue.from_name("ends", create_if_missing=True)
try:
    q.get(timeout=1)
except queue.Empty:
    print("nothing came")
threading.Timer(1, q.put, ["item"]).start()
print("got", q.get(timeout=30))
threading.Timer(1, modal.Queue.objects.delete, ["ends"]).start()
try:
    q.get()
except modal.exception.NotFoundError as error:
    print("told:", error)
"""


def test_gets_that_wait_end_in_every_way(server: Machine, new_client: Client) -> None:
    said = _python(server, new_client, WAITING)
    assert "nothing came" in said
    assert "got item" in said
    assert "told: queue" in said


def test_a_restart_keeps_what_was_put(machine: Machine, new_client: Client) -> None:
    machine.up()
    put = (
        "import modal; d = modal.Dict.from_name('kept', create_if_missing=True); d['k'] = b'x' * 3_000_000; d[1] = 2; "
        "q = modal.Queue.from_name('kept', create_if_missing=True); q.put_many([1, 2]); q.put(3, partition='p')"
    )
    _python(machine, new_client, put)
    machine.kill_server()
    machine.up()
    look = (
        "import modal; d = modal.Dict.from_name('kept'); q = modal.Queue.from_name('kept'); "
        "print(len(d['k']), d[1], q.get(), q.get(), q.get(partition='p'), q.len(total=True))"
    )
    assert _python(machine, new_client, look).split()[-6:] == ["3000000", "2", "1", "2", "3", "0"]
