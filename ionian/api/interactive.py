"""``modal run -i``: functions with a terminal, and who types at it.

A function with a terminal has one container and no retries: whoever debugs it talks to one program.
"""

from __future__ import annotations

from ionian.api.context import Context
from ionian.logs import Record
from ionian.model import Interactive
from ionian.wire import api_pb2

TERMINAL = "terminal"  # where a command has its name: the id of a container's terminal is CONTAINER:terminal
OPENED = "opened"  # text of a TERMINAL record: a program asks for somebody to type


def settings(function: api_pb2.Function) -> Interactive | None:
    """The terminal that this function wants; None for all but interactive ones."""
    if not function.HasField("pty_info"):
        return None
    info = function.pty_info
    given = {"TERM": info.env_term, "COLORTERM": info.env_colorterm, "TERM_PROGRAM": info.env_term_program}
    env = tuple((name, value) for name, value in given.items() if value)
    return Interactive(info.winsz_rows or 24, info.winsz_cols or 80, env)


def tame(function: api_pb2.Function) -> None:
    """Give an interactive function one container and no retries."""
    if not function.HasField("pty_info"):
        return
    function.ClearField("retry_policy")
    function.concurrency_limit = 1
    function.warm_pool_size = min(function.warm_pool_size, 1)
    scaling = function.autoscaler_settings
    scaling.max_containers = 1
    if scaling.min_containers > 1:
        scaling.min_containers = 1
    scaling.ClearField("buffer_containers")
    function._experimental_buffer_containers = 0


async def change(ctx: Context, record: Record) -> api_pb2.TaskLogsBatch | None:
    """What a TERMINAL record says to those who follow the logs. The first to follow is the one who types."""
    batch = api_pb2.TaskLogsBatch(task_id=record.container_id, function_id=record.function_id)
    if record.text != OPENED:
        batch.eof = True
        return batch
    if not await ctx.services.claim_terminal(record.container_id):
        return None
    batch.pty_exec_id = f"{record.container_id}:{TERMINAL}"
    return batch
