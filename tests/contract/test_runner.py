"""The runner as a real process with real client packages, driven over its real socket with the client's own pickles."""

from __future__ import annotations

import importlib.metadata
import signal
import sys
from pathlib import Path

import pytest

from ionian.runner import frames
from tests.contract.containers import (
    CBOR,
    FAILURE,
    GENERATOR_DONE,
    PICKLE,
    SUCCESS,
    TERMINATED,
    WITHOUT_STREAMS,
    Start,
    call,
    unpack,
    value,
    wait_for,
)

FUNCTIONS = """
    import os, sys, threading, time
    import modal

    app = modal.App("test")
    image = modal.Image.debian_slim()
    print("loading", modal.is_local(), os.getcwd())
    print("client", modal.__version__)

    @app.function(image=image)
    def f(x, y=1):
        print("called with", x)
        return x + y, threading.current_thread() is threading.main_thread()

    @app.function()
    async def a(x):
        import asyncio
        await asyncio.sleep(x)
        return os.environ["MODAL_TASK_ID"], modal.current_input_id(), modal.current_function_call_id()

    @app.function()
    def numbers(n):
        for i in range(n):
            yield i * i

    @app.function()
    async def anumbers(n):
        for i in range(n):
            yield i * i

    @app.function()
    def bad(kind):
        if kind == "unpicklable":
            return (i for i in [1]), lambda: 1
        if kind == "exit":
            sys.exit(3)
        raise {"value": ValueError, "key": KeyError}[kind]("wrong: " + kind)

    @app.function()
    def slow(seconds):
        try:
            print("sleeping")
            time.sleep(seconds)
        except BaseException as e:
            print("interrupted by", type(e).__name__)
            raise
        return "slept"

    def undecorated(x):
        return x * 2
"""


def test_value_print_and_stop(start: Start, python: str) -> None:
    container = start(python, FUNCTIONS)
    peer = container.ready()
    call(peer, "in-1", 20, y=22)
    assert value(peer) == (42, True)
    assert container.out.read_text().startswith("loading False " + str(Path(container.path).parent / "root"))
    expected = "0.73.173" if "client0" in python else importlib.metadata.version("modal")
    assert f"client {expected}\n" in container.out.read_text()
    assert "called with 20\n" in container.out.read_text()
    peer.send(frames.STOP, {"grace_s": 5})
    assert container.exit() == 0
    assert container.err.read_text() == ""


def test_async_and_ids(start: Start, python: str) -> None:
    peer = start(python, FUNCTIONS, function_name="a").ready()
    call(peer, "in-1", 0)
    assert value(peer) == ("ta-123", "in-1", "fc-in-1")


def test_undecorated(start: Start, python: str) -> None:
    peer = start(python, FUNCTIONS, function_name="undecorated").ready()
    call(peer, "in-1", 21)
    assert value(peer) == 42


@pytest.mark.parametrize("name", ["numbers", "anumbers"])
def test_generator(start: Start, python: str, name: str) -> None:
    from modal_proto import api_pb2

    peer = start(python, FUNCTIONS, function_name=name, is_generator=True).ready()
    call(peer, "in-1", 3)
    items = [peer.take(frames.ITEM) for _ in range(3)]
    assert [(header["id"], header["index"], unpack(data)) for header, data in items] == [
        ("in-1", 1, 0), ("in-1", 2, 1), ("in-1", 3, 4),
    ]  # fmt: skip
    header, data = peer.take(frames.OUTPUT)
    assert (header["status"], header["data_format"]) == (SUCCESS, GENERATOR_DONE)
    assert api_pb2.GeneratorDone.FromString(data).items_total == 3


@pytest.mark.parametrize("how", WITHOUT_STREAMS)
def test_a_program_without_streams_still_answers(start: Start, python: str, how: str) -> None:
    module = f"""
        import os, sys
        {how}

        def f(fails):
            if fails:
                raise ValueError("said in silence")
            return 42
    """
    peer = start(python, module).ready()
    call(peer, "in-1", True)
    header, _ = peer.take(frames.OUTPUT)
    assert (header["status"], header["exception"]) == (FAILURE, "ValueError('said in silence')")
    call(peer, "in-2", False)
    assert value(peer) == 42


def test_exception_is_raised_again_by_the_client(start: Start, python: str) -> None:
    from modal._traceback import append_modal_tb

    container = start(python, FUNCTIONS, function_name="bad")
    peer = container.ready()
    call(peer, "in-1", "value")
    header, data = peer.take(frames.OUTPUT)
    assert header["status"] == FAILURE
    assert header["exception"] == "ValueError('wrong: value')"
    lengths = header["parts"]
    error = unpack(data[: lengths[0]])
    assert type(error) is ValueError
    append_modal_tb(error, unpack(data[lengths[0] : lengths[0] + lengths[1]]), unpack(data[-lengths[2] :]))
    trace = error.__traceback__
    assert trace is not None
    assert trace.tb_frame.f_code.co_filename.startswith("<ta-123>:")
    assert trace.tb_frame.f_code.co_filename.endswith("user_app.py")
    assert trace.tb_frame.f_code.co_name == "bad"
    for text in (header["traceback"], container.err.read_text()):
        assert "Traceback" in text
        assert "ValueError: wrong: value" in text
        assert "ionian" not in text


def test_failures_that_are_not_plain_exceptions(start: Start, python: str) -> None:
    peer = start(python, FUNCTIONS, function_name="bad").ready()
    call(peer, "in-1", "unpicklable")
    header, data = peer.take(frames.OUTPUT)
    assert header["status"] == FAILURE
    assert "cannot pickle 'generator' object" in str(unpack(data[: header["parts"][0]]))
    call(peer, "in-2", "exit")
    header, _ = peer.take(frames.OUTPUT)
    assert (header["status"], header["exception"]) == (FAILURE, "SystemExit(3)")
    peer.send(frames.INPUT, {"id": "in-3", "method": "", "data_format": PICKLE}, b"not a pickle")
    header, _ = peer.take(frames.OUTPUT)
    assert (header["id"], header["status"]) == ("in-3", FAILURE)
    call(peer, "in-4", method="no_such")
    header, _ = peer.take(frames.OUTPUT)
    assert "no_such" in header["exception"]


def test_cbor(start: Start) -> None:
    import cbor2

    peer = start(sys.executable, FUNCTIONS).ready()
    peer.send(frames.INPUT, {"id": "in-1", "method": "", "data_format": CBOR}, cbor2.dumps(([1], {"y": 2})))
    header, data = peer.take(frames.OUTPUT)
    assert (header["data_format"], cbor2.loads(data)) == (CBOR, [3, True])


ORDER = """
    import threading, time
    inside, seen = 0, []

    def f(x):
        global inside
        inside += 1
        seen.append(inside)
        time.sleep(0.02)
        inside -= 1
        return x, max(seen)

    def meet(x):
        barrier.wait(30)
        return x

    barrier = threading.Barrier(3)

    async def ameet(x):
        import asyncio
        seen.append(x)
        while len(seen) < 3:
            await asyncio.sleep(0.001)
        return x
"""


def test_one_at_a_time_in_order(start: Start) -> None:
    peer = start(sys.executable, ORDER).ready()
    for number in range(6):
        call(peer, f"in-{number}", number)
    assert [value(peer) for _ in range(6)] == [(number, 1) for number in range(6)]


@pytest.mark.parametrize("name", ["meet", "ameet"])
def test_several_at_once(start: Start, name: str) -> None:
    container = start(sys.executable, ORDER, function_name=name, max_concurrent_inputs=3)
    peer = container.ready()
    for number in range(3):
        call(peer, f"in-{number}", number)
    assert sorted(value(peer) for _ in range(3)) == [0, 1, 2]
    peer.send(frames.STOP, {"grace_s": 5})
    assert container.exit() == 0


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("name", ["slow", "a"])
def test_cancel_reaches_user_code(start: Start, python: str, name: str, limit: int) -> None:
    container = start(python, FUNCTIONS, function_name=name, max_concurrent_inputs=limit)
    peer = container.ready()
    call(peer, "in-1", 0.2 if limit > 1 and name == "slow" else 600)
    call(peer, "in-2", 0)
    if name == "slow":
        wait_for(lambda: "sleeping" in container.log())
    if limit == 1:
        peer.send(frames.CANCEL, {"id": "in-2"})  # still queued
    peer.send(frames.CANCEL, {"id": "in-1"})
    ends = {}
    for _ in range(2):
        header, _ = peer.take(frames.OUTPUT)
        ends[header["id"]] = header["status"]
    assert ends == {"in-1": TERMINATED, "in-2": TERMINATED if limit == 1 else SUCCESS}
    if name == "slow":
        assert "interrupted by InputCancellation" in container.log()
    call(peer, "in-3", 0)
    header, _ = peer.take(frames.OUTPUT)
    assert (header["id"], header["status"]) == ("in-3", SUCCESS)


def test_outputs_survive_a_server_restart(start: Start) -> None:
    container = start(sys.executable, FUNCTIONS, function_name="slow")
    first = container.ready()
    call(first, "in-1", 0)
    call(first, "in-2", 0.3)
    wait_for(lambda: container.out.read_text().count("sleeping") == 2)
    first.close()
    second = container.control()
    header, _ = second.take(frames.READY)
    assert sorted(header["inputs"]) == ["in-1", "in-2"]  # an output of each follows
    call(second, "in-1", 0)  # offered again by a server that does not know: not run twice
    assert [value(second), value(second)] == ["slept", "slept"]
    assert container.out.read_text().count("sleeping") == 2


def test_stop_finishes_what_it_has(start: Start) -> None:
    container = start(sys.executable, FUNCTIONS, function_name="slow")
    peer = container.ready()
    call(peer, "in-1", 0.2)
    call(peer, "in-2", 0)
    peer.send(frames.STOP, {"grace_s": 60})
    call(peer, "in-3", 0)  # too late: it belongs to another container
    assert [value(peer), value(peer)] == ["slept", "slept"]
    assert container.exit() == 0
    assert container.log().count("sleeping") == 2


@pytest.mark.parametrize("limit", [1, 2])
def test_sigterm_finishes_what_it_has(start: Start, limit: int) -> None:
    container = start(sys.executable, FUNCTIONS, function_name="slow", max_concurrent_inputs=limit)
    peer = container.ready()
    call(peer, "in-1", 0.2)
    wait_for(lambda: "sleeping" in container.log())
    container.process.send_signal(signal.SIGTERM)
    assert value(peer) == "slept"
    assert container.exit() == 0


def test_stop_after_its_grace_cancels(start: Start) -> None:
    container = start(sys.executable, FUNCTIONS, function_name="slow")
    peer = container.ready()
    call(peer, "in-1", 600)
    wait_for(lambda: "sleeping" in container.log())
    peer.send(frames.STOP, {"grace_s": 0})
    header, _ = peer.take(frames.OUTPUT)
    assert header["status"] == TERMINATED
    peer.send(frames.ACK, {"id": "in-1"})
    assert container.exit() == 0
    assert "interrupted by InputCancellation" in container.log()
