"""Apps and functions: what is live, and when."""

from __future__ import annotations

import pytest

from ionian.errors import AlreadyExists, FailedPrecondition, NotFound
from ionian.model import OutputRecord, Status
from ionian.state import apps, calls, environments, functions, images, sandboxes
from ionian.state.calls import NewCall, NewInput
from ionian.state.database import SqliteDatabase, Tx
from tests.unit.state_tables import add_function, built_image, new_app, publish


async def test_a_published_function_is_live_with_everything_resolved(database: SqliteDatabase) -> None:
    def deploy(tx: Tx) -> None:
        app_id = new_app(tx, "shop")
        publish(tx, app_id, "shop", add_function(tx, app_id, "pay", label="shop-pay"))

    await database.write(deploy)
    [spec] = await database.read(functions.live)
    assert (spec.app_name, spec.name, spec.version, spec.environment) == ("shop", "pay", 1, "main")
    assert (spec.layers, spec.image_env, spec.image_workdir) == (("l1",), (("A", "1"),), "/work")
    assert spec.python_version == "3.11"
    assert spec.scaling.max_containers == 2
    assert spec.definition == b"opaque"
    assert spec.runner.web is not None
    assert spec.runner.web.label == "shop-pay"


async def test_a_definition_that_is_not_published_changes_nothing_live(database: SqliteDatabase) -> None:
    def deploy(tx: Tx) -> str:
        app_id = new_app(tx, "shop")
        publish(tx, app_id, "shop", add_function(tx, app_id, "pay", timeout_s=10))
        return app_id

    app_id = await database.write(deploy)
    before = await database.read(functions.live)
    function_id = await database.write(add_function, app_id, "pay", timeout_s=20, now=9.0)
    assert await database.read(functions.live) == before
    assert functions.Settings.decode((await database.read(functions.current, function_id))["settings"]).timeout_s == 10
    await database.write(publish, app_id, "shop", function_id)
    [after] = await database.read(functions.live)
    assert (after.version, after.timeout_s, after.function_id) == (2, 20, before[0].function_id)


async def test_an_unchanged_definition_keeps_its_row(database: SqliteDatabase) -> None:
    app_id = await database.write(new_app, "shop")
    for now in (1.0, 2.0):
        function_id = await database.write(add_function, app_id, "pay", now=now)
    rows = await database.read(lambda tx: tx.all("SELECT * FROM definitions WHERE function_id = ?", function_id))
    assert len(rows) == 1


async def test_two_apps_cannot_be_deployed_under_one_name(database: SqliteDatabase) -> None:
    first, second = await database.write(new_app, "shop"), await database.write(new_app, "shop")
    await database.write(publish, first, "shop")
    with pytest.raises(AlreadyExists, match="shop"):
        await database.write(publish, second, "shop")
    await database.write(apps.stop, first, "me", 5.0)
    assert await database.write(publish, second, "shop") == 1


async def test_a_publish_needs_definitions_and_built_images(database: SqliteDatabase) -> None:
    def announced(tx: Tx) -> str:
        return functions.precreate(tx, new_app(tx, "a"), "f", "", 1.0)

    function_id = await database.write(announced)
    with pytest.raises(FailedPrecondition, match="no definition"):
        await database.read(functions.definitions_of, [function_id], {})

    def pending(tx: Tx) -> str:
        app_id = new_app(tx, "b")
        row = images.get_or_create(tx, app_id, images.Recipe(("RUN slow",), "2025.06"), False, 1.0)
        made = functions.precreate(tx, app_id, "g", "", 1.0)
        functions.define(tx, made, functions.Settings("g", "m", "g"), row["image_id"], b"", "1.6.4", 1.0)
        return made

    slow = await database.write(pending)
    with pytest.raises(FailedPrecondition, match="not built"):
        await database.read(functions.definitions_of, [slow], {})


async def test_labels_belong_to_one_app_until_it_stops(database: SqliteDatabase) -> None:
    def one(tx: Tx) -> str:
        app_id = new_app(tx, "one")
        publish(tx, app_id, "one", add_function(tx, app_id, "f", label="same"))
        return app_id

    def two(tx: Tx) -> str:
        app_id = new_app(tx, "two")
        publish(tx, app_id, "two", add_function(tx, app_id, "f", label="same"))
        return app_id

    holder = await database.write(one)
    with pytest.raises(AlreadyExists, match=r"acme--same.*'one'"):
        await database.write(two)
    assert [spec.app_id for spec in await database.read(functions.live)] == [holder]
    await database.write(apps.stop, holder, "me", 5.0)
    await database.write(two)


async def test_two_functions_of_an_app_cannot_have_one_label(database: SqliteDatabase) -> None:
    def both(tx: Tx) -> None:
        app_id = new_app(tx, "one")
        publish(tx, app_id, "one", *(add_function(tx, app_id, name, label="same") for name in ("first", "second")))

    with pytest.raises(AlreadyExists, match=r"first and second .*acme--same.*label="):
        await database.write(both)
    assert await database.read(functions.live) == []


async def test_a_forgotten_run_gives_its_label_to_the_next(database: SqliteDatabase) -> None:
    def serve(tx: Tx) -> str:
        app_id = new_app(tx, "shop", state=apps.EPHEMERAL)
        publish(tx, app_id, "", add_function(tx, app_id, "f", label="shop-f-dev"), state=apps.EPHEMERAL)
        return app_id

    await database.write(serve)
    second = await database.write(serve)
    [row] = await database.read(lambda tx: tx.all("SELECT * FROM web_labels"))
    assert (row["host"], row["app_id"]) == ("acme--shop-f-dev", second)


@pytest.mark.parametrize(
    ("state", "ends"),
    [(apps.EPHEMERAL, True), (apps.INITIALIZING, True), (apps.DETACHED, True), (apps.DEPLOYED, False)],
)
async def test_what_a_leaving_client_ends(database: SqliteDatabase, state: int, ends: bool) -> None:
    app_id = await database.write(new_app, "a", state=state)
    assert await database.write(apps.disconnect, app_id, 5.0) is ends
    assert ((await database.read(apps.get, app_id))["state"] == apps.STOPPED) is ends
    assert await database.write(apps.disconnect, app_id, 6.0) is False


def _working(tx: Tx, state: int) -> tuple[str, OutputRecord]:
    """An app with one open input, and what will end it."""
    app_id = new_app(tx, "works", state=state, now=10.0)
    function_id = add_function(tx, app_id, "f")
    publish(tx, app_id, "", function_id, state=state)
    call_id, _ = calls.create(tx, NewCall(function_id, 1, 4), 10.0)
    [(_, input_id)], _ = calls.accept(tx, call_id, [NewInput(0, 1)], 10.0)
    return app_id, OutputRecord(input_id, call_id, Status.SUCCESS, 1)


async def test_a_detached_app_goes_on_without_its_client_until_its_work_is_done(database: SqliteDatabase) -> None:
    app_id, output = await database.write(_working, apps.DETACHED)
    assert await database.read(apps.lost, 0.0) == []
    assert await database.write(apps.disconnect, app_id, 20.0) is False
    assert (await database.read(apps.get, app_id))["state"] == apps.DETACHED_DISCONNECTED
    assert await database.read(apps.lost, 0.0) == []
    await database.write(calls.record_output, output)
    assert await database.read(apps.lost, 0.0) == [app_id]


async def test_a_detached_app_whose_client_fell_silent_goes_on_until_its_work_is_done(database: SqliteDatabase) -> None:
    app_id, output = await database.write(_working, apps.DETACHED)
    assert await database.read(apps.lost, 99.0) == []
    await database.write(calls.record_output, output)
    assert await database.read(apps.lost, 0.0) == []  # its client may still call
    assert await database.read(apps.lost, 99.0) == [app_id]


async def test_a_running_sandbox_is_work(database: SqliteDatabase) -> None:
    def begin(tx: Tx) -> str:
        app_id = new_app(tx, "boxes", state=apps.DETACHED)
        settings = sandboxes.Settings(("sleep", "9"))
        sandboxes.create(tx, "sb-1", "ta-1", app_id, built_image(tx, app_id), settings, "1.6.4", 10.0)
        return app_id

    app_id = await database.write(begin)
    assert await database.write(apps.disconnect, app_id, 20.0) is False
    assert await database.read(apps.lost, 0.0) == []
    await database.write(sandboxes.finish, "sb-1", 1, 0, "", 30.0)
    assert await database.read(apps.lost, 0.0) == [app_id]


async def test_apps_that_lost_their_client(database: SqliteDatabase) -> None:
    silent = await database.write(new_app, "silent", state=apps.EPHEMERAL, now=10.0)
    alive = await database.write(new_app, "alive", state=apps.EPHEMERAL, now=10.0)
    await database.write(apps.heartbeat, alive, 100.0)
    assert await database.read(apps.lost, 50.0) == [silent]
    await database.write(apps.stop, silent, "", 60.0)
    with pytest.raises(FailedPrecondition):
        await database.write(apps.heartbeat, silent, 61.0)


async def test_a_function_of_another_app_is_not_taken_over(database: SqliteDatabase) -> None:
    first, second = await database.write(new_app, "one"), await database.write(new_app, "two")
    function_id = await database.write(add_function, first, "f")
    with pytest.raises(NotFound):
        await database.write(functions.precreate, second, "f", function_id, 1.0)


async def test_environments_keep_apart_what_would_share_an_address(database: SqliteDatabase) -> None:
    await database.write(environments.create, "Staging", 1.0)
    with pytest.raises(AlreadyExists):
        await database.write(environments.create, "staging", 1.0)
    with pytest.raises(NotFound, match="nosuch"):
        await database.write(environments.get, "nosuch", 1.0)
    assert (await database.write(environments.get, "", 1.0))["name"] == "main"


async def test_an_image_is_one_row_per_content(database: SqliteDatabase) -> None:
    app_id = await database.write(new_app, "a")
    recipe = images.Recipe(("RUN two",), "2025.06", bases=(("base", await database.write(built_image, app_id)),))
    row = await database.write(images.get_or_create, app_id, recipe, False, 1.0)
    image_id = row["image_id"]
    assert (await database.write(images.get_or_create, "other", recipe, False, 1.0))["image_id"] == image_id
    assert await database.read(images.pending) == [image_id]
    assert await database.write(images.begin, image_id) is True
    assert await database.write(images.begin, image_id) is False
    await database.write(images.restart)
    assert await database.read(images.pending) == [image_id]
    order = await database.read(images.build_request, image_id)
    assert (order.base_layers, order.base_env, order.python_version) == (("l1",), (("A", "1"),), "3.11")
    await database.write(images.fail, image_id, "no", 2.0)
    again = await database.write(images.get_or_create, app_id, recipe, False, 3.0)
    assert again["image_id"] != image_id
    assert (await database.read(images.get, image_id))["error"] == "no"


async def test_an_image_waits_for_its_base(database: SqliteDatabase) -> None:
    base = await database.write(images.get_or_create, "a", images.Recipe(("RUN one",), "x"), False, 1.0)
    on_top = images.Recipe(("RUN two",), "x", bases=(("base", base["image_id"]),))
    top = await database.write(images.get_or_create, "a", on_top, False, 2.0)
    assert await database.read(images.pending) == [base["image_id"]]
    with pytest.raises(FailedPrecondition):
        await database.read(images.build_request, top["image_id"])


async def test_a_forced_build_leaves_the_old_image_to_who_uses_it(database: SqliteDatabase) -> None:
    image_id = await database.write(built_image, "a")
    recipe = images.Recipe(("RUN one",), "2025.06")
    forced = await database.write(images.get_or_create, "a", recipe, True, 5.0)
    assert forced["image_id"] != image_id
    assert (await database.read(images.build_request, forced["image_id"])).force
    assert (await database.read(images.get, image_id))["status"] == images.BUILT
    assert (await database.write(images.get_or_create, "a", recipe, False, 6.0))["image_id"] == forced["image_id"]
