"""The pace of generators, and payloads that are too long for one frame."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from ionian.runner import frames
from tests.contract.containers import (
    FAILURE,
    GENERATOR_DONE,
    SUCCESS,
    Container,
    Peer,
    Start,
    call,
    pack,
    unpack,
)

MODULE = """
    import modal

    app = modal.App("test")

    @app.function()
    def numbers(n, size=0):
        for number in range(n):
            yield bytes(size) if size else number

    @app.function()
    async def anumbers(n, size=0):
        for number in range(n):
            yield bytes(size) if size else number

    @app.function()
    def grows(data, times):
        return data * times
"""


class Begin:
    """Starts containers of ``MODULE`` for one of the runners."""

    def __init__(self, start: Start, runner: str, folder: Path) -> None:
        self._start = start
        self._runner = runner
        self._folder = folder

    def __call__(self, name: str, generator: bool = False, inputs: int = 1) -> Container:
        import modal
        from modal_proto import api_pb2

        message = api_pb2.Function(
            module_name="user_app", function_name=name, max_concurrent_inputs=inputs if inputs > 1 else 0,
            definition_type=api_pb2.Function.DEFINITION_TYPE_FILE,
            object_dependencies=[api_pb2.ObjectDependency(object_id="im-1")],
            function_type=api_pb2.Function.FUNCTION_TYPE_GENERATOR if generator
            else api_pb2.Function.FUNCTION_TYPE_FUNCTION,
        )  # fmt: skip
        definition = self._folder / "function.pb"
        definition.write_bytes(message.SerializeToString())
        return self._start(
            sys.executable, MODULE, function_name=name, runner=self._runner, definition=str(definition),
            is_generator=generator, max_concurrent_inputs=inputs, client_version=modal.__version__,
        )  # fmt: skip


@pytest.fixture(params=["own", "stock"])
def begin(start: Start, request: pytest.FixtureRequest, tmp_path: Path) -> Begin:
    return Begin(start, request.param, tmp_path)


def give(peer: Peer, name: str, *args: Any, **more: Any) -> None:
    peer.send(frames.INPUT, {"id": name, "call_id": "fc-" + name, "data_format": 1, **more}, pack(*args))


def quiet(peer: Peer) -> bool:
    """Whether nothing comes for a moment in which thousands of items would."""
    peer.socket.settimeout(0.5)
    try:
        peer.raw()
    except TimeoutError:
        return True
    finally:
        peer.socket.settimeout(60)
    return False


@pytest.mark.parametrize("inputs", [1, 2])
@pytest.mark.parametrize("name", ["numbers", "anumbers"])
def test_items_flow_as_they_are_taken(begin: Begin, name: str, inputs: int) -> None:
    peer = begin(name, True, inputs).ready()
    give(peer, "in-1", 1000, window=100)
    seen = 0
    while seen < 1000:
        for _ in range(min(100, 1000 - seen)):
            header, data = peer.take(frames.ITEM)
            seen += 1
            assert (header["index"], unpack(data)) == (seen, seen - 1)
        if seen in (100, 500):
            assert quiet(peer)
        peer.send(frames.TAKEN, {"id": "in-1", "items": seen})
    header, _ = peer.take(frames.OUTPUT)
    assert (header["status"], header["data_format"]) == (SUCCESS, GENERATOR_DONE)


def test_half_a_window_keeps_it_going(begin: Begin) -> None:
    """Whoever reads late is enough: what is taken counts in all, not since the last time."""
    peer = begin("numbers", True).ready()
    give(peer, "in-1", 300, window=10)
    for index in range(1, 301):
        assert peer.take(frames.ITEM)[0]["index"] == index
        if index % 5 == 0:
            peer.send(frames.TAKEN, {"id": "in-1", "items": index})
            peer.send(frames.TAKEN, {"id": "in-1", "items": index - 5})  # late news change nothing
    assert peer.take(frames.OUTPUT)[0]["status"] == SUCCESS


def test_a_window_of_bytes(begin: Begin) -> None:
    peer = begin("numbers", True).ready()
    size = 3 * 1024 * 1024
    give(peer, "in-1", 6, size, window=1000)
    for index in range(1, 4):
        assert peer.take(frames.ITEM)[0]["index"] == index
    assert quiet(peer)
    for index in range(4, 7):
        peer.send(frames.TAKEN, {"id": "in-1", "items": index - 3})
        assert peer.take(frames.ITEM)[0]["index"] == index
    peer.send(frames.TAKEN, {"id": "in-1", "items": 6})
    assert peer.take(frames.OUTPUT)[0]["status"] == SUCCESS


def test_without_a_window_nothing_waits(begin: Begin) -> None:
    peer = begin("numbers", True).ready()
    give(peer, "in-1", 3000)
    for index in range(1, 3001):
        assert peer.take(frames.ITEM)[0]["index"] == index
    assert peer.take(frames.OUTPUT)[0]["status"] == SUCCESS


def test_a_new_server_gets_what_was_not_taken(begin: Begin) -> None:
    container = begin("numbers", True)
    first = container.ready()
    give(first, "in-1", 30, window=10)
    for _ in range(10):
        first.take(frames.ITEM)
    first.send(frames.TAKEN, {"id": "in-1", "items": 6})
    for _ in range(6):
        first.take(frames.ITEM)
    first.close()
    second = container.control()
    assert second.take(frames.READY)[0]["inputs"] == ["in-1"]
    for index in range(7, 31):
        assert second.take(frames.ITEM)[0]["index"] == index
        second.send(frames.TAKEN, {"id": "in-1", "items": index})
    assert second.take(frames.OUTPUT)[0]["status"] == SUCCESS


def test_arguments_and_results_in_pieces(begin: Begin) -> None:
    """Args of 30 MiB in pieces, a result of 60 MiB back; another call passes between the pieces."""
    peer = begin("grows", inputs=2).ready()
    data = bytes(range(256)) * 4096 * 30
    whole = pack(data, 2)
    step = 1024 * 1024
    head = {"id": "in-1", "call_id": "fc-1", "data_format": 1, "max_result": 100 * step}
    for start in range(0, len(whole) - 10, step):
        peer.send(frames.PART, {"id": "in-1"}, whole[start : min(start + step, len(whole) - 10)])
    call(peer, "in-2", b"x", 3)
    peer.send(frames.INPUT, head, whole[-10:])
    found: dict[str, bytes] = {}
    parts: dict[str, list[bytes]] = {}
    while len(found) < 2:
        kind, payload = peer.raw()
        header, piece = frames.split_control(payload)
        parts.setdefault(header["id"], []).append(piece)
        if kind == frames.OUTPUT:
            assert header["status"] == SUCCESS
            found[header["id"]] = b"".join(parts[header["id"]])
            assert header["parts"] == [len(found[header["id"]]), 0, 0]
        else:
            assert kind == frames.PART
            assert len(piece) <= frames.PIECE
    assert unpack(found["in-2"]) == b"xxx"
    assert unpack(found["in-1"]) == data * 2


def test_a_result_over_the_limit_is_named(begin: Begin) -> None:
    container = begin("grows")
    peer = container.ready()
    give(peer, "in-1", b"x" * 1024, 300 * 1024)
    header, _ = peer.take(frames.OUTPUT)
    assert header["status"] == FAILURE
    assert "the limit is 267386880" in header["exception"]
    give(peer, "in-2", b"x", 1)
    assert peer.take(frames.OUTPUT)[0]["status"] == SUCCESS


def test_pieces_are_sent_again_to_a_new_server(begin: Begin) -> None:
    container = begin("grows")
    first = container.ready()
    first.send(frames.PART, {"id": "in-1"}, pack(b"lost", 1))  # never ended: forgotten with its server
    give(first, "in-0", b"x" * 1024, 20 * 1024, max_result=10**9)
    first.take(frames.PART)
    first.close()
    second = container.control()
    second.take(frames.READY)
    pieces = []
    while True:
        kind, payload = second.raw()
        pieces.append(frames.split_control(payload)[1])
        if kind == frames.OUTPUT:
            break
    assert unpack(b"".join(pieces)) == b"x" * (20 * 1024 * 1024)
    second.send(frames.ACK, {"id": "in-0"})
    give(second, "in-1", b"y", 2)
    assert unpack(second.take(frames.OUTPUT)[1]) == b"yy"
