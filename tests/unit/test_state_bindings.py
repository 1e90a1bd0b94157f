"""Bound functions: the same arguments and settings are the same function; which of them take part."""

from __future__ import annotations

from ionian.model import Batching, Resources, Retries, Scaling
from ionian.state import apps, bindings, calls, functions
from ionian.state.bindings import Overrides
from ionian.state.calls import NewCall, NewInput
from ionian.state.database import SqliteDatabase, Tx
from ionian.state.functions import Settings
from tests.unit.state_tables import add_function, new_app, publish

NOTHING = Overrides()
EVERYTHING = Overrides(
    cpu=(500, None),
    memory=(256, 512),
    timeout_s=7,
    retries=Retries(max_retries=2),
    batching=Batching(3, 0.5),
    secret_ids=("st-1",),
    max_containers=4,
    scaledown_window_s=9,
    max_concurrent_inputs=8,
)


def _deploy(tx: Tx, name: str = "shop") -> str:
    app_id = new_app(tx, name)
    function_id = add_function(tx, app_id, "Model.*")
    publish(tx, app_id, name, function_id)
    return function_id


def _bind(tx: Tx, base_id: str, params: bytes, overrides: Overrides = NOTHING) -> str:
    return bindings.bind(tx, functions.get(tx, base_id), params, overrides, b"", "size=3", 5.0)


def test_overrides_take_the_place_of_settings_and_leave_the_others() -> None:
    settings = Settings("f", "m", "f", timeout_s=60, scaling=Scaling(max_containers=1, buffer_containers=2))
    assert Overrides().applied(settings) == settings
    found = Overrides.decode(EVERYTHING.encode()).applied(settings)
    assert found.resources == Resources(500, 256, None, 512)
    assert (found.timeout_s, found.retries, found.batching) == (7, Retries(max_retries=2), Batching(3, 0.5))
    assert found.scaling == Scaling(0, 4, 2, 9, 8)
    assert found.secret_ids == ("st-1",)


def test_what_is_changed_later_is_over_what_was_changed_before() -> None:
    both = Overrides(min_containers=0).over(Overrides(min_containers=3, max_containers=5))
    assert both == Overrides(min_containers=0, max_containers=5)


async def test_the_same_arguments_and_settings_are_the_same_function(database: SqliteDatabase) -> None:
    base_id = await database.write(_deploy)
    first = await database.write(_bind, base_id, b"a")
    assert await database.write(_bind, base_id, b"a") == first
    others = {
        await database.write(_bind, base_id, b"b"),
        await database.write(_bind, base_id, b"a", EVERYTHING),
        await database.write(_bind, base_id, b"", EVERYTHING),
    }
    assert len(others | {first, base_id}) == 5
    assert await database.read(bindings.base_of, first) == base_id
    assert await database.read(bindings.base_of, base_id) == base_id
    rows = await database.read(bindings.of_base, base_id)
    assert {row["function_id"] for row in rows} == others | {first}


async def test_a_bound_function_is_the_one_it_binds_with_what_was_bound(database: SqliteDatabase) -> None:
    base_id = await database.write(_deploy)
    function_id = await database.write(_bind, base_id, b"a", EVERYTHING)
    assert await database.read(functions.live) == [await database.read(functions.spec, await _live_id(database))]
    [base, bound] = await database.read(functions.live, [function_id])
    assert (bound.function_id, bound.runner.function_id, bound.base_id) == (function_id, function_id, base_id)
    assert (bound.params, bound.name, bound.timeout_s) == (b"a", "Model.* (size=3)", 7)
    assert (bound.layers, bound.definition, bound.version) == (base.layers, base.definition, base.version)


async def _live_id(database: SqliteDatabase) -> str:
    row = await database.read(lambda tx: tx.one("SELECT definition_id FROM definitions"))
    assert row is not None
    return str(row["definition_id"])


async def test_it_takes_part_while_it_has_open_inputs_or_containers_to_keep(database: SqliteDatabase) -> None:
    base_id = await database.write(_deploy)
    called, kept, idle = [await database.write(_bind, base_id, params) for params in (b"a", b"b", b"c")]

    def call(tx: Tx) -> None:
        calls.create(tx, NewCall(called, 1, 1), 6.0, [NewInput(0, 1, "", b"")])

    await database.write(call)
    await database.write(bindings.autoscale, kept, Overrides(min_containers=1))
    await database.write(bindings.autoscale, idle, Overrides(max_containers=1))
    live = {spec.function_id: spec for spec in await database.read(functions.live)}
    assert live.keys() == {base_id, called, kept}
    assert live[kept].scaling.min_containers == 1
    app_id = live[base_id].app_id
    assert await database.write(bindings.forget_autoscaling, app_id) == 2
    assert await database.write(bindings.forget_autoscaling, app_id) == 0
    assert {spec.function_id for spec in await database.read(functions.live)} == {base_id, called}
    await database.write(apps.stop, app_id, "", 9.0)
    assert await database.read(functions.live, [called]) == []
    assert await database.read(functions.bound_spec, called) is None
