"""Schedules in words."""

from __future__ import annotations

import pytest

from ionian.api import schedules
from ionian.wire import api_pb2

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
