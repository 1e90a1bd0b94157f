"""Schedules of definitions: in words, checked, and those of apps that were deployed before."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ionian.api import schedules
from ionian.errors import InvalidRequest
from ionian.state import apps
from ionian.state import schedules as rows
from ionian.state.database import Tx
from ionian.wire import api_pb2
from tests.unit.state_tables import add_function, new_app, open_tables, publish

Cron, Period = api_pb2.Schedule.Cron, api_pb2.Schedule.Period


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (None, ""),
        (api_pb2.Schedule(period=Period(hours=24)), "every 24 hours"),
        (api_pb2.Schedule(period=Period(days=1)), "every 1 day"),
        (api_pb2.Schedule(period=Period(weeks=2, seconds=1.5)), "every 2 weeks 1.5 seconds"),
        (api_pb2.Schedule(cron=Cron(cron_string="0 9 * * 1")), "cron 0 9 * * 1 (UTC)"),
        (api_pb2.Schedule(cron=Cron(cron_string="@daily", timezone="Asia/Tokyo")), "cron @daily (Asia/Tokyo)"),
    ],
)
def test_described(schedule: api_pb2.Schedule | None, text: str) -> None:
    assert schedules.described(api_pb2.Function(schedule=schedule).SerializeToString()) == text


Function = api_pb2.Function
WEB = api_pb2.WebhookConfig(type=api_pb2.WEBHOOK_TYPE_ASGI_APP)
DAILY = api_pb2.Schedule(cron=Cron(cron_string="@daily"))


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (Function(schedule=api_pb2.Schedule(cron=Cron(cron_string="x"))), r"f: schedule=Cron\('x'\): it needs five"),
        (Function(schedule=api_pb2.Schedule(period=Period(seconds=float("nan")))), "f: schedule=Period"),
        (Function(schedule=DAILY, webhook_config=WEB), "f: a web function cannot have a schedule"),
        (
            Function(schedule=DAILY, function_type=Function.FUNCTION_TYPE_GENERATOR),
            "f: a generator cannot have a schedule",
        ),
    ],
)
def test_what_cannot_be_scheduled_is_refused_by_name(function: api_pb2.Function, text: str) -> None:
    function.function_name = "f"
    with pytest.raises(InvalidRequest, match=text):
        schedules.check(function, 0.0)
    function.ClearField("schedule")
    schedules.check(function, 0.0)


def test_an_app_deployed_before_this_server_knew_schedules_gets_its_own(tmp_path: Path) -> None:
    definition = Function(function_name="f", schedule=api_pb2.Schedule(period=Period(hours=1))).SerializeToString()

    def deployed(tx: Tx, name: str, state: int) -> str:
        app_id = new_app(tx, name)
        function_id = add_function(tx, app_id, "f")
        tx.execute("UPDATE definitions SET definition = ? WHERE function_id = ?", definition, function_id)
        publish(tx, app_id, name, function_id, state=state)
        return function_id

    async def play() -> None:
        database = open_tables(tmp_path)
        try:
            function_id = await database.write(deployed, "a", apps.DEPLOYED)
            await database.write(deployed, "b", apps.EPHEMERAL)
            for now in (100.0, 900.0):  # the second start leaves what the first one made
                await database.write(schedules.restore, now)
                [row] = await database.read(rows.listing)
                assert (row["function_id"], row["due_at"]) == (function_id, 100.0 + 3600)
        finally:
            database.close()

    asyncio.run(play())
