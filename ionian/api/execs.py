"""Commands in containers, as clients before 1.5 run them; and the way to the command router for those since."""

from __future__ import annotations

from collections.abc import AsyncIterator

from google.protobuf.empty_pb2 import Empty

from ionian.api import access, interactive, router
from ionian.api.context import Context
from ionian.errors import InvalidRequest, NotFound, Unimplemented
from ionian.model import ExecSpec, new_id
from ionian.wire import api_pb2

LONGEST_WAIT_S = 60.0


async def TaskGetCommandRouterAccess(
    ctx: Context, request: api_pb2.TaskGetCommandRouterAccessRequest
) -> api_pb2.TaskGetCommandRouterAccessResponse:
    """The address of the command router, and a token for one container."""
    url, token = await access.grant(ctx, request.task_id)
    return api_pb2.TaskGetCommandRouterAccessResponse(url=url, jwt=token)


async def ContainerExec(ctx: Context, request: api_pb2.ContainerExecRequest) -> api_pb2.ContainerExecResponse:
    """Starts a command in a container."""
    if request.terminate_container_on_exit:
        raise Unimplemented("terminate_container_on_exit is not built in this server yet")
    if not any(container.container_id == request.task_id for container in ctx.services.containers()):
        raise NotFound(access.gone(request.task_id))
    unread = api_pb2.EXEC_OUTPUT_OPTION_DEVNULL
    env = {**router.terminal_variables(request.pty_info), **await router.inline(ctx, request.secret_ids, ())}
    spec = ExecSpec(
        container_id=request.task_id,
        exec_id=new_id("ex"),
        argv=router.checked(request.command),
        env=tuple(env.items()),
        cwd=request.workdir,
        terminal=router.terminal(request.pty_info),
        stdout=request.stdout_output != unread,
        stderr=request.stderr_output != unread,
        timeout_s=request.timeout_secs or None,
    )
    await ctx.services.execs.exec_start(spec)
    return api_pb2.ContainerExecResponse(exec_id=f"{request.task_id}:{spec.exec_id}")


def _place(exec_id: str) -> tuple[str, str]:
    container_id, _, name = exec_id.partition(":")
    if not name:
        raise InvalidRequest(f"{exec_id!r} is no command of this server")
    return container_id, name


async def ContainerExecGetOutput(
    ctx: Context, request: api_pb2.ContainerExecGetOutputRequest
) -> AsyncIterator[api_pb2.RuntimeOutputBatch]:
    """What a command writes until it has ended, then its exit code. The index of a batch is the offset behind it.

    The first batch is empty: it says that the command runs. Letters are never cut: clients decode batch by batch.
    """
    where, stream = _place(request.exec_id), request.file_descriptor
    offset, last, cut = request.last_batch_index, False, b""
    yield _batch(stream, b"", offset)
    while not last:
        chunk = await ctx.services.execs.exec_read(*where, stream, offset + len(cut), router.POLL_S)
        data, last = cut + chunk.data, chunk.last
        whole = len(data) if last else _letters(data)
        data, cut = data[:whole], data[whole:]
        offset += whole
        if data:
            yield _batch(stream, data, offset)
    end = None
    while end is None:  # it may have closed its output and run on
        end = await ctx.services.execs.exec_wait(*where, router.POLL_S)
    yield api_pb2.RuntimeOutputBatch(batch_index=offset, exit_code=end.code)


def _batch(stream: int, data: bytes, index: int) -> api_pb2.RuntimeOutputBatch:
    item = api_pb2.RuntimeOutputMessage(
        file_descriptor=stream,  # type: ignore[arg-type]
        message=data.decode("utf-8", "replace"),
        message_bytes=data,
    )
    return api_pb2.RuntimeOutputBatch(items=[item], batch_index=index)


def _letters(data: bytes) -> int:
    """How many bytes there are without the beginning of a letter at the end."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte < 0x80:
            return len(data)
        if byte >= 0xC0:
            size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if size > back else len(data)
    return len(data)


async def ContainerExecWait(
    ctx: Context, request: api_pb2.ContainerExecWaitRequest
) -> api_pb2.ContainerExecWaitResponse:
    """Whether a command has ended within some seconds, and its exit code."""
    wait_s = min(max(request.timeout, 0.0), LONGEST_WAIT_S)
    end = await ctx.services.execs.exec_wait(*_place(request.exec_id), wait_s)
    if end is None:
        return api_pb2.ContainerExecWaitResponse(completed=False)
    return api_pb2.ContainerExecWaitResponse(completed=True, exit_code=end.code)


async def ContainerExecPutInput(ctx: Context, request: api_pb2.ContainerExecPutInputRequest) -> Empty:
    """Writes to a command. The messages of a client are numbered from 1, and each is sent after the one before."""
    given = request.input
    where = _place(request.exec_id)
    if where[1] == interactive.TERMINAL:
        await ctx.services.type_at_terminal(where[0], given.message_index, given.message)
        return Empty()
    await ctx.services.execs.exec_write(*where, 0, given.message, given.eof, index=given.message_index)
    return Empty()
