"""What the token of a container may do, and when it is worth nothing. RPCs as its client would send them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from ionian import wire
from ionian.api import inside
from ionian.api.context import Inside
from ionian.state import apps, environments, functions, passes
from ionian.wire import api_pb2
from tests.wire.stage import CONTAINER_KEY, TOKEN, Stage

HERE, THERE = "ta-here", "ta-there"
RPCS = {rpc.name: rpc for rpc in wire.rpcs()}


class Caller:
    """Sends RPCs with the metadata of one caller."""

    def __init__(self, channel: Channel, **metadata: str) -> None:
        self._channel = channel
        self._metadata = {name.replace("_", "-"): value for name, value in metadata.items()}

    async def __call__(self, name: str, request: Any = None) -> Any:
        rpc = RPCS[name]
        method: UnaryUnaryMethod[Any, Any] = UnaryUnaryMethod(self._channel, rpc.path, rpc.request, rpc.response)
        return await method(request if request is not None else rpc.request(), metadata=self._metadata)

    async def refused(self, name: str, request: Any = None) -> tuple[Status, str]:
        with pytest.raises(GRPCError) as caught:
            await self(name, request)
        return caught.value.status, caught.value.message or ""


@pytest.fixture
async def channel(scene: Stage) -> AsyncIterator[Channel]:
    host, port = scene.url.removeprefix("http://").split(":")
    made = Channel(host, int(port))
    yield made
    made.close()


def _as(channel: Channel, token: tuple[str, str]) -> Caller:
    return Caller(channel, x_modal_token_id=token[0], x_modal_token_secret=token[1], x_modal_client_version="1.6.4")


@pytest.fixture
async def made(scene: Stage) -> Mapping[str, str]:
    """An app with one function in each of two environments; a container of the first one lives."""

    def make(tx: Any, environment: str) -> tuple[str, str]:
        if environment != "main":
            environments.create(tx, environment, 1.0)
        app_id = str(apps.create(tx, environment, "app", apps.EPHEMERAL, "1.6.4", {}, 1.0)["app_id"])
        return app_id, functions.precreate(tx, app_id, "f", "", 1.0)

    found = {}
    for environment in ("main", "other"):
        found[f"{environment} app"], found[f"{environment} function"] = await scene.database.write(make, environment)
    scene.played.alive[HERE] = Inside(HERE, found["main app"], "main")
    return found


async def test_the_secret_is_good_for_its_container_alone(
    scene: Stage, channel: Channel, made: Mapping[str, str]
) -> None:
    token = passes.mint(CONTAINER_KEY, HERE)
    await _as(channel, token)("ClientHello")
    other_id, _ = passes.mint(CONTAINER_KEY, THERE)
    scene.played.alive[THERE] = Inside(THERE, made["main app"], "main")
    for wrong in ((other_id, token[1]), (token[0], "as-wrong"), ("ct-", token[1])):
        assert (await _as(channel, wrong).refused("ClientHello"))[0] is Status.UNAUTHENTICATED
    assert passes.mint(b"x" * passes.KEY_BYTES, HERE)[1] != token[1]


async def test_it_ends_with_its_container(scene: Stage, channel: Channel, made: Mapping[str, str]) -> None:
    caller = _as(channel, passes.mint(CONTAINER_KEY, HERE))
    await caller("ClientHello")
    del scene.played.alive[HERE]
    status, said = await caller.refused("ClientHello")
    assert status is Status.UNAUTHENTICATED
    assert "while that lives" in said


async def test_everything_that_is_not_named_is_refused(scene: Stage, channel: Channel, made: Mapping[str, str]) -> None:
    caller = _as(channel, passes.mint(CONTAINER_KEY, HERE))
    for name in ("AppStop", "AppCreate", "AppPublish", "AppList", "FunctionCreate", "SecretList", "TokenInfoGet",
                 "ContainerStop", "TaskList", "EnvironmentCreate", "AppFetchLogs", "WorkspaceMembersList"):  # fmt: skip
        if name in RPCS and not RPCS[name].streams:
            status, said = await caller.refused(name)
            assert status is Status.PERMISSION_DENIED, name
            assert name in said
    assert set(RPCS) >= inside.ALLOWED


async def test_it_stays_in_its_environment(scene: Stage, channel: Channel, made: Mapping[str, str]) -> None:
    caller, person = _as(channel, passes.mint(CONTAINER_KEY, HERE)), _as(channel, TOKEN)
    for request in (
        api_pb2.FunctionMapRequest(function_id=made["other function"]),
        api_pb2.FunctionGetRequest(app_name="app", object_tag="f", environment_name="other"),
        api_pb2.AppGetLayoutRequest(app_id=made["other app"]),
        api_pb2.EnvironmentGetOrCreateRequest(deployment_name="third"),
    ):
        name = type(request).__name__.removesuffix("Request")
        status, said = await caller.refused(name, request)
        assert status is Status.PERMISSION_DENIED, name
        assert "environment" in said
    await caller("AppGetLayout", api_pb2.AppGetLayoutRequest(app_id=made["main app"]))
    await person("AppGetLayout", api_pb2.AppGetLayoutRequest(app_id=made["other app"]))
    answer = await caller("EnvironmentGetOrCreate", api_pb2.EnvironmentGetOrCreateRequest())
    assert answer.metadata.name == "main"


async def test_a_container_client_without_a_token_is_told_why(scene: Stage, channel: Channel) -> None:
    status, said = await Caller(channel, x_modal_client_type=str(wire.CLIENT_IN_CONTAINER)).refused("ClientHello")
    assert status is Status.UNAUTHENTICATED
    assert "inside a container" in said


async def test_the_javascript_client_in_a_container_gets_its_short_token(
    scene: Stage, channel: Channel, made: Mapping[str, str]
) -> None:
    assert (await _as(channel, passes.mint(CONTAINER_KEY, HERE))("AuthTokenGet")).token.count(".") == 2


async def test_nothing_of_it_is_kept(scene: Stage, channel: Channel, made: Mapping[str, str], tmp_path: Path) -> None:
    token = passes.mint(CONTAINER_KEY, HERE)
    await _as(channel, token)("ClientHello")
    for path in scene.home.rglob("*"):
        if path.is_file():
            assert token[1].encode() not in path.read_bytes(), path
