"""The runner as a real process with real client packages, driven over its real socket by the client's own serializer."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ionian.runner import frames, spec

ROOT = Path(__file__).parents[2]
WAIT_S = 60.0
PICKLE, GENERATOR_DONE, CBOR = 1, 3, 4
SUCCESS, FAILURE, TERMINATED = 1, 2, 3


class Peer:
    """A connection to a container, as the server makes it."""

    def __init__(self, path: str, preface: bytes) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(WAIT_S)
        self.socket.connect(path)
        self.socket.sendall(preface)
        self.parser = frames.Parser()
        self.frames: list[tuple[int, bytes]] = []

    def send(self, kind: int, header: dict[str, Any], payload: bytes = b"") -> None:
        self.socket.sendall(frames.control(kind, header, payload))

    def raw(self) -> tuple[int, bytes]:
        while not self.frames:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError("the container closed the connection")
            self.frames += self.parser.feed(data)
        return self.frames.pop(0)

    def take(self, kind: int) -> tuple[dict[str, Any], bytes]:
        """The next frame, which must be of this kind."""
        found, payload = self.raw()
        header, data = frames.split_control(payload)
        assert found == kind, (found, header, data[:200])
        return header, data

    def close(self) -> None:
        self.socket.close()


class Container:
    """One runner process."""

    def __init__(self, where: Path, python: str, module: str, launch: dict[str, Any]) -> None:
        where.mkdir(parents=True)
        library, code = where / "lib", where / "root"
        library.mkdir()
        code.mkdir()
        (library / "ionian_runner").symlink_to(ROOT / "ionian" / "runner")
        (library / "ionian_compat").symlink_to(ROOT / "ionian" / "compat")
        (code / "user_app.py").write_text(textwrap.dedent(module))
        fields = {
            "function_id": "fu-1", "app_id": "ap-1", "app_name": "test", "function_name": "f", "module_name": "user_app",
            "client_version": "", "code_root": str(code), "client_path": "", **launch,
        }  # fmt: skip
        (where / "spec.json").write_text(spec.dump(spec.load(json.dumps(fields))))
        self.peers: list[Peer] = []
        self.path = str(where / "s")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen()
        self.out, self.err = where / "out", where / "err"
        start = f"import sys; sys.path.insert(0, {str(library)!r}); from ionian_runner.main import main; main()"
        env = {
            "PATH": os.environ["PATH"], "HOME": str(where), "IONIAN_SPEC": str(where / "spec.json"),
            "IONIAN_SOCKET_FD": str(listener.fileno()), "IONIAN_CONTAINER_ID": "ta-123", "IONIAN_LIB": str(library),
            "MODAL_CONFIG_PATH": str(where / "none.toml"), "MODAL_SERVER_URL": "http://127.0.0.1:1",
        }  # fmt: skip
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [python, "-c", start], env=env, stdout=out, stderr=err, pass_fds=[listener.fileno()], cwd="/"
            )
        listener.close()

    def control(self) -> Peer:
        return self.connect(frames.CONTROL_PREFACE)

    def connect(self, preface: bytes) -> Peer:
        self.peers.append(Peer(self.path, preface))
        return self.peers[-1]

    def ready(self) -> Peer:
        peer = self.control()
        header, _ = peer.take(frames.READY)
        assert header["timings_ms"]["total"] > 0
        return peer

    def exit(self) -> int:
        return self.process.wait(WAIT_S)

    def log(self) -> str:
        return self.out.read_text() + self.err.read_text()


Start = Callable[..., Container]


@pytest.fixture(scope="session")
def old_client(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment with the client of early 2025."""
    where = tmp_path_factory.mktemp("client") / "venv"
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    quiet = {"check": True, "capture_output": True, "text": True, "timeout": 300}
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(where)], **quiet)  # type: ignore[call-overload]
    python = str(where / "bin" / "python")
    try:
        subprocess.run([uv, "pip", "install", "-q", "--python", python, "modal==0.73.173"], **quiet)  # type: ignore[call-overload]
    except subprocess.CalledProcessError as error:
        if "request" in error.stderr.lower() or "dns" in error.stderr.lower() or "connect" in error.stderr.lower():
            pytest.skip("the package index cannot be reached: " + error.stderr[-300:])
        raise
    return python


@pytest.fixture(params=["newest", "0.73.173"])
def python(request: pytest.FixtureRequest) -> str:
    if request.param == "newest":
        return sys.executable
    found: str = request.getfixturevalue("old_client")
    return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made: list[Container] = []

    def begin(python: str, module: str, **launch: Any) -> Container:
        made.append(Container(tmp_path / str(len(made)), python, module, launch))
        return made[-1]

    yield begin
    for container in made:
        for peer in container.peers:
            peer.close()
        if container.process.poll() is None:
            container.process.kill()
            container.process.wait()


def pack(*args: Any, **kwargs: Any) -> bytes:
    from modal._serialization import serialize

    return serialize((args, kwargs))


def unpack(data: bytes) -> Any:
    from modal._serialization import deserialize

    return deserialize(data, None)


def call(peer: Peer, name: str, *args: Any, method: str = "", **kwargs: Any) -> None:
    peer.send(frames.INPUT, {"id": name, "call_id": "fc-" + name, "method": method, "data_format": PICKLE, "attempt": 0},
              pack(*args, **kwargs))  # fmt: skip


def value(peer: Peer) -> Any:
    header, data = peer.take(frames.OUTPUT)
    peer.send(frames.ACK, {"id": header["id"]})
    assert header["status"] == SUCCESS, header
    return unpack(data)


FUNCTIONS = """
    import os, sys, threading, time
    import modal

    app = modal.App("test")
    image = modal.Image.debian_slim()
    print("loading", modal.is_local(), os.getcwd())

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
    assert "the result of bad, a tuple, cannot be sent back" in str(unpack(data[: header["parts"][0]]))
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


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.005)


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
    assert header["inputs"] == ["in-2"]
    call(second, "in-1", 0)  # offered again by a server that does not know: not run twice
    assert [value(second), value(second)] == ["slept", "slept"]
    assert container.out.read_text().count("sleeping") == 2


def test_stop_finishes_what_it_has(start: Start) -> None:
    container = start(sys.executable, FUNCTIONS, function_name="slow")
    peer = container.ready()
    call(peer, "in-1", 0.2)
    call(peer, "in-2", 0)
    container.process.send_signal(signal.SIGTERM)
    assert [value(peer), value(peer)] == ["slept", "slept"]
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


RAW_ASGI = """
    import asyncio, os

    state = {}

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                state["now"] = message["type"]
                print(message["type"])
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["path"] == "/slow":
            await asyncio.sleep(float(body))
        text = " ".join([scope["method"], scope["path"], state["now"], body.decode()])
        headers = [(b"x-task", os.environ["MODAL_TASK_ID"].encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})

    def f():
        return app

    def wsgi():
        def application(environ, start_response):
            start_response("200 OK", [("content-type", "text/plain")])
            return [environ["PATH_INFO"].encode(), b" ", environ["wsgi.input"].read()]
        return application
"""


def request(peer: Peer, method: str, path: str, body: bytes = b"") -> None:
    headers = [b"host", b"test", b"content-type", b"application/json", b"content-length", b"%d" % len(body)]
    address = b"127.0.0.1\x001"
    head = frames.request_head(method.encode(), b"1.1", b"http", path.encode(), b"", b"", address, address, headers)
    peer.socket.sendall(frames.frame(frames.REQUEST, head) + frames.frame(frames.LAST, body))


def response(peer: Peer) -> tuple[int, dict[bytes, bytes], bytes]:
    kind, head = peer.raw()
    assert kind == frames.RESPONSE
    fields = head.split(b"\0")
    body = b""
    while kind != frames.DONE:
        kind, payload = peer.raw()
        body += payload
    return int(fields[0]), dict(frames.pairs(fields, 1)), body


def test_asgi_app(start: Start, python: str) -> None:
    container = start(python, RAW_ASGI, web={"kind": "asgi"})
    control = container.control()
    header, _ = control.take(frames.READY)
    assert (header["web"], header["web_active"], header["inputs"]) == (True, 0, [])
    web = container.connect(frames.WEB_PREFACE)
    for number in range(3):
        request(web, "POST", "/hello", b"%d" % number)
        status, headers, body = response(web)
        assert (status, headers[b"x-task"]) == (200, b"ta-123")
        assert body == b"POST /hello lifespan.startup %d" % number
    control.send(frames.STOP, {"grace_s": 5})
    assert container.exit() == 0
    assert container.out.read_text().split() == ["lifespan.startup", "lifespan.shutdown"]


def test_wsgi_app(start: Start) -> None:
    container = start(sys.executable, RAW_ASGI, function_name="wsgi", web={"kind": "wsgi"})
    container.ready()
    web = container.connect(frames.WEB_PREFACE)
    request(web, "POST", "/hello", b"body")
    status, headers, body = response(web)
    assert (status, headers[b"content-type"], body) == (200, b"text/plain", b"/hello body")


def test_web_request_outlives_its_server(start: Start) -> None:
    container = start(sys.executable, RAW_ASGI, web={"kind": "asgi"})
    first = container.ready()
    web = container.connect(frames.WEB_PREFACE)
    request(web, "POST", "/slow", b"0.5")
    first.close()
    second = container.control()
    header, _ = second.take(frames.READY)
    assert header["web_active"] == 1
    web.close()
    second.take(frames.FREED)


FASTAPI = """
    import modal
    app = modal.App("iris")
    image = modal.Image.debian_slim()

    @app.function(image=image)
    @modal.fastapi_endpoint(method="POST")
    def f(item: dict):
        return {"sum": sum(item["features"])}
"""


def test_missing_fastapi_is_the_clients_own_error(start: Start) -> None:
    container = start(sys.executable, FASTAPI, web={"kind": "function", "method": "POST"})
    header, _ = container.control().take(frames.FAILED)
    assert "require FastAPI to be installed in the modal.Image" in header["exception"]
    assert container.exit() == 1
    assert "require FastAPI to be installed" in container.err.read_text()


def test_fastapi_endpoint(start: Start, old_client: str) -> None:
    """The client of early 2025 depends on FastAPI itself, so its environment has it."""
    container = start(old_client, FASTAPI, web={"kind": "function", "method": "POST"})
    container.ready()
    web = container.connect(frames.WEB_PREFACE)
    for path in ("/", "/f"):
        request(web, "POST", path, b'{"features": [1, 2, 3.5]}')
        status, _, body = response(web)
        assert (status, json.loads(body)) == (200, {"sum": 6.5})
    request(web, "POST", "/", b"not json")
    assert response(web)[0] == 422
    request(web, "GET", "/", b"")
    assert response(web)[0] == 405
    request(web, "POST", "/", b'{"no": 1}')
    assert response(web)[0] == 500
    assert "KeyError: 'features'" in container.err.read_text()
