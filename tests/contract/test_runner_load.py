"""What a container loads: classes, serialized functions, retired names; and how it tells that it could not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ionian.runner import frames
from tests.contract.containers import (
    GENERATOR_DONE,
    Start,
    call,
    unpack,
    value,
)


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        ("import no_such_package", "f", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("def f(:", "f", "SyntaxError: invalid syntax"),
        ("x = 1", "f", "AttributeError: module 'user_app' has no 'f'"),
        ("import modal\nimage = modal.Image.debian_slim()\nwith image.imports():\n    import no_such\n"
         "app = modal.App()\n@app.function(image=image)\ndef f():\n    pass", "f",
         "ModuleNotFoundError: No module named 'no_such'"),
        ("import sys\nsys.exit('no')", "f", "SystemExit: no"),
    ],
)  # fmt: skip
def test_failed_start_is_reported(start: Start, python: str, module: str, name: str, expected: str) -> None:
    container = start(python, module, function_name=name)
    header, data = container.control().take(frames.FAILED)
    assert expected in header["traceback"]
    error = unpack(data[: header["parts"][0]])
    assert type(error).__name__ == expected.split(":")[0]
    assert container.exit() == 1
    assert expected in container.err.read_text()


def test_serialized(start: Start, python: str, tmp_path: Path) -> None:
    from modal._serialization import serialize
    from modal_proto import api_pb2

    offset = 40

    def function(x: int) -> int:
        return x + offset

    function.__module__ = "__main__"
    message = api_pb2.Function(function_serialized=serialize(function))
    (tmp_path / "function.pb").write_bytes(message.SerializeToString())
    peer = start(python, "", serialized=True, definition=str(tmp_path / "function.pb")).ready()
    call(peer, "in-1", 2)
    assert value(peer) == 42


CLASS = """
    import modal
    app = modal.App("test")

    @app.cls()
    class Model:
        size: int = modal.parameter(default=3)

        @modal.enter()
        def load(self):
            self.loaded = ["load"]

        @modal.enter()
        async def aload(self):
            self.loaded.append("aload")

        @modal.method()
        def work(self, x):
            return x * self.size, sorted(self.loaded), self.helper()

        @modal.method()
        async def items(self, n):
            for i in range(n):
                yield i

        def helper(self):
            return "helped"

        @modal.exit()
        def bye(self):
            print("bye")
"""


def test_class_service(start: Start, python: str) -> None:
    container = start(python, CLASS, function_name="Model.*", is_class=True)
    peer = container.ready()
    call(peer, "in-1", 2, method="work")
    assert value(peer) == (6, ["aload", "load"], "helped")
    call(peer, "in-2", 1, method="items")
    assert unpack(peer.take(frames.ITEM)[1]) == 0
    header, _ = peer.take(frames.OUTPUT)
    assert header["data_format"] == GENERATOR_DONE
    peer.send(frames.ACK, {"id": "in-2"})
    peer.send(frames.STOP, {"grace_s": 5})
    assert container.exit() == 0
    assert "bye" in container.out.read_text()


CROWD = """
    import modal, threading
    app = modal.App("crowd")

    @app.function()
    def f():
        threading.Thread(target=threading.Event().wait).start()  # never ends
        return "left a thread behind"

    @app.cls()
    class Broken:
        @modal.enter()
        def load(self):
            raise RuntimeError("no model")

        @modal.method()
        def work(self):
            pass
"""


def test_a_thread_left_behind_does_not_keep_the_container(start: Start) -> None:
    container = start(sys.executable, CROWD)
    peer = container.ready()
    call(peer, "in-1")
    assert value(peer) == "left a thread behind"
    peer.send(frames.STOP, {"grace_s": 5})
    assert container.exit() == 0
    assert "threads of the program still run" in container.log()


def test_failed_enter_hook_is_reported(start: Start, python: str) -> None:
    container = start(python, CROWD, function_name="Broken.*", is_class=True)
    header, _ = container.control().take(frames.FAILED)
    assert header["exception"] == "RuntimeError('no model')"
    assert container.exit() == 1


OLD = """
    import modal
    app = modal.App("old")

    @app.function(keep_warm=1, mounts=[modal.Mount.from_local_file("no_such_file.pkl", remote_path="/root/x.pkl")])
    def f(x):
        return x + 1

    @app.function(mounts=[modal.Mount.from_local_file("no_such_file.pkl")])
    @modal.web_endpoint(method="POST")
    def predict(item: dict):
        return {"sum": sum(item["features"])}
"""


def test_retired_names_in_the_container(start: Start, python: str) -> None:
    container = start(python, OLD, compat=True)
    peer = container.ready()
    call(peer, "in-1", 41)
    assert value(peer) == 42
    assert "ionian" not in container.log()


def test_a_handle_that_the_layout_lacks_says_so_and_connects_nowhere(start: Start, python: str) -> None:
    module = """
        import modal
        app = modal.App("test")

        @app.function()
        def other(x):
            return x

        @app.function()
        def f():
            return other.remote(1)
    """
    peer = start(python, module).ready()
    call(peer, "in-1")
    header, _ = peer.take(frames.OUTPUT)
    assert "has not been hydrated" in header["exception"]
