"""Sandboxes: containers with a command of the user's choice, as ``modal shell`` makes them. V1 and V2 are one here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from ionian import logs, wire
from ionian.api import access, fields, gpus, router
from ionian.api.context import Context
from ionian.errors import FailedPrecondition, InvalidRequest, NotFound, Unimplemented
from ionian.logs import Cursor, Record
from ionian.model import Resources, Status, new_id
from ionian.state import sandboxes
from ionian.state.database import Row
from ionian.state.sandboxes import Settings, topic
from ionian.state.watch import logs_topic
from ionian.wire import api_pb2, router_pb2

DEFAULT_TIMEOUT_S = 300
MAX_TIMEOUT_S = 86_400
LONGEST_WAIT_S = 60.0
BATCH = 500  # records at once
_V2_MARK = "V"  # by which a client knows the container of a V2 sandbox

HONOURED = frozenset(
    {
        "entrypoint_args",
        "mount_ids",
        "image_id",
        "secret_ids",
        "resources",  # its parts: see ``fields``
        "timeout_secs",
        "workdir",
        "block_network",
        "network_access",  # open or blocked
        "environment_variables",
        "runtime",  # refused when it is a virtual machine
    }
)
HARMLESS = {
    "cloud_provider": "there is one machine",
    "cloud_provider_str": "there is one machine",
    "scheduler_placement": "there is one machine",
    "worker_id": "picks a machine for debugging: there is one",
    "runtime_debug": "debugging of the hosted service's runtime",
    "runsc_runtime_version": "picks a version of the hosted service's runtime",
    "snapshot_version": "snapshots are refused where they are asked for",
    "direct_sandbox_commands_enabled": "commands always go through the command router",
    "verbose": "more logs of the hosted service's",
}
REFUSED = {
    "nfs_mounts": "network file systems",
    "s3_mounts": "cloud bucket mounts",
    "cloud_bucket_mounts": "cloud bucket mounts",
    "volume_mounts": "volumes",
    "pty_info": "a terminal for the sandbox's own command",
    "open_ports": "tunnels to ports",
    "i6pn_enabled": "i6pn networking",
    "proxy_id": "proxies",
    "enable_snapshot": "snapshots",
    "name": "sandboxes with a name",
    "experimental_options": "experimental options",
    "experimental_options_v2": "experimental options",
    "preload_path_prefixes": "preloading",
    "idle_timeout_secs": "idle_timeout",
    "_restore_instance_type": "snapshots",
    "custom_domain": "custom domains",
    "include_oidc_identity_token": "identity tokens",
    "readiness_probe": "readiness probes",
    "inbound_cidr_allowlist": "network rules",
    "experimental_outbound_policy": "network rules",
    "outbound_policy": "network rules",
    "include_x509_svid": "identity tokens",
}


def check(sandbox: api_pb2.Sandbox) -> None:
    """Refuse, naming it, what would otherwise be ignored. Raises Unimplemented."""
    wanted = list(gpus.named([sandbox.resources]))
    if wanted:
        raise Unimplemented(f"a sandbox with gpu={' or '.join(wanted)} is not built in this server yet; leave gpu out")
    for given, refused in ((sandbox, REFUSED), (sandbox.resources, fields.RESOURCES_REFUSED)):
        for name in wire.given_fields(given):
            if name in refused:
                raise Unimplemented(f"a sandbox with {refused[name]} ({name}) is not built in this server yet")
    if sandbox.runtime == "vm":
        raise Unimplemented("a sandbox in a virtual machine (--runtime vm) is not built in this server yet")
    access_type = sandbox.network_access.network_access_type
    if access_type == api_pb2.NetworkAccess.ALLOWLIST or sandbox.network_access.allowed_cidrs:
        raise Unimplemented("a sandbox with network rules (network_access) is not built in this server yet")


def settings_of(sandbox: api_pb2.Sandbox) -> Settings:
    """What the server acts on. Raises InvalidRequest."""
    timeout_s = sandbox.timeout_secs or DEFAULT_TIMEOUT_S
    if timeout_s > MAX_TIMEOUT_S:
        raise InvalidRequest(f"timeout={timeout_s} of the sandbox is over the limit of {MAX_TIMEOUT_S} s")
    blocked = sandbox.network_access.network_access_type == api_pb2.NetworkAccess.BLOCKED
    resources = sandbox.resources
    return Settings(
        command=router.checked(sandbox.entrypoint_args or ["sleep", str(MAX_TIMEOUT_S)]),
        workdir=sandbox.workdir,
        mount_ids=tuple(sandbox.mount_ids),
        resources=Resources(
            cpu_millicores=resources.milli_cpu or 125,
            memory_mib=resources.memory_mb or 128,
            cpu_limit_millicores=resources.milli_cpu_max or None,
            memory_limit_mib=resources.memory_mb_max or None,
        ),
        timeout_s=timeout_s,
        block_network=sandbox.block_network or blocked,
    )


async def _create(
    ctx: Context,
    app_id: str,
    sandbox: api_pb2.Sandbox,
    tags: Iterable[api_pb2.SandboxTag],
    sources: Iterable[api_pb2.SecretSource],
    ephemeral: api_pb2.StringMap,
    mark: str,
) -> Row:
    """A running sandbox. Raises what is wrong with it, or why its container did not start."""
    if ctx.caller.inside is not None:
        raise Unimplemented("sandboxes from inside a container are not built in this server yet")
    if not app_id:
        raise InvalidRequest("a sandbox needs an app: pass app= to Sandbox.create")
    if list(tags):
        raise Unimplemented("a sandbox with tags is not built in this server yet")
    check(sandbox)
    env = {**dict(sandbox.environment_variables.contents), **await router.inline(ctx, sandbox.secret_ids, sources)}
    env.update(ephemeral.contents)
    sandbox_id, container_id = new_id(sandboxes.PREFIX), new_id("ta")[: -1 if mark else None] + mark
    settings, version = settings_of(sandbox), ctx.caller.client_version
    await ctx.database.write(
        sandboxes.create, sandbox_id, container_id, app_id, sandbox.image_id, settings, version, ctx.now
    )
    await ctx.services.start_sandbox(sandbox_id, env)
    return await ctx.database.read(sandboxes.get, sandbox_id)


async def SandboxCreateV2(ctx: Context, request: api_pb2.SandboxCreateV2Request) -> api_pb2.SandboxCreateV2Response:
    """Starts a sandbox; its container runs when the answer comes."""
    if request.cloud_bucket_mount_credentials:
        raise Unimplemented("a sandbox with cloud bucket mounts is not built in this server yet")
    row = await _create(
        ctx,
        request.app_id,
        request.definition,
        request.tags,
        request.secret_sources,
        request.ephemeral_secrets,
        _V2_MARK,
    )
    response = api_pb2.SandboxCreateV2Response(
        sandbox_id=row["sandbox_id"], task_id=row["container_id"], metadata=_metadata(row)
    )
    if row["status"] == sandboxes.RUNNING:
        url, token = await access.grant(ctx, row["container_id"])
        response.command_router_access.CopyFrom(api_pb2.CommandRouterAccess(url=url, jwt=token))
    return response


async def SandboxCreate(ctx: Context, request: api_pb2.SandboxCreateRequest) -> api_pb2.SandboxCreateResponse:
    """Starts a sandbox, for clients before 1.5 and for options that V2 does not know."""
    none = api_pb2.StringMap()
    row = await _create(ctx, request.app_id, request.definition, request.tags, (), none, "")
    return api_pb2.SandboxCreateResponse(sandbox_id=row["sandbox_id"], metadata=_metadata(row))


def _metadata(row: Row) -> api_pb2.SandboxHandleMetadata:
    return api_pb2.SandboxHandleMetadata(app_id=row["app_id"], result=_result(row))


def _result(row: Row) -> api_pb2.GenericResult | None:
    """How it ended; None while it runs."""
    if row["status"] == sandboxes.RUNNING:
        return None
    return api_pb2.GenericResult(status=row["status"], exitcode=row["exit_code"], exception=row["error"])


async def SandboxGetTaskId(ctx: Context, request: api_pb2.SandboxGetTaskIdRequest) -> api_pb2.SandboxGetTaskIdResponse:
    """The container of a sandbox; once it has ended, how it did."""
    if request.wait_until_ready:
        raise Unimplemented("wait_until_ready: readiness probes of sandboxes are not built in this server yet")
    row = await ctx.database.read(sandboxes.get, request.sandbox_id)
    if result := _result(row):
        return api_pb2.SandboxGetTaskIdResponse(task_result=result)
    return api_pb2.SandboxGetTaskIdResponse(task_id=row["container_id"])


async def SandboxGetTaskIdV2(
    ctx: Context, request: api_pb2.SandboxGetTaskIdRequest
) -> api_pb2.SandboxGetTaskIdResponse:
    """The container of a sandbox; once it has ended, how it did."""
    return await SandboxGetTaskId(ctx, request)


async def SandboxGetCommandRouterAccess(
    ctx: Context, request: api_pb2.SandboxGetCommandRouterAccessRequest
) -> api_pb2.SandboxGetCommandRouterAccessResponse:
    """The command router for a sandbox, or for any container whose id looks like one of a V2 sandbox."""
    if ctx.caller.inside is not None:
        raise Unimplemented("sandboxes from inside a container are not built in this server yet")
    container_id = request.task_id
    if request.sandbox_id:
        row = await ctx.database.read(sandboxes.get, request.sandbox_id)
        if row["status"] != sandboxes.RUNNING:
            raise NotFound(f"sandbox {request.sandbox_id} has ended")
        container_id = row["container_id"]
    url, token = await access.grant(ctx, container_id)
    return api_pb2.SandboxGetCommandRouterAccessResponse(url=url, jwt=token)


async def SandboxWait(ctx: Context, request: api_pb2.SandboxWaitRequest) -> api_pb2.SandboxWaitResponse:
    """How a sandbox has ended, if it does within some seconds."""
    until = ctx.now + min(max(request.timeout, 0.0), LONGEST_WAIT_S)
    while True:
        ticket = ctx.watch.ticket(topic(request.sandbox_id))
        row = await ctx.database.read(sandboxes.get, request.sandbox_id)
        left = until - ctx.now
        if row["status"] != sandboxes.RUNNING or left <= 0:
            ticket.cancel()
            return api_pb2.SandboxWaitResponse(result=_result(row), metadata=_metadata(row))
        await ctx.watch.wait(ticket, left)


async def SandboxWaitV2(ctx: Context, request: api_pb2.SandboxWaitRequest) -> api_pb2.SandboxWaitResponse:
    """How a sandbox has ended, if it does within some seconds."""
    return await SandboxWait(ctx, request)


async def SandboxTerminate(ctx: Context, request: api_pb2.SandboxTerminateRequest) -> api_pb2.SandboxTerminateResponse:
    """Ends a sandbox at once; of one that has ended it tells how."""
    row = await ctx.database.read(sandboxes.get, request.sandbox_id)
    await ctx.services.stop_sandbox(request.sandbox_id, Status.TERMINATED)
    return api_pb2.SandboxTerminateResponse(existing_result=_result(row))


async def SandboxTerminateV2(
    ctx: Context, request: api_pb2.SandboxTerminateRequest
) -> api_pb2.SandboxTerminateResponse:
    """Ends a sandbox at once; of one that has ended it tells how."""
    return await SandboxTerminate(ctx, request)


async def SandboxGetLogs(ctx: Context, request: api_pb2.SandboxGetLogsRequest) -> AsyncIterator[api_pb2.TaskLogsBatch]:
    """What the sandbox's own command prints to one stream, until it has ended or ``timeout`` seconds are over."""
    row = await ctx.database.read(sandboxes.get, request.sandbox_id)
    until = ctx.now + request.timeout
    async for records, cursor in _printed(
        ctx, row, request.file_descriptor, Cursor.decode(request.last_entry_id), until
    ):
        batch = api_pb2.TaskLogsBatch(task_id=row["container_id"], entry_id=cursor.encode())
        for record in records:
            batch.items.add(
                data=record.text,
                file_descriptor=record.stream,
                timestamp=record.time_ns / 1e9,
                timestamp_ns=record.time_ns,
            )
        yield batch
    if (await ctx.database.read(sandboxes.get, request.sandbox_id))["status"] != sandboxes.RUNNING:
        yield api_pb2.TaskLogsBatch(eof=True)


async def _printed(
    ctx: Context, row: Row, stream: int, cursor: Cursor, until: float
) -> AsyncIterator[tuple[list[Record], Cursor]]:
    """Records of a sandbox's stream behind the cursor as they come, until it has ended or the time is over."""
    directory = ctx.config.logs / row["app_id"]
    while True:
        tickets = [ctx.watch.ticket(name) for name in (logs_topic(row["app_id"]), topic(row["sandbox_id"]))]
        ended = (await ctx.database.read(sandboxes.get, row["sandbox_id"]))["status"] != sandboxes.RUNNING
        while True:
            records, cursor = logs.read(directory, cursor, BATCH)
            if not records:
                break
            kept = [r for r in records if r.container_id == row["container_id"] and r.stream == stream]
            if kept:
                yield kept, cursor
        left = until - ctx.now
        if not ended and left > 0:
            await asyncio.wait(tickets, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for ticket in tickets:
            ticket.cancel()
        if ended or left <= 0:
            return


async def SandboxStdioReadV2(
    ctx: Context, request: router_pb2.SandboxStdioReadV2Request
) -> AsyncIterator[router_pb2.SandboxStdioReadV2Response]:
    """What a sandbox's own command prints, from a byte offset on: it is read from the app's logs."""
    row = await ctx.database.read(sandboxes.of_container, request.task_id)
    stream = logs.STDERR if request.file_descriptor == router_pb2.SANDBOX_STDIO_FILE_DESCRIPTOR_STDERR else logs.STDOUT
    at = 0
    async for records, _ in _printed(ctx, row, stream, Cursor(), float("inf")):
        data = "".join(record.text for record in records).encode("utf-8", "surrogatepass")
        begin, at = at, at + len(data)
        if at > request.offset:
            start = max(begin, request.offset)
            yield router_pb2.SandboxStdioReadV2Response(data=data[start - begin :], starting_offset=start)
    if request.offset > at:
        raise FailedPrecondition(f"the sandbox has printed {at} bytes, and {request.offset} were asked for")
