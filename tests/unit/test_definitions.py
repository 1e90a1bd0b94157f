"""What the server makes of a client's Function message."""

from __future__ import annotations

import pytest

from ionian.api import definitions
from ionian.model import Batching, Retries
from ionian.state.functions import Settings
from ionian.wire import api_pb2


def _settings(**fields: object) -> Settings:
    return definitions.settings_of(api_pb2.Function(function_name="f", **fields), "")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("timeout", "startup", "limit"),
    [(0, 0, 300), (5, 5, 30), (5, 0, 30), (5, 7, 7), (5, 90, 90), (600, 600, 600), (600, 20, 20)],
)
def test_a_short_timeout_of_inputs_leaves_time_to_start(timeout: int, startup: int, limit: int) -> None:
    assert _settings(timeout_secs=timeout, startup_timeout_secs=startup).startup_timeout_s == limit


def test_retries_as_clients_write_them() -> None:
    plain = api_pb2.FunctionRetryPolicy(retries=3, backoff_coefficient=1.0, initial_delay_ms=1000, max_delay_ms=60000)
    assert _settings(retry_policy=plain).retries == Retries(3, 1.0, 1.0, 60.0)
    assert _settings().retries.max_retries == 0


def test_batches_and_containers_of_one_input() -> None:
    assert _settings(batch_max_size=4, batch_linger_ms=250).batching == Batching(4, 0.25)
    assert _settings().batching is None
    assert _settings(single_use_containers=True).max_inputs == 1
    assert _settings(max_inputs=1).max_inputs == 1
