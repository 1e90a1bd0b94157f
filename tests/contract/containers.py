"""A real runner process with a real listening socket, and the server's side of its links, for contract tests."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
            "function_id": "fu-1", "app_id": "ap-1", "app_name": "test", "function_name": "f",
            "module_name": "user_app", "client_version": "", "code_root": str(code), "client_path": "",
            **launch,
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
                [python, "-c", start], env=env, stdout=out, stderr=err, pass_fds=[listener.fileno()], cwd=code
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
        assert header["timings_ms"].get("total", 1) > 0  # the client's own entrypoint is not timed
        return peer

    def exit(self) -> int:
        return self.process.wait(WAIT_S)

    def log(self) -> str:
        return self.out.read_text() + self.err.read_text()


Start = Callable[..., Container]

# What programs do to their own output.
WITHOUT_STREAMS = [
    "sys.stdout.close(); sys.stderr.close()",
    "os.close(1); os.close(2)",
    "sys.stdout = sys.stderr = None",
]


def pack(*args: Any, **kwargs: Any) -> bytes:
    from modal._serialization import serialize

    return serialize((args, kwargs))


def unpack(data: bytes) -> Any:
    from modal._serialization import deserialize

    return deserialize(data, None)


def call(peer: Peer, name: str, *args: Any, method: str = "", **kwargs: Any) -> None:
    header = {"id": name, "call_id": "fc-" + name, "method": method, "data_format": PICKLE, "attempt": 0}
    peer.send(frames.INPUT, header, pack(*args, **kwargs))


def value(peer: Peer) -> Any:
    header, data = peer.take(frames.OUTPUT)
    peer.send(frames.ACK, {"id": header["id"]})
    assert header["status"] == SUCCESS, header
    return unpack(data)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.005)


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
