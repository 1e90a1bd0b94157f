"""Queues with the real client: everything it can ask, full ones, gets that wait, requests sent twice."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from modal_proto.api_grpc import ModalClientStub

from ionian.wire import api_pb2
from tests.wire.stage import TOKEN, Stage

EVERY = """
import queue, threading
import modal
q = modal.Queue.from_name("jobs", create_if_missing=True)
q.put(1)
q.put_many([{"two": 2}, (3,)])
q.put("other", partition="p")
assert q.len() == 3 and q.len(partition="p") == 1 and q.len(total=True) == 4 and q.len(partition="none") == 0
assert list(q.iterate()) == [1, {"two": 2}, (3,)] and list(q.iterate(partition="none")) == []
assert q.get() == 1 and q.get_many(5) == [{"two": 2}, (3,)]
assert q.get(partition="p") == "other"
assert q.get(block=False) is None and q.get_many(3, block=False) == []
for empty in (lambda: q.get(timeout=0.2), lambda: q.get_many(2, timeout=0.2)):
    try:
        empty()
    except queue.Empty:
        pass
    else:
        raise AssertionError("not Empty")
late = threading.Thread(target=lambda: print("late:", q.get(timeout=30), q.get(timeout=30)))
late.start()
q.put("a")
q.put("b")
late.join()
q.put_many(range(20))
assert list(q.iterate()) == list(range(20))
try:
    q.put("no room", block=False)
except queue.Full as error:
    assert "queue_partition_items" in str(error), error
else:
    raise AssertionError("not Full")
try:
    q.put("no room", timeout=0.5)
except queue.Full:
    pass
else:
    raise AssertionError("not Full")
room = threading.Timer(0.5, q.get)
room.start()
q.put("there is room soon")
room.join()
assert q.len() == 20
q.put(1, partition="p")
q.clear()
assert q.len() == 0 and q.len(total=True) == 1
q.clear(all=True)
assert q.len(total=True) == 0
with modal.Queue.ephemeral() as e:
    e.put(1)
    assert e.get() == 1
print("all is well")
"""

NEW = """
import queue
import modal
modal.Queue.objects.create("one")
try:
    modal.Queue.objects.create("one")
except modal.exception.AlreadyExistsError:
    modal.Queue.objects.create("one", allow_existing=True)
else:
    raise AssertionError("no AlreadyExistsError")
modal.Queue.objects.create("two")
assert [q.name for q in modal.Queue.objects.list()] == ["two", "one"]
q = modal.Queue.from_name("one")
assert q.info().name == "one" and modal.Queue.from_id(q.object_id).len() == 0
for put in (lambda: q.put(b"x" * (1 << 20)), lambda: q.put_many(range(21))):
    try:
        put()
    except modal.exception.RequestSizeError as error:
        assert "too large" in str(error)
    else:
        raise AssertionError("no RequestSizeError")
try:
    q.put(1, partition="x" * 65)
except modal.exception.InvalidError:
    pass
else:
    raise AssertionError("no InvalidError")
for name in "abc":
    q.put(1, partition=name)
try:
    q.put(1, partition="d", block=False)
except queue.Full as error:
    assert "queue_partitions" in str(error)
else:
    raise AssertionError("not Full")
modal.Queue.objects.delete("one")
try:
    q.get()
except modal.exception.NotFoundError:
    print("all is well")
"""


@pytest.fixture
def small(scene: Stage) -> Stage:
    """Limits that a test reaches."""
    object.__setattr__(scene.context.config, "queue_partition_items", 20)
    object.__setattr__(scene.context.config, "queue_partitions", 3)
    return scene


async def test_everything_a_queue_can(small: Stage, client: Path, work: Path) -> None:
    (work / "program.py").write_text(EVERY)
    output = (await small.run(client / "python", "program.py", cwd=work)).ok()
    assert "late: a b" in output
    assert "all is well" in output


async def test_managing_queues_and_limits(small: Stage, new_client: Path, work: Path) -> None:
    (work / "program.py").write_text(NEW)
    assert "all is well" in (await small.run(new_client / "python", "program.py", cwd=work)).ok()


async def test_the_command_line(scene: Stage, client: Path, work: Path) -> None:
    async def modal(*words: str) -> str:
        return (await scene.run(client / "modal", "queue", *words, cwd=work)).ok()

    await modal("create", "jobs")
    program = "import modal; q = modal.Queue.from_name('jobs'); q.put_many([11, 12]); q.put(13, partition='p')"
    (await scene.run(client / "python", "-c", program, cwd=work)).ok()
    row = {key.lower().replace(" ", "_"): value for key, value in json.loads(await modal("list", "--json"))[0].items()}
    assert row["name"] == "jobs"
    assert [str(row["partitions"]), str(row["total_size"])] == ["2", "3"]
    assert (await modal("peek", "jobs", "2")).split() == ["11", "12"]
    assert (await modal("len", "jobs")).strip() == "2"
    assert (await modal("len", "jobs", "--total")).strip() == "3"
    assert (await modal("len", "jobs", "-p", "p")).strip() == "1"
    await modal("clear", "jobs", "--yes")
    assert (await modal("len", "jobs", "--total")).strip() == "1"
    await modal("clear", "jobs", "--all", "--yes")
    assert (await modal("len", "jobs", "--total")).strip() == "0"
    await modal("delete", "jobs", "--yes")
    assert json.loads(await modal("list", "--json")) == []


class Wire:
    """One connection, for what the client does only when an answer was lost."""

    def __init__(self, scene: Stage) -> None:
        host, port = scene.url.removeprefix("http://").split(":")
        self.channel = Channel(host, int(port))
        self.stub = ModalClientStub(self.channel)
        self.queue_id = ""

    async def begin(self) -> None:
        request = api_pb2.QueueGetOrCreateRequest(
            deployment_name="q", object_creation_type=api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING
        )
        self.queue_id = (await self.stub.QueueGetOrCreate(request, metadata=self._metadata("0", 0))).queue_id

    @staticmethod
    def _metadata(key: str, attempt: int) -> dict[str, str]:
        return {
            "x-modal-token-id": TOKEN[0],
            "x-modal-token-secret": TOKEN[1],
            "x-idempotency-key": key,
            "x-retry-attempt": str(attempt),
        }

    async def put(self, values: list[bytes], key: str, attempt: int = 0, ttl_s: int = 0) -> None:
        request = api_pb2.QueuePutRequest(queue_id=self.queue_id, values=values, partition_ttl_seconds=ttl_s)
        await self.stub.QueuePut(request, metadata=self._metadata(key, attempt))

    async def get(self, key: str, attempt: int = 0, count: int = 1, timeout_s: float = 0) -> list[bytes]:
        request = api_pb2.QueueGetRequest(queue_id=self.queue_id, n_values=count, timeout=timeout_s)
        return list((await self.stub.QueueGet(request, metadata=self._metadata(key, attempt))).values)


async def test_what_is_sent_again_is_not_done_again(scene: Stage) -> None:
    wire = Wire(scene)
    await wire.begin()
    await wire.put([b"1", b"2", b"3"], "put")
    await wire.put([b"1", b"2", b"3"], "put", attempt=1)
    assert await wire.get("get", count=2) == [b"1", b"2"]
    assert await wire.get("get", attempt=1, count=2) == [b"1", b"2"]
    assert await wire.get("other", count=9) == [b"3"]
    assert await wire.get("other", attempt=5, count=9) == [b"3"]
    wire.channel.close()


async def test_a_get_that_the_client_gives_up_takes_nothing(scene: Stage) -> None:
    wire = Wire(scene)
    await wire.begin()
    waiting = asyncio.create_task(wire.get("a", timeout_s=50))
    while scene.rpcs("QueueGet") == 0 or not scene.context.lines.waiting(wire.queue_id):
        await asyncio.sleep(0.01)
    waiting.cancel()
    while scene.context.lines.waiting(wire.queue_id):
        await asyncio.sleep(0.01)
    await wire.put([b"1"], "put")
    assert await wire.get("b") == [b"1"]
    wire.channel.close()


async def test_a_deleted_queue_ends_the_gets_that_wait(scene: Stage) -> None:
    wire = Wire(scene)
    await wire.begin()
    waiting = asyncio.create_task(wire.get("a", timeout_s=50))
    while not scene.context.lines.waiting(wire.queue_id):
        await asyncio.sleep(0.01)
    request = api_pb2.QueueDeleteRequest(queue_id=wire.queue_id)
    await wire.stub.QueueDelete(request, metadata=Wire._metadata("d", 0))
    with pytest.raises(GRPCError) as failed:
        await waiting
    assert failed.value.status is Status.NOT_FOUND
    wire.channel.close()


async def test_a_partition_ends_so_long_after_its_last_put(scene: Stage) -> None:
    wire, now = Wire(scene), scene.context.now
    object.__setattr__(scene.context, "clock", lambda: now)
    context = scene.service.guard._context
    object.__setattr__(context, "clock", lambda: now)
    context.lines.bind(context.database, lambda: now)
    await wire.begin()
    await wire.put([b"1"], "1", ttl_s=10)
    now += 9
    assert await wire.get("2") == [b"1"]
    await wire.put([b"2"], "3", ttl_s=10)
    now += 11
    assert await wire.get("4") == []
    await wire.put([b"3"], "5", ttl_s=10**6)
    now += scene.context.config.queue_ttl_s - 1
    assert await wire.get("6") == [b"3"]
    await wire.put([b"4"], "7", ttl_s=10**6)
    now += scene.context.config.queue_ttl_s + 1
    assert await wire.get("8") == []
    wire.channel.close()
