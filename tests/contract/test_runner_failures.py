"""User code at its worst: the input it ran for ends, and the container goes on where it still exists."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from ionian.runner import frames
from tests.contract.containers import CBOR, FAILURE, GENERATOR_DONE, SUCCESS, Start, call, unpack, value

MODULE = """
    import multiprocessing, os, signal, sys, threading, time

    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no words")
        __repr__ = __str__

    class Locked(Mute):
        def __reduce__(self):
            raise Mute("neither")

    class Large(Exception):
        def __reduce__(self):
            return str, ("x" * 100_000_000,)

    def sleeps():
        time.sleep(600)

    def f(how):
        if how == "mute":
            raise Mute("quiet")
        if how == "locked":
            raise Locked("quiet")
        if how == "long":
            raise ValueError("x" * 30_000_000)
        if how == "large":
            raise Large()
        if how == "surrogate":
            raise ValueError("k\u00e4se \\udc80")
        if how == "interrupt":
            raise KeyboardInterrupt
        if how == "generator exit":
            raise GeneratorExit
        if how == "cancelled":
            import asyncio
            raise asyncio.CancelledError
        if how == "exit":
            os._exit(9)
        if how == "return from a fork":
            child = os.fork()
            if not child:
                return "from the child"
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if how == "terminate a child":
            process = multiprocessing.get_context("fork").Process(target=sleeps)
            process.start()
            process.terminate()
            process.join(30)
            return process.exitcode
        if how == "ignore signals":
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
                signal.signal(number, signal.SIG_IGN)
        return how

    def numbers(kind):
        yield {"one": 1}
        if kind == "raise":
            raise LookupError("after one")
        if kind == "object":
            yield object()
        yield [2, None]
"""


def _failure(peer: Any, how: str) -> tuple[dict[str, Any], Any]:
    call(peer, "in-" + how, how)
    header, data = peer.take(frames.OUTPUT)
    assert (header["id"], header["status"]) == ("in-" + how, FAILURE)
    return header, unpack(data[: header["parts"][0]])


def test_exceptions_that_resist(start: Start, python: str) -> None:
    container = start(python, MODULE)
    peer = container.ready()
    header, _ = _failure(peer, "locked")
    assert header["exception"] == "<Locked whose repr failed>"
    header, error = _failure(peer, "long")
    assert len(header["exception"]) < 3_000_000
    assert len(header["traceback"]) < 3_000_000
    assert len(str(error)) == 30_000_000
    _, error = _failure(peer, "large")
    assert "the limit is" in str(error)
    header, error = _failure(peer, "surrogate")
    assert "käse \\udc80" in header["traceback"].encode().decode()
    assert str(error) == "käse \udc80"
    for how, name in (("interrupt", "KeyboardInterrupt"), ("generator exit", "GeneratorExit")):
        assert type(_failure(peer, how)[1]).__name__ == name
    call(peer, "in-last", "last")
    assert value(peer) == "last"


def test_processes(start: Start, python: str) -> None:
    container = start(python, MODULE)
    peer = container.ready()
    for name, expected in (("return from a fork", 0), ("terminate a child", -15), ("ignore signals", "ignore signals")):
        call(peer, name, name)
        assert value(peer) == expected
    peer.send(frames.STOP, {"grace_s": 5})
    assert container.exit() == 0


@pytest.mark.parametrize("limit", [1, 2])
def test_a_fork_in_a_thread_or_not(start: Start, limit: int) -> None:
    container = start(sys.executable, MODULE, max_concurrent_inputs=limit)
    peer = container.ready()
    for name in ("return from a fork", "terminate a child", "return from a fork"):
        call(peer, name, name)
        assert value(peer) == (-15 if "terminate" in name else 0)


def test_a_program_that_leaves_takes_its_container_along(start: Start) -> None:
    container = start(sys.executable, MODULE)
    peer = container.ready()
    call(peer, "in-1", "exit")
    with pytest.raises((EOFError, ConnectionError)):
        peer.raw()
    assert container.exit() == 9


def test_cbor_generators_and_failures(start: Start) -> None:
    import cbor2

    peer = start(sys.executable, MODULE, function_name="numbers", is_generator=True).ready()

    def ask(name: str, kind: str) -> None:
        peer.send(frames.INPUT, {"id": name, "call_id": name, "data_format": CBOR}, cbor2.dumps([[kind], {}]))

    ask("in-1", "fine")
    items = [peer.take(frames.ITEM) for _ in range(2)]
    assert [(header["data_format"], cbor2.loads(data)) for header, data in items] == [
        (CBOR, {"one": 1}), (CBOR, [2, None]),
    ]  # fmt: skip
    header, _ = peer.take(frames.OUTPUT)
    assert (header["status"], header["data_format"]) == (SUCCESS, GENERATOR_DONE)
    for kind, text in (("raise", "LookupError('after one')"), ("object", "Can not serialize type builtins.object")):
        ask("in-" + kind, kind)
        peer.take(frames.ITEM)
        header, data = peer.take(frames.OUTPUT)
        assert (header["status"], header["data_format"], header["parts"], data) == (FAILURE, CBOR, [0, 0, 0], b"")
        assert text in header["exception"]


@pytest.mark.parametrize(("formats", "answer"), [((), CBOR), ((1, CBOR), CBOR), ((1,), 1), ((CBOR,), CBOR)])
def test_the_answer_has_a_format_that_the_function_supports(start: Start, formats: tuple[int], answer: int) -> None:
    import cbor2

    peer = start(sys.executable, MODULE, supported_output_formats=formats).ready()
    peer.send(frames.INPUT, {"id": "in-1", "call_id": "fc", "data_format": CBOR}, cbor2.dumps([["text"], {}]))
    header, data = peer.take(frames.OUTPUT)
    assert (header["data_format"], cbor2.loads(data) if answer == CBOR else unpack(data)) == (answer, "text")
    peer.send(frames.INPUT, {"id": "in-2", "call_id": "fc", "data_format": 99}, b"?")
    header, data = peer.take(frames.OUTPUT)
    assert header["status"] == FAILURE
    assert "Unknown data format 99" in header["exception"]
