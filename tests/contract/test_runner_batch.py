"""Batches as a server sends them: one call for many inputs, one output for each, under both runners."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ionian.runner import frames
from tests.contract.containers import (
    CBOR,
    FAILURE,
    PICKLE,
    SUCCESS,
    TERMINATED,
    Container,
    Peer,
    Start,
    call,
    pack,
    unpack,
    value,
    wait_for,
)

MODULE = """
    import asyncio, threading, time
    import modal

    app = modal.App("test")

    @app.function()
    @modal.batched(max_batch_size=8, wait_ms=10)
    def f(xs, ys):
        print("together", len(xs))
        return [x + y for x, y in zip(xs, ys)]

    @app.function()
    @modal.batched(max_batch_size=8, wait_ms=10)
    async def a(xs):
        await asyncio.sleep(0)
        return [(x, modal.current_input_id()) for x in xs]

    @app.function()
    @modal.batched(max_batch_size=8, wait_ms=10)
    def odd(kinds):
        if kinds[0] == "tuple":
            return tuple(kinds)
        if kinds[0] == "short":
            return kinds[1:]
        if kinds[0] == "generator":
            return (kind for kind in kinds)
        if kinds[0] == "lock":
            return [threading.Lock() for kind in kinds]
        raise ValueError(kinds)

    @app.function()
    @modal.batched(max_batch_size=8, wait_ms=10)
    def slow(seconds):
        try:
            print("sleeping", flush=True)
            time.sleep(seconds[0])
        except BaseException as error:
            print("interrupted by", type(error).__name__, flush=True)
            raise
        return [True] * len(seconds)

    @app.function()
    @modal.batched(max_batch_size=8, wait_ms=10)
    async def aslow(seconds):
        try:
            print("sleeping", flush=True)
            await asyncio.sleep(seconds[0])
        except BaseException as error:
            print("interrupted by", type(error).__name__, flush=True)
            raise
        return [True] * len(seconds)

    barrier = threading.Barrier(2)

    @app.function()
    @modal.concurrent(max_inputs=2)
    @modal.batched(max_batch_size=8, wait_ms=10)
    def meet(xs):
        barrier.wait(30)
        return xs

    @app.cls()
    class C:
        @modal.enter()
        def begin(self):
            self.factor = 3

        @modal.batched(max_batch_size=8, wait_ms=10)
        def m(self, xs):
            return [x * self.factor for x in xs]
"""


class Begin:
    """Starts containers of ``MODULE`` for one of the runners."""

    def __init__(self, start: Start, runner: str, folder: Path) -> None:
        self._start = start
        self._runner = runner
        self._folder = folder

    def __call__(self, name: str, python: str = sys.executable, inputs: int = 1, module: str = MODULE) -> Container:
        import modal
        from modal_proto import api_pb2

        is_class = name.endswith(".*")
        message = api_pb2.Function(
            module_name="user_app", function_name=name, batch_max_size=8, batch_linger_ms=10, is_class=is_class,
            max_concurrent_inputs=inputs if inputs > 1 else 0,
            definition_type=api_pb2.Function.DEFINITION_TYPE_FILE,
            object_dependencies=[api_pb2.ObjectDependency(object_id="im-1")],
        )  # fmt: skip
        if is_class:
            message.method_definitions["m"].CopyFrom(api_pb2.MethodDefinition(function_name="C.m"))
        definition = self._folder / "function.pb"
        definition.write_bytes(message.SerializeToString())
        return self._start(
            python, module, function_name=name, is_class=is_class, runner=self._runner, definition=str(definition),
            max_concurrent_inputs=inputs, batch_max_size=8, client_version=modal.__version__,
        )  # fmt: skip


@pytest.fixture(params=["own", "stock"])
def begin(start: Start, request: pytest.FixtureRequest, tmp_path: Path) -> Begin:
    return Begin(start, request.param, tmp_path)


def batch(peer: Peer, *inputs: tuple[str, bytes], method: str = "", formats: Sequence[int] = ()) -> None:
    headers: list[dict[str, Any]] = [
        {"id": name, "call_id": "fc-" + name, "method": method, "data_format": PICKLE, "attempt": 0, "size": len(args)}
        for name, args in inputs
    ]
    for header, form in zip(headers, formats, strict=False):
        header["data_format"] = form
    peer.send(frames.BATCH, {"inputs": headers}, b"".join(args for _, args in inputs))


def outputs(peer: Peer, number: int) -> dict[str, tuple[dict[str, Any], bytes]]:
    found = {}
    for _ in range(number):
        header, data = peer.take(frames.OUTPUT)
        assert header["id"] not in found
        found[header["id"]] = header, data
        peer.send(frames.ACK, {"id": header["id"]})
    return found


def test_one_call_for_many_inputs(begin: Begin) -> None:
    container = begin("f")
    peer = container.ready()
    batch(peer, ("in-1", pack(1, 2)), ("in-2", pack(10, ys=20)), ("in-3", pack(ys="b", xs="a")))
    found = outputs(peer, 3)
    assert {name: unpack(data) for name, (_, data) in found.items()} == {"in-1": 3, "in-2": 30, "in-3": "ab"}
    call(peer, "in-4", 4, 5)  # a plain input is a batch of one
    assert value(peer) == 9
    wait_for(lambda: container.log().count("together") == 2)
    assert "together 3\ntogether 1\n" in container.log()
    peer.send(frames.STOP, {"grace_s": 5})
    assert container.exit() == 0


def test_old_client(start: Start, old_client: str, tmp_path: Path) -> None:
    peer = Begin(start, "own", tmp_path)("f", python=old_client).ready()
    batch(peer, ("in-1", pack(1, 2)), ("in-2", pack(3, 4)))
    assert {name: unpack(data) for name, (_, data) in outputs(peer, 2).items()} == {"in-1": 3, "in-2": 7}


def test_async_and_its_ids(begin: Begin) -> None:
    peer = begin("a").ready()
    batch(peer, ("in-1", pack(1)), ("in-2", pack(2)))
    found = outputs(peer, 2)
    assert [unpack(found[name][1]) for name in ("in-1", "in-2")] == [(1, "in-1"), (2, "in-1")]


def test_method(begin: Begin) -> None:
    peer = begin("C.*").ready()
    batch(peer, ("in-1", pack(1)), ("in-2", pack(2)), method="m")
    assert [unpack(data) for _, data in outputs(peer, 2).values()] == [3, 6]


def test_batches_beside_each_other(begin: Begin) -> None:
    peer = begin("meet", inputs=2).ready()
    batch(peer, ("in-1", pack(1)), ("in-2", pack(2)))
    batch(peer, ("in-3", pack(3)))
    found = outputs(peer, 3)
    assert {name: unpack(data) for name, (_, data) in found.items()} == {"in-1": 1, "in-2": 2, "in-3": 3}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("tuple", "Output of batched function odd must be a list."),
        ("short", "Output of batched function odd must be a list of equal length as its inputs."),
        ("generator", "Sync (non-generator) function return value of type <class 'generator'>. You might need to use "),
        ("lock", "cannot pickle '_thread.lock' object"),
        ("raise", "['raise', 'raise']"),
    ],
)
def test_a_failure_is_everybodys(begin: Begin, kind: str, words: str) -> None:
    peer = begin("odd").ready()
    batch(peer, ("in-1", pack(kind)), ("in-2", pack(kind)))
    found = outputs(peer, 2)
    assert set(found) == {"in-1", "in-2"}
    for header, data in found.values():
        assert header["status"] == FAILURE
        error = unpack(data[: header["parts"][0]])
        assert type(error).__name__ == {"raise": "ValueError", "lock": "TypeError"}.get(kind, "InvalidError")
        assert words in str(error)
        assert header["parts"][1] > 0
    call(peer, "in-3", "tuple")
    assert outputs(peer, 1)["in-3"][0]["status"] == FAILURE


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (pack(1), "takes 2 positional arguments, but one invocation in the batch has 1."),
        (pack(1, zs=2), "got unexpected keyword argument zs in one invocation in the batch."),
        (pack(1, xs=2), "got multiple values for argument xs in one invocation in the batch."),
    ],
)
def test_arguments_that_do_not_fit(begin: Begin, args: bytes, words: str) -> None:
    peer = begin("f").ready()
    batch(peer, ("in-1", pack(1, 2)), ("in-2", args))
    for header, data in outputs(peer, 2).values():
        error = unpack(data[: header["parts"][0]])
        assert (type(error).__name__, str(error)) == ("InvalidError", "Modal batched function f " + words)


def test_each_input_has_its_own_format(begin: Begin) -> None:
    import cbor2

    peer = begin("f").ready()
    batch(peer, ("in-1", pack(1, 2)), ("in-2", cbor2.dumps([[3, 4], {}])), formats=[PICKLE, CBOR])
    found = outputs(peer, 2)
    assert (found["in-1"][0]["data_format"], unpack(found["in-1"][1])) == (PICKLE, 3)
    assert (found["in-2"][0]["data_format"], cbor2.loads(found["in-2"][1])) == (CBOR, 7)
    batch(peer, ("in-3", pack(1, "2")), ("in-4", cbor2.dumps([[3, 4], {}])), formats=[PICKLE, CBOR])
    found = outputs(peer, 2)
    assert all("TypeError" in header["exception"] for header, _ in found.values())
    assert found["in-3"][0]["parts"][0] > 0
    assert found["in-4"][0]["parts"] == [0, 0, 0]


@pytest.mark.parametrize("name", ["slow", "aslow"])
def test_cancelling_one_leaves_the_others(begin: Begin, name: str) -> None:
    container = begin(name)
    peer = container.ready()
    batch(peer, ("in-1", pack(0.5)), ("in-2", pack(0)))
    batch(peer, ("in-3", pack(0)), ("in-4", pack(0)))
    wait_for(lambda: "sleeping" in container.log())
    peer.send(frames.CANCEL, {"id": "in-1"})
    peer.send(frames.CANCEL, {"id": "in-4"})  # of a batch that has not begun
    found = outputs(peer, 4)
    statuses = {input_id: header["status"] for input_id, (header, _) in found.items()}
    assert statuses == {"in-1": TERMINATED, "in-2": SUCCESS, "in-3": SUCCESS, "in-4": TERMINATED}
    assert "interrupted" not in container.log()


@pytest.mark.parametrize("inputs", [1, 2])
@pytest.mark.parametrize("name", ["slow", "aslow"])
def test_cancelling_all_cancels_the_call(begin: Begin, name: str, inputs: int, request: pytest.FixtureRequest) -> None:
    if inputs == 2 and name == "slow":
        pytest.skip("a sync call in a thread is interrupted when its blocking call is over")
    container = begin(name, inputs=inputs)
    peer = container.ready()
    batch(peer, ("in-1", pack(600)), ("in-2", pack(0)))
    wait_for(lambda: "sleeping" in container.log())
    for input_id in ("in-1", "in-2"):
        peer.send(frames.CANCEL, {"id": input_id})
    assert {header["status"] for header, _ in outputs(peer, 2).values()} == {TERMINATED}
    kind = "InputCancellation" if name == "slow" else "CancelledError"
    wait_for(lambda: f"interrupted by {kind}" in container.log())
    batch(peer, ("in-3", pack(0)), ("in-4", pack(0)))
    assert {header["status"] for header, _ in outputs(peer, 2).values()} == {SUCCESS}


def test_a_batch_survives_a_server_restart(begin: Begin) -> None:
    container = begin("slow")
    first = container.ready()
    batch(first, ("in-1", pack(0.3)), ("in-2", pack(0)))
    wait_for(lambda: "sleeping" in container.log())
    first.close()
    second = container.control()
    header, _ = second.take(frames.READY)
    assert sorted(header["inputs"]) == ["in-1", "in-2"]
    batch(second, ("in-2", pack(0)), ("in-3", pack(0)))  # one is known, one is new
    assert {header["status"] for header, _ in outputs(second, 3).values()} == {SUCCESS}
    wait_for(lambda: container.log().count("sleeping") == 2)
