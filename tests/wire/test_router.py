"""The command router: who may use it, and that offsets neither lose nor double a byte. And what older clients call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from grpclib.client import Channel
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError

from ionian import wire
from ionian.api import jwt
from ionian.api.access import LIFE_S
from ionian.model import RunningContainer
from ionian.state import tokens
from ionian.wire import api_pb2, router_pb2
from tests.wire.stage import TOKEN, Stage

DEADLINE_S = 20.0
TASK = "ta-one"
PATHS = {rpc.name: rpc for rpc in (*wire.router_rpcs(), *wire.rpcs())}
MINE = {wire.TOKEN_ID: TOKEN[0], wire.TOKEN_SECRET: TOKEN[1], wire.CLIENT_VERSION: "1.6.4"}


@pytest.fixture(autouse=True)
def container(scene: Stage) -> None:
    """One container that is alive."""
    scene.played.running.append(RunningContainer(TASK, "fu-1", "ap-1", "", 1.0, ""))
    scene.played.execs.containers.add(TASK)


class Client:
    """A client of one server, with a token for the router."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.bearer = ""

    async def call(self, name: str, request: Any, metadata: dict[str, str] | None = None) -> Any:
        """A unary call of either service."""
        rpc = PATHS[name]
        given = metadata if metadata is not None else {"authorization": f"Bearer {self.bearer}"}
        stub = self.channel.request(
            rpc.path, Cardinality.UNARY_UNARY, rpc.request, rpc.response, metadata=given, timeout=DEADLINE_S
        )
        async with stub as stream:
            await stream.send_message(request, end=True)
            return await stream.recv_message()

    async def messages(self, name: str, request: Any, metadata: dict[str, str] | None = None) -> AsyncIterator[Any]:
        rpc = PATHS[name]
        given = metadata if metadata is not None else {"authorization": f"Bearer {self.bearer}"}
        stub = self.channel.request(
            rpc.path, Cardinality.UNARY_STREAM, rpc.request, rpc.response, metadata=given, timeout=DEADLINE_S
        )
        async with stub as stream:
            await stream.send_message(request, end=True)
            async for message in stream:
                yield message

    async def access(self, task: str = TASK, **metadata: str) -> api_pb2.TaskGetCommandRouterAccessResponse:
        request = api_pb2.TaskGetCommandRouterAccessRequest(task_id=task)
        answer: api_pb2.TaskGetCommandRouterAccessResponse = await self.call(
            "TaskGetCommandRouterAccess", request, {**MINE, **metadata}
        )
        return answer

    async def start(self, *argv: str, exec_id: str = "x", **options: Any) -> None:
        pipes = {
            "stdout_config": router_pb2.TASK_EXEC_STDOUT_CONFIG_PIPE,
            "stderr_config": router_pb2.TASK_EXEC_STDERR_CONFIG_PIPE,
        }
        request = router_pb2.TaskExecStartRequest(
            task_id=TASK, exec_id=exec_id, command_args=argv, **{**pipes, **options}
        )
        await self.call("TaskExecStart", request)

    async def read(self, offset: int = 0, descriptor: Any = 0, exec_id: str = "x") -> bytes:
        """Everything from that byte on."""
        request = router_pb2.TaskExecStdioReadRequest(
            task_id=TASK, exec_id=exec_id, offset=offset, file_descriptor=descriptor
        )
        return b"".join([message.data async for message in self.messages("TaskExecStdioRead", request)])

    async def write(self, offset: int, data: bytes, eof: bool = False) -> None:
        request = router_pb2.TaskExecStdinWriteRequest(task_id=TASK, exec_id="x", offset=offset, data=data, eof=eof)
        await self.call("TaskExecStdinWrite", request)

    async def wait(self, exec_id: str = "x") -> router_pb2.TaskExecWaitResponse:
        answer: router_pb2.TaskExecWaitResponse = await self.call(
            "TaskExecWait", router_pb2.TaskExecWaitRequest(task_id=TASK, exec_id=exec_id)
        )
        return answer


@asynccontextmanager
async def _client(scene: Stage) -> AsyncIterator[Client]:
    channel = Channel("127.0.0.1", scene.played.grpc_port)
    try:
        yield Client(channel)
    finally:
        channel.close()


@pytest.fixture
async def stranger(scene: Stage) -> AsyncIterator[Client]:
    async with _client(scene) as client:
        yield client


@pytest.fixture
async def user(stranger: Client) -> Client:
    stranger.bearer = (await stranger.access()).jwt
    return stranger


@asynccontextmanager
async def refused(status: Status, words: str) -> AsyncIterator[None]:
    with pytest.raises(GRPCError) as caught:
        yield
    assert caught.value.status is status, caught.value
    assert words in str(caught.value.message)


# -- who may


async def test_access_is_for_who_has_a_token_and_a_container_that_is_alive(scene: Stage, stranger: Client) -> None:
    async with refused(Status.UNAUTHENTICATED, "no token"):
        await stranger.call("TaskGetCommandRouterAccess", api_pb2.TaskGetCommandRouterAccessRequest(task_id=TASK), {})
    async with refused(Status.NOT_FOUND, "container ta-gone is not running"):
        await stranger.access("ta-gone")
    access = await stranger.access(**{wire.CLIENT_HOST: "127.0.0.1"})
    assert access.url == f"http://127.0.0.1:{scene.played.grpc_port}"


async def test_clients_that_would_not_come_without_tls_are_told(stranger: Client) -> None:
    async with refused(Status.FAILED_PRECONDITION, "TLS"):  # by which they go on with the older RPCs
        await stranger.access(**{wire.CLIENT_VERSION: "1.2.6"})
    async with refused(Status.FAILED_PRECONDITION, "ssh -L"):
        await stranger.access(**{wire.CLIENT_HOST: "box.lan"})


async def test_without_a_token_of_the_router_nothing_runs(scene: Stage, stranger: Client) -> None:
    async with refused(Status.UNAUTHENTICATED, "TaskGetCommandRouterAccess"):
        await stranger.call("TaskExecPoll", router_pb2.TaskExecPollRequest(task_id=TASK, exec_id="x"), MINE)
    stranger.bearer = "made.up.token"
    async with refused(Status.UNAUTHENTICATED, "not valid"):
        await stranger.start("true")
    row = await scene.database.read(tokens.get, TOKEN[0])
    claims: dict[str, str | int] = {"aud": "command-router", "sub": TOKEN[0], "task": TASK, "exp": 1 << 40}
    stranger.bearer = jwt.sign(claims, b"another key")
    async with refused(Status.UNAUTHENTICATED, "not valid"):
        await stranger.start("true")
    key = row["secret_sha256"].encode()
    stranger.bearer = jwt.sign({**claims, "aud": "something else"}, key)
    async with refused(Status.UNAUTHENTICATED, "not valid"):
        await stranger.start("true")
    stranger.bearer = (await stranger.call("AuthTokenGet", api_pb2.AuthTokenGetRequest(), MINE)).token
    async with refused(Status.UNAUTHENTICATED, "not valid"):
        await stranger.start("true")
    assert scene.played.execs.starts == []


async def test_a_token_is_for_one_container_only(scene: Stage, user: Client) -> None:
    other = "ta-other"
    scene.played.execs.containers.add(other)
    async with refused(Status.UNAUTHENTICATED, f"for container {TASK}, not for {other}"):
        await user.call(
            "TaskExecStart", router_pb2.TaskExecStartRequest(task_id=other, exec_id="x", command_args=["ls"])
        )
    async with refused(Status.UNAUTHENTICATED, f"for container {TASK}"):
        request = router_pb2.TaskExecStdioReadRequest(task_id=other, exec_id="x")
        async for _ in user.messages("TaskExecStdioRead", request):
            pass
    async with refused(Status.UNAUTHENTICATED, f"for container {TASK}"):
        await _stream_in(user, other, 0, [b"x"])
    assert scene.played.execs.starts == []


async def test_a_token_ends_with_its_time_and_with_whose_it_is(scene: Stage, user: Client) -> None:
    claims = jwt.claims_of(user.bearer)
    assert 0 < claims["exp"] - scene.context.now <= LIFE_S
    row = await scene.database.read(tokens.get, TOKEN[0])
    good = user.bearer
    user.bearer = jwt.sign({**claims, "exp": int(scene.context.now) - 1}, row["secret_sha256"].encode())
    async with refused(Status.UNAUTHENTICATED, "expired"):
        await user.start("true")
    user.bearer = good
    await user.start("true")
    await scene.database.write(tokens.delete, TOKEN[0])
    async with refused(Status.UNAUTHENTICATED, "not valid"):
        await user.start("true", exec_id="y")


async def test_what_is_not_built_names_itself(user: Client) -> None:
    async with refused(Status.UNIMPLEMENTED, "TaskSnapshotFilesystem"):
        await user.call("TaskSnapshotFilesystem", PATHS["TaskSnapshotFilesystem"].request(task_id=TASK))
    async with refused(Status.UNIMPLEMENTED, "container_id"):
        await user.start("true", container_id="side")
    async with refused(Status.NOT_FOUND, "st-unknown"):
        await user.start("true", secret_ids=["st-unknown"])


# -- commands


async def test_a_command_from_start_to_end(user: Client) -> None:
    await user.start("sh", "-c", "echo $A; echo err >&2; exit 3", env={"A": "given"})
    assert await user.read() == b"given\n"
    assert await user.read(descriptor=1) == b"err\n"
    assert (await user.wait()).code == 3
    poll = await user.call("TaskExecPoll", router_pb2.TaskExecPollRequest(task_id=TASK, exec_id="x"))
    assert (poll.WhichOneof("exit_status"), poll.code) == ("code", 3)


async def test_poll_of_one_that_runs_and_its_timeout(user: Client) -> None:
    await user.start("sleep", "100", timeout_secs=1)
    poll = await user.call("TaskExecPoll", router_pb2.TaskExecPollRequest(task_id=TASK, exec_id="x"))
    assert poll.WhichOneof("exit_status") is None
    end = await user.wait()
    assert (end.WhichOneof("exit_status"), end.signal) == ("signal", 9)


async def test_the_same_start_twice_is_one_command(user: Client, tmp_path: Any) -> None:
    command = ("sh", "-c", f"echo once >> {tmp_path}/count")
    await asyncio.gather(*(user.start(*command) for _ in range(4)))
    await user.wait()
    assert (tmp_path / "count").read_text() == "once\n"


async def test_a_command_that_cannot_run_is_named_and_its_id_is_free(user: Client) -> None:
    async with refused(Status.INVALID_ARGUMENT, "cannot run 'no-such-program'"):
        await user.start("no-such-program")
    async with refused(Status.INVALID_ARGUMENT, "at least one word"):
        await user.start()
    await user.start("true")
    assert (await user.wait()).code == 0


async def test_an_unknown_command_and_a_container_that_is_gone(scene: Stage, user: Client) -> None:
    async with refused(Status.NOT_FOUND, "no command nothing"):
        await user.wait("nothing")
    scene.played.execs.containers.clear()
    async with refused(Status.NOT_FOUND, f"container {TASK} is not running"):
        await user.start("true")


# -- offsets


async def test_reading_again_from_any_offset_gives_the_same_bytes(user: Client) -> None:
    await user.start("sh", "-c", "seq 1 20000")
    whole = "".join(f"{n}\n" for n in range(1, 20001)).encode()
    assert await user.read() == whole
    for offset in (0, 1, 65535, 65536, len(whole) - 1, len(whole)):
        assert await user.read(offset) == whole[offset:]
    async with refused(Status.INVALID_ARGUMENT, f"beyond the {len(whole)} bytes"):
        await user.read(len(whole) + 1)


async def test_a_reader_that_breaks_off_goes_on_where_it_was(user: Client) -> None:
    size = 6_000_000
    await user.start("sh", "-c", f"head -c {size} /dev/zero | tr '\\0' x; echo end")
    got = b""
    while not got.endswith(b"end\n"):
        request = router_pb2.TaskExecStdioReadRequest(task_id=TASK, exec_id="x", offset=len(got))
        messages = user.messages("TaskExecStdioRead", request)
        async for message in messages:
            got += message.data
            if len(got) % 7 < 3:  # in the middle of what is under way
                break
        await messages.aclose()  # type: ignore[attr-defined]
    assert got == b"x" * size + b"end\n"


async def test_a_command_that_nobody_reads_waits(scene: Stage, user: Client, tmp_path: Any) -> None:
    # Eight times what is read ahead: it cannot have ended while nobody reads.
    script = f"head -c 8388608 /dev/zero; touch {tmp_path}/done"
    await user.start("sh", "-c", script)
    tape = scene.played.execs.worker._known[TASK]["x"].tapes[1]
    async with asyncio.timeout(DEADLINE_S):
        while tape._reading:
            await asyncio.sleep(0.01)
    assert not (tmp_path / "done").exists()
    assert len(tape._data) < 2 * 1024 * 1024
    assert len(await user.read()) == 8388608
    assert (await user.wait()).code == 0
    assert (tmp_path / "done").exists()


async def test_input_is_written_once_however_often_it_is_sent(user: Client) -> None:
    await user.start("cat")
    await user.write(0, b"one ")
    await user.write(0, b"one ")
    await user.write(2, b"e two")
    async with refused(Status.INVALID_ARGUMENT, "leaves a gap"):
        await user.write(100, b"later")
    status = await user.call("TaskExecStdinStatus", router_pb2.TaskExecStdinStatusRequest(task_id=TASK, exec_id="x"))
    assert (status.num_bytes_written, status.closed) == (7, False)
    await user.write(7, b"!\n", eof=True)
    await user.write(7, b"!\n", eof=True)
    assert await user.read() == b"one two!\n"
    assert (await user.wait()).code == 0
    async with refused(Status.FAILED_PRECONDITION, "closed"):
        await user.write(9, b"more")


async def _stream_in(user: Client, task: str, offset: int, chunks: list[bytes], end: bool = True) -> None:
    rpc = PATHS["TaskExecStdinWriteStream"]
    given = {"authorization": f"Bearer {user.bearer}"}
    stub = user.channel.request(
        rpc.path, Cardinality.STREAM_UNARY, rpc.request, rpc.response, metadata=given, timeout=DEADLINE_S
    )
    request = router_pb2.TaskExecStdinWriteStreamRequest
    async with stub as stream:
        start = router_pb2.TaskExecStdinWriteStreamStart(task_id=task, exec_id="x", offset=offset)
        await stream.send_message(request(start=start))
        for chunk in chunks:
            await stream.send_message(request(data=chunk))
        if end:
            await stream.send_message(request(end=router_pb2.TaskExecStdinWriteStreamEnd()), end=True)
        else:
            await stream.end()
        await stream.recv_message()


async def test_a_stream_of_input_that_breaks_is_taken_up(user: Client) -> None:
    await user.start("wc", "-c")
    async with refused(Status.INVALID_ARGUMENT, "without its end message"):
        await _stream_in(user, TASK, 0, [b"a" * 1000], end=False)
    status = await user.call("TaskExecStdinStatus", router_pb2.TaskExecStdinStatusRequest(task_id=TASK, exec_id="x"))
    assert (status.num_bytes_written, status.closed) == (1000, False)
    await _stream_in(user, TASK, 1000, [b"b" * 300_000, b"c"])
    assert (await user.read()).strip() == b"301001"


async def test_who_asks_for_the_status_takes_the_input_over(user: Client) -> None:
    await user.start("sleep", "100")
    stuck = asyncio.create_task(_stream_in(user, TASK, 0, [b"x" * 1_000_000]))
    written = 0
    async with asyncio.timeout(DEADLINE_S):
        while not written:
            await asyncio.sleep(0.05)
            asked = router_pb2.TaskExecStdinStatusRequest(task_id=TASK, exec_id="x")
            written = (await user.call("TaskExecStdinStatus", asked)).num_bytes_written
        async with refused(Status.FAILED_PRECONDITION, "taken over"):
            await stuck
    assert 0 < written < 1_000_000


# -- clients before 1.5


async def _old_output(user: Client, exec_id: str, after: int = 0) -> tuple[list[Any], bytes]:
    request = api_pb2.ContainerExecGetOutputRequest(
        exec_id=exec_id, timeout=55, file_descriptor=api_pb2.FILE_DESCRIPTOR_STDOUT, last_batch_index=after
    )
    batches = [batch async for batch in user.messages("ContainerExecGetOutput", request, MINE)]
    return batches, b"".join(item.message_bytes for batch in batches for item in batch.items)


async def test_older_clients_run_commands(user: Client) -> None:
    request = api_pb2.ContainerExecRequest(task_id=TASK, command=["sh", "-c", "read a; echo got $a; exit 4"])
    exec_id = (await user.call("ContainerExec", request, MINE)).exec_id
    for _ in range(2):  # a retry of the same message
        given = api_pb2.RuntimeInputMessage(message=b"in\n", message_index=1)
        put = api_pb2.ContainerExecPutInputRequest(exec_id=exec_id, input=given)
        await user.call("ContainerExecPutInput", put, MINE)
    batches, data = await _old_output(user, exec_id)
    assert batches[0].items[0].message_bytes == b""  # says that it runs
    assert (data, batches[-1].exit_code) == (b"got in\n", 4)
    assert (await _old_output(user, exec_id, after=4))[1] == b"in\n"
    end = await user.call("ContainerExecWait", api_pb2.ContainerExecWaitRequest(exec_id=exec_id, timeout=10), MINE)
    assert (end.completed, end.exit_code) == (True, 4)


async def test_older_clients_get_whole_letters(user: Client) -> None:
    letters = "aé€𝄞" * 50_000
    script = f"i=0; while [ $i -lt 50 ]; do printf '{'aé€𝄞' * 1000}'; i=$((i+1)); done"
    request = api_pb2.ContainerExecRequest(task_id=TASK, command=["sh", "-c", script])
    exec_id = (await user.call("ContainerExec", request, MINE)).exec_id
    batches, data = await _old_output(user, exec_id)
    assert data.decode() == letters
    for batch in batches:
        for item in batch.items:
            item.message_bytes.decode()


async def test_older_clients_are_told_of_a_container_that_is_gone(user: Client) -> None:
    async with refused(Status.NOT_FOUND, "container ta-gone is not running"):
        await user.call("ContainerExec", api_pb2.ContainerExecRequest(task_id="ta-gone", command=["ls"]), MINE)
