"""Which bound functions take part: many are rows, few have a place in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ionian.blobs.files import FileBlobStore
from ionian.dispatch.dispatch import Dispatch
from ionian.model import JournalEntries, Journalled
from ionian.scheduler import bound as places
from ionian.scheduler.bound import KEPT_S, Bound
from ionian.state import apps, bindings, calls, functions
from ionian.state.bindings import Overrides
from ionian.state.calls import NewCall, NewInput
from ionian.state.database import SqliteDatabase, Tx
from tests.unit.state_tables import add_function, new_app, open_tables, publish


class World:
    """Rows and a dispatch without containers; time is the test's."""

    def __init__(self, database: SqliteDatabase, folder: Path) -> None:
        self.now = 1000.0
        self.database = database
        self.dispatch = Dispatch(
            lambda: self.now,
            FileBlobStore(folder / "blobs"),
            self._journal,
            lambda *_: None,
            lambda *_: None,
            max_queued=3,
        )
        self.bound = Bound(database, lambda: self.dispatch, lambda: self.now)

    async def _journal(self, entries: JournalEntries) -> Journalled:
        return await self.database.write(calls.commit, entries)

    async def deploy(self) -> str:
        def commit(tx: Tx) -> str:
            app_id = new_app(tx, "shop")
            function_id = add_function(tx, app_id, "Model.*")
            publish(tx, app_id, "shop", function_id)
            return function_id

        function_id = await self.database.write(commit)
        self.dispatch.apply(await self.database.read(functions.live))
        return function_id

    async def bind(self, base_id: str, params: bytes) -> str:
        def commit(tx: Tx) -> str:
            return bindings.bind(tx, functions.get(tx, base_id), params, Overrides(), b"", "x", self.now)

        return await self.database.write(commit)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    opened = open_tables(tmp_path)
    yield World(opened, tmp_path)
    opened.close()


async def test_one_that_is_called_takes_part_and_stays_for_a_while(world: World) -> None:
    base_id = await world.deploy()
    function_id = await world.bind(base_id, b"a")
    assert function_id not in world.dispatch.pools
    assert await world.bound.enlist(function_id)
    assert world.dispatch.spec(function_id).params == b"a"
    assert world.bound.kept() == [function_id]
    world.now += KEPT_S + 1
    assert world.bound.kept() == []
    assert await world.bound.enlist(function_id)  # called again
    assert world.bound.kept() == [function_id]


async def test_what_does_not_exist_or_run_does_not(world: World) -> None:
    base_id = await world.deploy()
    function_id = await world.bind(base_id, b"a")
    assert await world.bound.enlist(base_id)
    assert not await world.bound.enlist("fu-none")
    await world.database.write(apps.stop, world.dispatch.spec(base_id).app_id, "", world.now)
    assert not await world.bound.enlist(function_id)


async def test_the_idle_ones_leave_when_there_are_many_and_those_with_inputs_stay(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "MOST", 3)
    base_id = await world.deploy()
    old = [await world.bind(base_id, bytes([number])) for number in range(3)]
    for function_id in old:
        await world.bound.enlist(function_id)
    await world.database.write(calls.create, NewCall(old[1], 1, 1), world.now, [NewInput(0, 1, "", b"")])
    world.now += KEPT_S + 1
    assert world.dispatch.pools.keys() == {base_id, *old}
    newest = await world.bind(base_id, b"new")
    await world.bound.enlist(newest)
    assert world.dispatch.pools.keys() == {base_id, old[1], newest}
