"""Cancellations at any moment: each input ends exactly once, and no other input ever sees the exception."""

from __future__ import annotations

import random
import struct
import sys
from typing import Any

import pytest

from ionian.runner import frames
from tests.contract.containers import FAILURE, SUCCESS, TERMINATED, Peer, Start, call, pack, unpack, value, wait_for

MODULE = """
    import asyncio, os, socket, subprocess, sys, time
    import modal

    class Slow:
        def __init__(self, seconds):
            self.seconds = seconds

        def __setstate__(self, state):
            print("thawing", flush=True)
            time.sleep(state["seconds"])

    def f(how, seconds):
        # Only a cancellation of this very input may be seen here.
        mine = modal.current_input_id()
        try:
            if how == "sleep":
                time.sleep(seconds)
            elif how == "spin":
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    sum(range(50))
            elif how == "print":
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    print("x" * 10)
            elif how == "swallow":
                time.sleep(seconds)
        except modal.exception.InputCancellation:
            if how == "swallow":
                return "swallowed", mine
            print("hit", mine)
            raise
        return "done", mine

    async def a(how, seconds):
        mine = modal.current_input_id()
        try:
            if how == "spin":
                for _ in range(int(seconds * 1000)):
                    await asyncio.sleep(0)
            else:
                await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            if how == "swallow":
                return "swallowed", mine
            print("hit", mine)
            raise
        return "done", mine

    def blocks(how):
        try:
            print("in", how, flush=True)
            if how == "recv":
                pair = socket.socketpair()
                pair[0].recv(1)
            elif how == "wait":
                subprocess.run(["sleep", "600"])
            elif how == "lock":
                import threading
                threading.Event().wait()
            elif how == "queue":
                import queue
                queue.Queue().get()
            elif how == "asyncio":
                asyncio.run(asyncio.sleep(600))
            elif how == "join":
                import threading
                thread = threading.Thread(target=time.sleep, args=(600,), daemon=True)
                thread.start()
                thread.join()
            elif how == "own handler":
                import signal
                signal.signal(signal.SIGUSR1, signal.SIG_IGN)
                return "replaced"
        finally:
            print("out of", how, flush=True)

    def numbers(n):
        try:
            for number in range(n):
                yield number
        finally:
            print("closed", flush=True)

    async def anumbers(n):
        try:
            for number in range(n):
                yield number
        finally:
            print("closed", flush=True)

    def thaws(value):
        return "done"

    def twice(seconds):
        try:
            print("begun", flush=True)
            time.sleep(seconds)
        except BaseException as error:
            print("first", type(error).__name__, flush=True)
            time.sleep(0.5)
            print("cleaned", flush=True)
            raise
        return "done"
"""


def _ended(peer: Peer) -> tuple[str, int, Any]:
    header, data = peer.take(frames.OUTPUT)
    peer.send(frames.ACK, {"id": header["id"]})
    ok = header["status"] == SUCCESS
    return header["id"], header["status"], unpack(data) if ok else header["exception"]


@pytest.mark.parametrize("limit", [1, 4])
@pytest.mark.parametrize("name", ["f", "a"])
def test_hundreds_of_cancellations_at_random_moments(start: Start, name: str, limit: int) -> None:
    """A fixed seed chooses what runs and when it is cancelled; the outcome of each is checked by its own name."""
    chance = random.Random(f"{name}{limit}")
    container = start(sys.executable, MODULE, function_name=name, max_concurrent_inputs=limit)
    peer = container.ready()
    cancelled: set[str] = set()
    ends: dict[str, tuple[int, Any]] = {}
    number = 0

    def read(until: int) -> None:
        while number - len(ends) > until:
            input_id, status, said = _ended(peer)
            assert input_id not in ends
            ends[input_id] = status, said

    for number in range(1, 401):
        input_id = f"in-{number}"
        call(peer, input_id, chance.choice(["sleep", "spin", "print", "swallow", ""]), chance.choice([0, 0.001, 0.004]))
        if chance.random() < 0.7:
            for _ in range(chance.randrange(1, 400)):
                pass  # a moment, shorter than any sleep
            chosen = f"in-{chance.randrange(max(1, number - 2), number + 1)}"
            cancelled.add(chosen)
            for _ in range(chance.randrange(1, 3)):
                peer.send(frames.CANCEL, {"id": chosen})
        read(chance.randrange(limit * 2))
    read(0)
    assert len(ends) == 400
    for input_id, (status, said) in ends.items():
        assert status in (SUCCESS, TERMINATED), (input_id, said)
        if status == TERMINATED:
            assert input_id in cancelled
        else:
            word, mine = said
            assert mine == input_id
            assert word == "done" or input_id in cancelled
    assert any(status == TERMINATED for status, _ in ends.values())
    hit = {line.split()[1] for line in container.log().splitlines() if line.startswith("hit")}
    assert hit
    assert hit <= {input_id for input_id, (status, _) in ends.items() if status == TERMINATED}
    call(peer, "in-last", "", 0)
    assert _ended(peer) == ("in-last", SUCCESS, ("done", "in-last"))
    peer.send(frames.STOP, {"grace_s": 5})
    assert container.exit() == 0
    assert "Traceback" not in container.log()


@pytest.mark.parametrize("how", ["recv", "wait", "lock", "queue", "asyncio", "join"])
def test_whatever_blocks_is_interrupted(start: Start, how: str) -> None:
    container = start(sys.executable, MODULE, function_name="blocks")
    peer = container.ready()
    call(peer, "in-0", "own handler")
    assert value(peer) == "replaced"
    call(peer, "in-1", how)
    wait_for(lambda: f"in {how}" in container.log())
    peer.send(frames.CANCEL, {"id": "in-1"})
    assert _ended(peer)[:2] == ("in-1", TERMINATED)
    assert f"out of {how}" in container.log()
    call(peer, "in-2", "")
    assert value(peer) is None


def test_a_second_cancellation_does_not_disturb_the_cleaning_up(start: Start) -> None:
    container = start(sys.executable, MODULE, function_name="twice")
    peer = container.ready()
    call(peer, "in-1", 600)
    call(peer, "in-2", 0)
    wait_for(lambda: "begun" in container.log())
    peer.send(frames.CANCEL, {"id": "in-1"})
    wait_for(lambda: "first InputCancellation" in container.log())
    peer.send(frames.CANCEL, {"id": "in-1"})
    assert _ended(peer)[:2] == ("in-1", TERMINATED)
    assert _ended(peer) == ("in-2", SUCCESS, "done")
    assert "cleaned" in container.log()


@pytest.mark.parametrize("limit", [1, 2])
def test_cancelled_while_its_arguments_are_read(start: Start, limit: int) -> None:
    container = start(sys.executable, MODULE, function_name="thaws", max_concurrent_inputs=limit)
    peer = container.ready()
    seconds = 600 if limit == 1 else 0.3  # a sleep in a thread ends by itself
    frozen = b"\x80\x04(cuser_app\nSlow\n)\x81}U\x07seconds" + b"G" + _double(seconds) + b"sbtt}\x86."
    peer.send(frames.INPUT, {"id": "in-1", "call_id": "fc-1", "data_format": 1}, frozen)
    wait_for(lambda: "thawing" in container.log())
    peer.send(frames.CANCEL, {"id": "in-1"})
    assert _ended(peer)[:2] == ("in-1", TERMINATED)
    call(peer, "in-2", 0)
    assert value(peer) == "done"


def _double(number: float) -> bytes:
    return struct.pack(">d", number)


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("name", ["numbers", "anumbers"])
def test_a_generator_that_waits_for_readers_is_closed(start: Start, name: str, limit: int) -> None:
    container = start(sys.executable, MODULE, function_name=name, is_generator=True, max_concurrent_inputs=limit)
    peer = container.ready()
    header = {"id": "in-1", "call_id": "fc-1", "data_format": 1, "window": 5}
    peer.send(frames.INPUT, header, pack(10**9))
    for index in range(1, 6):
        assert peer.take(frames.ITEM)[0]["index"] == index
    peer.send(frames.CANCEL, {"id": "in-1"})
    while True:  # a thread may give another item before it hears of it
        kind, payload = peer.raw()
        if kind != frames.ITEM:
            break
    header, _ = frames.split_control(payload)
    assert (kind, header["status"]) == (frames.OUTPUT, TERMINATED)
    wait_for(lambda: "closed" in container.log())
    peer.send(frames.ACK, {"id": "in-1"})
    call(peer, "in-2", 1)
    assert peer.take(frames.ITEM)[0]["id"] == "in-2"
    assert peer.take(frames.OUTPUT)[0]["status"] == SUCCESS


def test_an_exception_of_the_same_name_is_no_cancellation(start: Start) -> None:
    module = """
        import asyncio

        class InputCancellation(BaseException):
            pass

        def f():
            raise InputCancellation("mine")
    """
    peer = start(sys.executable, module).ready()
    call(peer, "in-1")
    assert _ended(peer)[:2] == ("in-1", FAILURE)
