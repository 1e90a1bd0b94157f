"""Constructor arguments and options as clients send them: the one form they have, what is refused."""

from __future__ import annotations

import pickle

import pytest

from ionian.api import autoscaler, bindings, fields
from ionian.errors import InvalidRequest, Unimplemented
from ionian.model import Batching, Retries, Scaling
from ionian.state.bindings import Overrides
from ionian.wire import api_pb2, field_names

STRING, INT = api_pb2.PARAM_TYPE_STRING, api_pb2.PARAM_TYPE_INT
DECLARED = api_pb2.ClassParameterInfo(
    format=api_pb2.ClassParameterInfo.PARAM_SERIALIZATION_FORMAT_PROTO,
    schema=[
        api_pb2.ClassParameterSpec(name="name", type=STRING),
        api_pb2.ClassParameterSpec(name="size", type=INT, has_default=True, int_default=3),
    ],
)
MODEL = api_pb2.Function(function_name="Model.*", is_class=True, class_parameter_info=DECLARED)
OLD = api_pb2.Function(function_name="Old.*", is_class=True)
NAME = api_pb2.ClassParameterValue(name="name", type=STRING, string_value="a")
SIZE = api_pb2.ClassParameterValue(name="size", type=INT, int_value=3)


def _sent(*values: api_pb2.ClassParameterValue) -> bytes:
    return api_pb2.ClassParameterSet(parameters=values).SerializeToString()


def test_declared_parameters_are_compared_by_value() -> None:
    whole, shown = bindings._params(MODEL, _sent(NAME, SIZE))
    assert shown == ["name='a'", "size=3"]
    assert bindings._params(MODEL, _sent(SIZE, NAME)) == (whole, shown)
    assert bindings._params(MODEL, _sent(NAME)) == (whole, shown)  # a client that leaves defaults to the server


def test_a_parameter_that_is_missing_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"Model\.\*: the parameter 'name' is missing"):
        bindings._params(MODEL, _sent(SIZE))


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_arguments_are_opaque_and_none_is_the_class_itself(protocol: int) -> None:
    assert bindings._params(OLD, pickle.dumps(((), {}), protocol)) == (b"", [])
    given = pickle.dumps((("x",), {"size": 2}), protocol)
    assert bindings._params(OLD, given) == (given, ["..."])


def test_parameters_have_a_limit() -> None:
    with pytest.raises(InvalidRequest, match="over the limit of 16384"):
        bindings._params(OLD, b"x" * (bindings.MAX_PARAMS_BYTES + 1))


def test_long_values_are_cut_where_they_are_shown() -> None:
    value = api_pb2.ClassParameterValue(name="name", type=STRING, string_value="long" * 100)
    assert len(bindings._shown(value)) == len("name=") + 40


def test_every_option_is_accounted_for() -> None:
    parts = [set(bindings.HONOURED), set(bindings.HARMLESS), set(bindings.REFUSED)]
    assert set.union(*parts) == field_names(api_pb2.FunctionOptions)
    assert sum(map(len, parts)) == len(set.union(*parts))


def test_options_become_overrides() -> None:
    options = api_pb2.FunctionOptions(
        resources=api_pb2.Resources(milli_cpu=500, memory_mb=256, memory_mb_max=512),
        retry_policy=api_pb2.FunctionRetryPolicy(retries=2, backoff_coefficient=1.0, initial_delay_ms=1000),
        concurrency_limit=4,
        timeout_secs=7,
        batch_max_size=3,
        batch_linger_ms=500,
        max_concurrent_inputs=8,
        target_concurrent_inputs=6,
    )
    assert bindings._overrides(options) == Overrides(
        cpu=(500, None),
        memory=(256, 512),
        retries=Retries(max_retries=2),
        max_containers=4,
        timeout_s=7,
        batching=Batching(3, 0.5),
        max_concurrent_inputs=8,
        target_concurrent_inputs=6,
    )
    assert bindings._overrides(api_pb2.FunctionOptions(resources=api_pb2.Resources())) == Overrides()
    old = bindings._overrides(api_pb2.FunctionOptions(target_concurrent_inputs=5))  # allow_concurrent_inputs
    assert (old.max_concurrent_inputs, old.target_concurrent_inputs) == (5, None)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (api_pb2.FunctionOptions(volume_mounts=[api_pb2.VolumeMount(mount_path="/x")]), "volumes"),
        (api_pb2.FunctionOptions(cloud_bucket_mounts=[api_pb2.CloudBucketMount()]), "cloud bucket mounts"),
        (api_pb2.FunctionOptions(resources=api_pb2.Resources(rdma=True)), "rdma"),
    ],
)
def test_what_is_not_built_is_refused_by_name(options: api_pb2.FunctionOptions, text: str) -> None:
    with pytest.raises(Unimplemented, match=f"with_options: {text}"):
        bindings._overrides(options)


def test_a_web_endpoint_needs_a_class_that_can_be_made_without_arguments() -> None:
    web = api_pb2.MethodDefinition(webhook_config=api_pb2.WebhookConfig(type=api_pb2.WEBHOOK_TYPE_FUNCTION))
    function = api_pb2.Function(
        function_name="Model.*", class_parameter_info=DECLARED, method_definitions={"page": web}
    )
    with pytest.raises(Unimplemented, match=r"parameters \(name\) have no default"):
        fields.check(function)
    function.class_parameter_info.schema[0].has_default = True
    assert fields.check(function) == []


def test_scaling_that_does_not_fit_is_refused() -> None:
    autoscaler.check("f", Scaling(min_containers=2, max_containers=2))
    with pytest.raises(InvalidRequest, match="min_containers=3 is more than max_containers=2"):
        autoscaler.check("f", Scaling(min_containers=3, max_containers=2))
    with pytest.raises(InvalidRequest, match="scaledown_window=1 is not between 2 and 3600"):
        autoscaler.check("f", Scaling(scaledown_window_s=1))
