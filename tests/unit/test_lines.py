"""Lines of gets that wait: handed over in order, one transaction each time, nothing lost and nothing doubled."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ionian.errors import NotFound
from ionian.state import objects, queues
from ionian.state.database import SqliteDatabase
from ionian.state.lines import Lines, Waiter
from ionian.state.migrate import migrate
from ionian.state.queues import NOTHING, Given, Limits

LIMITS = Limits(10, 5000, 1 << 20)
PATIENT_S = 60.0


@dataclass
class Queue:
    database: SqliteDatabase
    lines: Lines
    queue_id: str
    writes: int = 0

    async def put(self, *values: bytes, key: bytes = b"") -> None:
        await self.database.write(queues.put, self.queue_id, key, values, 1e6, LIMITS, "", time.time())
        self.lines.serve((self.queue_id, key))

    def join(self, count: int = 1, request_key: str = "", timeout_s: float = PATIENT_S, again: bool = False) -> Waiter:
        return self.lines.join((self.queue_id, b""), count, request_key, timeout_s, again)

    async def waiting(self, count: int = 1, request_key: str = "", timeout_s: float = PATIENT_S) -> Waiter:
        """One that has come, found nothing, and waits."""
        waiter = self.join(count, request_key, timeout_s)
        if not waiter.waits:
            assert await waiter.done is None
        return waiter

    async def length(self) -> int:
        return await self.database.read(queues.length, self.queue_id, b"", time.time())


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[Queue]:
    database = SqliteDatabase(tmp_path / "state.db")
    await migrate(database)
    row = await database.write(objects.create, "queue", "main", "q", "me", time.time())
    lines = Lines()
    lines.bind(database, time.time)
    yield Queue(database, lines, row["object_id"])
    await asyncio.gather(*lines._tasks)
    assert not lines._lines, "a line is left behind"
    database.close()


async def got(waiter: Waiter) -> tuple[bytes, ...]:
    given = await waiter.done
    assert given is not None
    return given.values


async def test_who_came_first_is_given_first_and_the_others_sleep_on(queue: Queue) -> None:
    waiters = [await queue.waiting() for _ in range(5)]
    await queue.put(b"1", b"2")
    assert [await got(waiter) for waiter in waiters[:2]] == [(b"1",), (b"2",)]
    assert not any(waiter.done.done() for waiter in waiters[2:])
    await queue.put(b"3", b"4", b"5")
    assert [await got(waiter) for waiter in waiters[2:]] == [(b"3",), (b"4",), (b"5",)]


async def test_one_put_is_one_hand_over_however_many_wait(queue: Queue) -> None:
    waiters = [await queue.waiting() for _ in range(500)]
    taken = 0
    take = queues.take

    def counted(*arguments: object) -> list[Given]:
        nonlocal taken
        taken += 1
        return take(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queues, "take", counted)
        await queue.put(b"1")
        assert await got(waiters[0]) == (b"1",)
    assert taken == 1
    assert sum(waiter.done.done() for waiter in waiters) == 1
    for waiter in waiters:
        waiter.give_up()


async def test_a_get_takes_what_is_there_up_to_its_number(queue: Queue) -> None:
    await queue.put(b"1", b"2", b"3")
    assert await got(queue.join(2)) == (b"1", b"2")
    assert await got(queue.join(5)) == (b"3",)
    assert await queue.join(1, timeout_s=0).done is NOTHING


async def test_a_waiter_goes_with_nothing_when_its_time_is_over(queue: Queue) -> None:
    assert await (await queue.waiting(timeout_s=0.01)).done is NOTHING
    patient = await queue.waiting()
    assert await queue.join(timeout_s=0).done is NOTHING  # behind somebody who waits
    assert await (await queue.waiting(timeout_s=0.01)).done is NOTHING
    await queue.put(b"1")
    assert await got(patient) == (b"1",)


async def test_what_was_given_to_somebody_who_has_gone_is_the_nexts(queue: Queue) -> None:
    first, second = await queue.waiting(2, "a"), await queue.waiting(2, "b")
    await queue.put(b"1", b"2", b"3")
    assert await got(first) == (b"1", b"2")
    assert await got(second) == (b"3",)
    third = await queue.waiting(3, "c")
    first.give_up()  # before it was sent
    assert await got(third) == (b"1", b"2")
    second.give_up()
    await asyncio.gather(*queue.lines._tasks)
    assert await queue.length() == 1


async def test_whoever_goes_before_anything_came_leaves_no_trace(queue: Queue) -> None:
    waiters = [await queue.waiting() for _ in range(3)]
    waiters[0].done.cancel()
    waiters[1].give_up()
    await queue.put(b"1")
    assert await got(waiters[2]) == (b"1",)
    fresh = queue.join()
    fresh.done.cancel()
    await queue.put(b"2")
    assert await got(queue.join()) == (b"2",)


async def test_the_same_request_again_takes_the_place_of_the_first(queue: Queue) -> None:
    first = await queue.waiting(1, "same")
    second = queue.join(1, "same", again=True)
    await queue.put(b"1")
    while await second.done is None:
        pass
    assert await got(second) == (b"1",)
    assert first.done.cancelled()
    assert await queue.length() == 0


async def test_a_deleted_queue_tells_those_who_wait(queue: Queue) -> None:
    waiter = await queue.waiting()
    await queue.database.write(objects.delete, "queue", queue.queue_id)
    queue.lines.serve((queue.queue_id, b""))
    with pytest.raises(NotFound):
        await waiter.done


async def test_what_was_taken_from_a_queue_that_is_deleted_does_not_go_back(queue: Queue) -> None:
    waiter = await queue.waiting(1, "a")
    await queue.put(b"1")
    await waiter.done
    await queue.database.write(objects.delete, "queue", queue.queue_id)
    waiter.give_up()
    await asyncio.gather(*queue.lines._tasks)


@pytest.mark.parametrize("seed", range(5))
async def test_each_item_goes_to_one_who_stays(queue: Queue, seed: int) -> None:
    """Producers and consumers at once; some consumers go at any moment: waiting, or with an answer not sent."""
    chance = random.Random(seed)
    wanted = [b"%d" % number for number in range(300)]
    received: list[bytes] = []
    count = 0

    async def produce(values: list[bytes]) -> None:
        while values:
            some = values[: chance.randint(1, 4)]
            del values[: len(some)]
            await queue.put(*some)
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() / 200)

    async def consume() -> None:
        nonlocal count
        while len(received) < len(wanted):
            count += 1
            waiter = queue.join(chance.randint(1, 3), f"r{count}", timeout_s=chance.choice([0, 0.002, 0.05]))
            ways = chance.random()
            if ways < 0.1:
                await asyncio.sleep(chance.random() / 500)
                waiter.give_up()
                continue
            given = await waiter.done
            if given is None:
                given = await waiter.done
            assert given is not None
            if ways < 0.2:
                waiter.give_up()
                continue
            received.extend(given.values)

    parts = [wanted[start::3] for start in range(3)]
    await asyncio.wait_for(asyncio.gather(*map(produce, parts), *(consume() for _ in range(8))), 60)
    await asyncio.gather(*queue.lines._tasks)
    assert sorted(received) == sorted(wanted)
    assert await queue.length() == 0
