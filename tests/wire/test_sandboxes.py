"""Sandboxes over the wire: what is refused by name, what their container gets, how they end, what they print."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpclib.const import Status

from ionian import wire
from ionian.api import sandboxes
from ionian.logs import STDERR, STDOUT, Record, Writer
from ionian.state.watch import logs_topic
from ionian.wire import api_pb2, router_pb2
from tests.wire.stage import Stage
from tests.wire.test_router import DEADLINE_S, MINE, Client, refused, stranger

__all__ = ["stranger"]


def test_every_field_of_a_sandbox_is_honoured_harmless_or_refused() -> None:
    tables = (sandboxes.HONOURED, set(sandboxes.HARMLESS), set(sandboxes.REFUSED))
    assert set.union(*map(set, tables)) == wire.field_names(api_pb2.Sandbox)
    assert sum(map(len, tables)) == len(wire.field_names(api_pb2.Sandbox))


@pytest.fixture
async def app(stranger: Client) -> str:
    request = api_pb2.AppCreateRequest(description="shell", app_state=api_pb2.APP_STATE_EPHEMERAL)
    return str((await stranger.call("AppCreate", request, MINE)).app_id)


@pytest.fixture
async def image(scene: Stage, stranger: Client, app: str) -> str:
    recipe = api_pb2.Image(dockerfile_commands=["FROM python:3.11-slim"])
    request = api_pb2.ImageGetOrCreateRequest(app_id=app, image=recipe, builder_version="2025.06")
    image_id = str((await stranger.call("ImageGetOrCreate", request, MINE)).image_id)
    join = api_pb2.ImageJoinStreamingRequest(image_id=image_id, timeout=30)
    assert [m async for m in stranger.messages("ImageJoinStreaming", join, MINE)][-1].eof
    return image_id


async def _create(client: Client, app: str, image: str, **fields: Any) -> api_pb2.SandboxCreateV2Response:
    definition = api_pb2.Sandbox(**{"entrypoint_args": ["sleep", "9"], "image_id": image, **fields})
    secrets = [api_pb2.SecretSource(env=api_pb2.StringMap(contents={"A": "1"}))]
    request = api_pb2.SandboxCreateV2Request(app_id=app, definition=definition, secret_sources=secrets)
    made: api_pb2.SandboxCreateV2Response = await client.call("SandboxCreateV2", request, MINE)
    return made


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ("volumes (volume_mounts)", {"volume_mounts": [api_pb2.VolumeMount(volume_id="vo-1", mount_path="/v")]}),
        ("tunnels to ports (open_ports)", {"open_ports": api_pb2.PortSpecs(ports=[api_pb2.PortSpec(port=80)])}),
        ("sandboxes with a name (name)", {"name": "mine"}),
        ("idle_timeout (idle_timeout_secs)", {"idle_timeout_secs": 5}),
        ("gpu=T4", {"resources": api_pb2.Resources(gpu_config=api_pb2.GPUConfig(gpu_type="T4", count=1))}),
        ("virtual machine", {"runtime": "vm"}),
        (
            "network rules",
            {
                "network_access": api_pb2.NetworkAccess(
                    network_access_type=api_pb2.NetworkAccess.ALLOWLIST, allowed_cidrs=["1.1.1.1/32"]
                )
            },
        ),
    ],
)
async def test_what_is_not_built_is_refused_by_name(
    stranger: Client, app: str, image: str, words: str, fields: dict[str, Any]
) -> None:
    async with refused(Status.UNIMPLEMENTED, words):
        await _create(stranger, app, image, **fields)


async def test_a_sandbox_from_start_to_end(scene: Stage, stranger: Client, app: str, image: str) -> None:
    made = await _create(stranger, app, image, timeout_secs=60)
    assert scene.played.sandbox_envs == {made.sandbox_id: {"A": "1"}}
    assert made.task_id.endswith("V")
    stranger.bearer = made.command_router_access.jwt
    start = router_pb2.TaskExecStartRequest(task_id=made.task_id, exec_id="x", command_args=["true"])
    await stranger.call("TaskExecStart", start)
    task = await stranger.call("SandboxGetTaskIdV2", api_pb2.SandboxGetTaskIdRequest(sandbox_id=made.sandbox_id), MINE)
    assert task.task_id == made.task_id
    wait = api_pb2.SandboxWaitRequest(sandbox_id=made.sandbox_id, timeout=0)
    assert not (await stranger.call("SandboxWaitV2", wait, MINE)).result.status
    waiting = asyncio.create_task(
        stranger.call("SandboxWaitV2", api_pb2.SandboxWaitRequest(sandbox_id=made.sandbox_id, timeout=30), MINE)
    )
    await stranger.call("SandboxTerminateV2", api_pb2.SandboxTerminateRequest(sandbox_id=made.sandbox_id), MINE)
    async with asyncio.timeout(DEADLINE_S):
        assert (await waiting).result.status == api_pb2.GenericResult.GENERIC_STATUS_TERMINATED
    task = await stranger.call("SandboxGetTaskIdV2", api_pb2.SandboxGetTaskIdRequest(sandbox_id=made.sandbox_id), MINE)
    assert not task.task_id
    assert task.task_result.status == api_pb2.GenericResult.GENERIC_STATUS_TERMINATED
    async with refused(Status.NOT_FOUND, "has ended"):
        access = api_pb2.SandboxGetCommandRouterAccessRequest(sandbox_id=made.sandbox_id)
        await stranger.call("SandboxGetCommandRouterAccess", access, MINE)


async def test_older_clients_send_variables_ahead(scene: Stage, stranger: Client, app: str, image: str) -> None:
    secret = api_pb2.SecretGetOrCreateRequest(
        object_creation_type=api_pb2.OBJECT_CREATION_TYPE_ANONYMOUS_OWNED_BY_APP, env_dict={"B": "2"}, app_id=app
    )
    secret_id = (await stranger.call("SecretGetOrCreate", secret, MINE)).secret_id
    definition = api_pb2.Sandbox(entrypoint_args=["sleep", "9"], image_id=image, secret_ids=[secret_id])
    request = api_pb2.SandboxCreateRequest(app_id=app, definition=definition)
    made = await stranger.call("SandboxCreate", request, {**MINE, wire.CLIENT_VERSION: "0.73.173"})
    assert scene.played.sandbox_envs == {made.sandbox_id: {"B": "2"}}


async def test_a_stopped_app_and_no_app(stranger: Client, app: str, image: str) -> None:
    async with refused(Status.INVALID_ARGUMENT, "needs an app"):
        await _create(stranger, "", image)
    await stranger.call("AppStop", api_pb2.AppStopRequest(app_id=app), MINE)
    async with refused(Status.FAILED_PRECONDITION, "is stopped"):
        await _create(stranger, app, image)


async def test_what_it_prints_by_offset(scene: Stage, stranger: Client, app: str, image: str) -> None:
    made = await _create(stranger, app, image)
    writer = Writer(scene.context.config.logs / app, 1 << 20)
    for number, (stream, text) in enumerate([(STDOUT, "one é\n"), (STDERR, "no\n"), (STDOUT, "two\n")], 1):
        writer.append([Record(number, made.task_id, made.sandbox_id, stream, text)])
    writer.append([Record(9, "ta-other", "fu-1", STDOUT, "another's\n")])
    writer.close()
    scene.context.watch.notify(logs_topic(app))
    await stranger.call("SandboxTerminateV2", api_pb2.SandboxTerminateRequest(sandbox_id=made.sandbox_id), MINE)
    stranger.bearer = made.command_router_access.jwt
    whole = "one é\ntwo\n".encode()
    for offset in (0, 3, len(whole)):
        request = router_pb2.SandboxStdioReadV2Request(task_id=made.task_id, offset=offset)
        messages = [message async for message in stranger.messages("SandboxStdioReadV2", request)]
        assert b"".join(message.data for message in messages) == whole[offset:]
        assert [message.starting_offset for message in messages][:1] == ([offset] if offset < len(whole) else [])
    logs = api_pb2.SandboxGetLogsRequest(
        sandbox_id=made.sandbox_id, timeout=10, file_descriptor=api_pb2.FILE_DESCRIPTOR_STDERR
    )
    batches = [batch async for batch in stranger.messages("SandboxGetLogs", logs, MINE)]
    assert [item.data for batch in batches for item in batch.items] == ["no\n"]
    assert batches[-1].eof
