"""Every field of a function definition has a decided fate, and a definition is read as old and new clients mean it."""

from __future__ import annotations

import pytest

from ionian import wire
from ionian.api import definitions, fields
from ionian.errors import InvalidRequest, Unimplemented
from ionian.wire import api_pb2

ENDPOINT, WEB_SERVER = api_pb2.WEBHOOK_TYPE_FUNCTION, api_pb2.WEBHOOK_TYPE_WEB_SERVER


@pytest.mark.parametrize(
    ("message", "tables"),
    [
        (api_pb2.Function, (fields.HONOURED, fields.HARMLESS, fields.REFUSED)),
        (api_pb2.Resources, (fields.RESOURCES_HONOURED, fields.RESOURCES_HARMLESS, fields.RESOURCES_REFUSED)),
        (api_pb2.WebhookConfig, (fields.WEB_HONOURED, fields.WEB_HARMLESS, fields.WEB_REFUSED)),
    ],
)
def test_each_field_is_in_exactly_one_table(
    message: type[wire.Message], tables: tuple[frozenset[str] | dict[str, str], ...]
) -> None:
    listed = [name for table in tables for name in table]
    assert sorted(listed) == sorted(wire.field_names(message))


def test_a_function_without_options_passes() -> None:
    assert fields.check(api_pb2.Function(function_name="f")) == []


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (api_pb2.Function(resources=api_pb2.Resources(gpu_config=api_pb2.GPUConfig(count=1))), "gpu"),
        (api_pb2.Function(volume_mounts=[api_pb2.VolumeMount(volume_id="vo-1")]), "volumes"),
        (api_pb2.Function(block_network=True), "block_network"),
        (api_pb2.Function(is_server=True), "app.server"),
        (api_pb2.Function(experimental_options={"a": "b"}), "experimental_options"),
        (api_pb2.Function(webhook_config=api_pb2.WebhookConfig(type=ENDPOINT, requires_proxy_auth=True)), "proxy_auth"),
        (api_pb2.Function(webhook_config=api_pb2.WebhookConfig(type=WEB_SERVER)), "web_server"),
    ],
)
def test_what_is_not_built_is_refused_by_name(function: api_pb2.Function, named: str) -> None:
    function.function_name = "predict"
    with pytest.raises(Unimplemented, match=f"predict.*{named}"):
        fields.check(function)


def test_an_empty_gpu_message_asks_for_nothing() -> None:
    fields.check(api_pb2.Function(resources=api_pb2.Resources(gpu_config=api_pb2.GPUConfig())))


def test_a_field_of_a_newer_client_warns_and_does_not_break() -> None:
    newer = api_pb2.Function(function_name="f").SerializeToString() + b"\xba\x3e\x01x"  # field 999, one byte
    [warning] = fields.check(api_pb2.Function.FromString(newer))
    assert "999" in warning


def test_old_and_new_scaling_names_mean_the_same() -> None:
    old = api_pb2.Function(warm_pool_size=1, concurrency_limit=5, task_idle_timeout_secs=30, max_concurrent_inputs=7)
    new = api_pb2.Function(
        autoscaler_settings=api_pb2.AutoscalerSettings(min_containers=1, max_containers=5, scaledown_window=30),
        max_concurrent_inputs=7,
    )
    assert definitions.settings_of(old, "").scaling == definitions.settings_of(new, "").scaling


def test_a_setting_of_zero_in_the_new_form_wins_over_the_old_form() -> None:
    both = api_pb2.Function(warm_pool_size=3, autoscaler_settings=api_pb2.AutoscalerSettings(min_containers=0))
    assert definitions.settings_of(both, "").scaling.min_containers == 0


@pytest.mark.parametrize(
    "function",
    [
        api_pb2.Function(timeout_secs=86_401),
        api_pb2.Function(task_idle_timeout_secs=1),
        api_pb2.Function(warm_pool_size=3, concurrency_limit=2),
    ],
)
def test_values_out_of_range_are_refused(function: api_pb2.Function) -> None:
    with pytest.raises(InvalidRequest):
        definitions.settings_of(function, "")


def test_settings_survive_their_row() -> None:
    from ionian.state.functions import Settings

    function = api_pb2.Function(
        function_name="f",
        mount_ids=["mo-2", "mo-1"],
        supported_output_formats=[api_pb2.DATA_FORMAT_PICKLE, api_pb2.DATA_FORMAT_CBOR],
        webhook_config=api_pb2.WebhookConfig(type=api_pb2.WEBHOOK_TYPE_WSGI_APP, web_endpoint_docs=True),
        resources=api_pb2.Resources(milli_cpu=2000, memory_mb_max=64),
    )
    settings = definitions.settings_of(function, "label")
    assert Settings.decode(settings.encode()) == settings
    assert settings.mount_ids == ("mo-1", "mo-2")


def test_the_order_of_mounts_does_not_change_a_definition() -> None:
    one, two = api_pb2.Function(mount_ids=["a", "b"]), api_pb2.Function(mount_ids=["b", "a"])
    assert definitions.canonical(one) == definitions.canonical(two)


def test_function_data_carries_what_both_forms_have() -> None:
    function = api_pb2.Function(
        function_name="f",
        web_url="http://x",
        is_class=True,
        method_definitions={"m": api_pb2.MethodDefinition(function_name="f.m")},
        schedule=api_pb2.Schedule(cron=api_pb2.Schedule.Cron(cron_string="* * * * *")),
        supported_output_formats=[api_pb2.DATA_FORMAT_PICKLE],
    )
    data = definitions.function_data(function)
    assert (data.function_name, data.web_url, data.is_class) == ("f", "http://x", True)
    assert data.method_definitions["m"].function_name == "f.m"
    assert data.schedule.cron.cron_string == "* * * * *"
    assert [ranked.function for ranked in data.ranked_functions] == [function]


@pytest.mark.parametrize(
    ("client", "builder"),
    [("0.62.181", "2024.04"), ("0.64.3", "2024.04"), ("0.73.173", "2024.04"), ("0.77.0", "2024.04"),
     ("1.0.5", "2024.10"), ("1.1.4", "2024.10"), ("1.2.6", "2025.06"), ("1.6.4", "2025.06"), ("2.0.0", "2025.06"),
     ("1.3.0.dev1", "2025.06"), ("", "2025.06")],
)  # fmt: skip
def test_each_client_gets_a_builder_it_knows(client: str, builder: str) -> None:
    assert wire.builder_version(client) == builder
