"""The command router's RPCs: commands in a container, and the output of sandboxes, by byte offset."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from ionian.api.context import Context
from ionian.errors import InvalidRequest, Unimplemented
from ionian.model import ExecEnd, ExecSpec
from ionian.state import secrets
from ionian.wire import api_pb2, router_pb2

POLL_S = 20.0  # seconds of one look at the worker
DEFAULT_SIZE = (24, 80)  # of a terminal whose client does not know


async def TaskExecStart(ctx: Context, request: router_pb2.TaskExecStartRequest) -> router_pb2.TaskExecStartResponse:
    """Starts a command; the same id again is the same command. The answer comes once it runs."""
    if request.container_id:
        raise Unimplemented("sidecars of sandboxes (container_id) are not built in this server yet")
    if request.stderr_config == router_pb2.TASK_EXEC_STDERR_CONFIG_STDOUT:
        raise Unimplemented("stderr_config STDOUT is not built in this server yet; use a shell's 2>&1")
    env = {**dict(request.env), **await inline(ctx, request.secret_ids, request.secret_sources)}
    spec = ExecSpec(
        container_id=request.task_id,
        exec_id=checked_id(request.exec_id),
        argv=checked(request.command_args),
        env=tuple({**terminal_variables(request.pty_info), **env}.items()),
        cwd=request.workdir,
        terminal=terminal(request.pty_info),
        stdout=request.stdout_config == router_pb2.TASK_EXEC_STDOUT_CONFIG_PIPE,
        stderr=request.stderr_config == router_pb2.TASK_EXEC_STDERR_CONFIG_PIPE,
        timeout_s=request.timeout_secs or None,
    )
    await ctx.services.execs.exec_start(spec)
    return router_pb2.TaskExecStartResponse()


def checked_id(exec_id: str) -> str:
    """Raises InvalidRequest for an id that no client makes."""
    if not exec_id or len(exec_id) > 200:
        raise InvalidRequest("exec_id must have 1 to 200 letters")
    return exec_id


def checked(argv: Iterable[str]) -> tuple[str, ...]:
    """The words of a command. Raises InvalidRequest."""
    words = tuple(argv)
    if not words or not words[0]:
        raise InvalidRequest("a command needs at least one word")
    if any("\0" in word for word in words):
        raise InvalidRequest("a command may not contain NUL characters")
    return words


async def inline(ctx: Context, secret_ids: Iterable[str], sources: Iterable[api_pb2.SecretSource]) -> dict[str, str]:
    """The variables that a request brings along or names; later ones win. Raises what keeps a secret from being read.

    For the environment of a program, and nothing else.
    """
    key_file = ctx.config.secret_key_file
    found = await secrets.variables(ctx.database, key_file, secret_ids, ctx.now)
    for source in sources:
        if source.HasField("env"):
            found.update(source.env.contents)
        else:
            found.update(await secrets.variables(ctx.database, key_file, [source.secret_id], ctx.now))
    return secrets.checked(found)


def terminal(info: api_pb2.PTYInfo) -> tuple[int, int] | None:
    """The size of the terminal that is asked for; None: there is to be none."""
    if not info.enabled and not info.pty_type:
        return None
    return info.winsz_rows or DEFAULT_SIZE[0], info.winsz_cols or DEFAULT_SIZE[1]


def terminal_variables(info: api_pb2.PTYInfo) -> dict[str, str]:
    """What programs read of a terminal's kind."""
    if terminal(info) is None:
        return {}
    found = {
        "TERM": info.env_term or "xterm",
        "COLORTERM": info.env_colorterm,
        "TERM_PROGRAM": info.env_term_program,
    }
    return {name: value for name, value in found.items() if value}


async def TaskExecStdioRead(
    ctx: Context, request: router_pb2.TaskExecStdioReadRequest
) -> AsyncIterator[router_pb2.TaskExecStdioReadResponse]:
    """What a command writes, from a byte offset on, until it has ended."""
    stream = 2 if request.file_descriptor == router_pb2.TASK_EXEC_STDIO_FILE_DESCRIPTOR_STDERR else 1
    offset, last = request.offset, False
    while not last:
        chunk = await ctx.services.execs.exec_read(request.task_id, request.exec_id, stream, offset, POLL_S)
        offset, last = offset + len(chunk.data), chunk.last
        if chunk.data:
            yield router_pb2.TaskExecStdioReadResponse(data=chunk.data)


async def TaskExecStdinWrite(
    ctx: Context, request: router_pb2.TaskExecStdinWriteRequest
) -> router_pb2.TaskExecStdinWriteResponse:
    """Writes to a command, once however often it is sent; answers when the command's pipe has taken it."""
    execs = ctx.services.execs
    await execs.exec_write(request.task_id, request.exec_id, request.offset, request.data, request.eof)
    return router_pb2.TaskExecStdinWriteResponse()


async def TaskExecStdinStatus(
    ctx: Context, request: router_pb2.TaskExecStdinStatusRequest
) -> router_pb2.TaskExecStdinStatusResponse:
    """How many bytes a command's input has; a stream that was still writing is told to stop."""
    status = await ctx.services.execs.exec_stdin(request.task_id, request.exec_id)
    return router_pb2.TaskExecStdinStatusResponse(num_bytes_written=status.written, closed=status.closed)


async def TaskExecStdinWriteStream(
    ctx: Context, messages: AsyncIterator[router_pb2.TaskExecStdinWriteStreamRequest]
) -> router_pb2.TaskExecStdinWriteStreamResponse:
    """Writes a stream to a command. Only its explicit end closes the input: a stream that breaks can be taken up."""
    execs, where, offset, turn = ctx.services.execs, ("", ""), 0, 0
    async for message in messages:
        kind = message.WhichOneof("payload")
        if kind == "start":
            where, offset = (message.start.task_id, message.start.exec_id), message.start.offset
            turn = (await execs.exec_stdin(*where)).turn
            continue
        if not where[0]:
            raise InvalidRequest("the first message must be the start")
        await execs.exec_write(*where, offset, message.data, kind == "end", turn)
        offset += len(message.data)
        if kind == "end":
            return router_pb2.TaskExecStdinWriteStreamResponse()
    raise InvalidRequest("the stream ended without its end message; the input stays open")


async def TaskExecPoll(ctx: Context, request: router_pb2.TaskExecPollRequest) -> router_pb2.TaskExecPollResponse:
    """How a command ended, if it has."""
    end = await ctx.services.execs.exec_wait(request.task_id, request.exec_id, 0.0)
    return router_pb2.TaskExecPollResponse(**_status(end)) if end else router_pb2.TaskExecPollResponse()


async def TaskExecWait(ctx: Context, request: router_pb2.TaskExecWaitRequest) -> router_pb2.TaskExecWaitResponse:
    """How a command ended, once it has."""
    end = None
    while end is None:
        end = await ctx.services.execs.exec_wait(request.task_id, request.exec_id, POLL_S)
    return router_pb2.TaskExecWaitResponse(**_status(end))


def _status(end: ExecEnd) -> dict[str, int]:
    return {"code": end.code} if end.signal is None else {"signal": end.signal}
