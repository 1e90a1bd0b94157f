"""A body of 10 GB for a web function: refused at once, answered early, or streamed through; never kept in memory.

IONIAN_TEST_BODY_BYTES changes its size. In chunks it is a tenth of that: it takes longer.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import stopped_without_trace
from tests.e2e.machine import Client, Machine
from tests.faults.conftest import FAULTY
from tests.faults.test_containers import MIB, peak

SIZE = int(os.environ.get("IONIAN_TEST_BODY_BYTES", str(10 * 1000**3)))
PIECE = bytes(MIB)


@pytest.fixture(params=["20000000000"])
def serving(machine: Machine, new_client: Client, request: pytest.FixtureRequest) -> Iterator[Machine]:
    machine.environ["IONIAN_MAX_BODY_BYTES"] = request.param
    machine.up()
    machine.modal(new_client, "deploy", "misbehaving.py", cwd=FAULTY)
    yield machine
    stopped_without_trace(machine)


class Sending:
    """One POST request with a body that is made as it is sent."""

    def __init__(self, machine: Machine, path: str, *, size: int = SIZE, chunked: bool = False) -> None:
        self.sent = 0
        self._size = size
        self._chunked = chunked
        self._socket = socket.create_connection(("127.0.0.1", machine.server.port), timeout=120)
        length = "transfer-encoding: chunked" if chunked else f"content-length: {size}"
        host = f"local--misbehaving-body.localhost:{machine.server.port}"
        self._socket.sendall(f"POST {path} HTTP/1.1\r\nhost: {host}\r\n{length}\r\n\r\n".encode())

    def send(self) -> None:
        """All of the body, or as much as the server takes."""
        try:
            while self.sent < self._size:
                piece = PIECE[: self._size - self.sent]
                self._socket.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if self._chunked else piece)
                self.sent += len(piece)
            if self._chunked:
                self._socket.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass

    def close(self) -> None:
        self._socket.close()

    def answer(self) -> tuple[int, bytes]:
        received = b""
        try:
            while b"\r\n\r\n" not in received or not self._whole(received):
                data = self._socket.recv(65536)
                if not data:
                    break
                received += data
        except ConnectionResetError:
            pass
        self._socket.close()
        head, _, body = received.partition(b"\r\n\r\n")
        assert head, f"no answer after {self.sent} bytes"
        return int(head.split()[1]), body

    @staticmethod
    def _whole(received: bytes) -> bool:
        head, _, body = received.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return bool(lengths) and len(body) >= int(lengths[0].split(b":")[1])


@pytest.mark.parametrize(("size", "chunked"), [(SIZE, False), (SIZE // 10, True)])
def test_10_gb_body_that_the_app_reads(serving: Machine, size: int, chunked: bool) -> None:
    pids = [serving.server.pid, int(serving.status()["worker_pid"])]
    assert serving.request("POST", "/", b"abc", host="local--misbehaving-body.localhost").body.startswith(b"3 ")
    before = [peak(pid) for pid in pids]
    request = Sending(serving, "/", size=size, chunked=chunked)
    request.send()
    status, text = request.answer()
    assert status == 200, text
    received, memory = map(int, text.split())
    assert received == size
    assert memory < 200 * MIB
    grown = [(peak(pid) - least) / MIB for pid, least in zip(pids, before, strict=True)]
    assert max(grown) < 30, f"server and worker grew by {grown} MiB"


def test_10_gb_body_that_the_app_does_not_read(serving: Machine) -> None:
    """It has its answer early, and the rest is neither kept nor waited for."""
    before = peak(serving.server.pid)
    request = Sending(serving, "/ignored")
    status, text = request.answer()  # before anything is sent
    assert (status, text) == (200, b"not read")
    request = Sending(serving, "/ignored")
    request.send()
    request.close()
    assert request.sent < SIZE
    assert (peak(serving.server.pid) - before) / MIB < 30
    assert serving.request("POST", "/", b"abc", host="local--misbehaving-body.localhost").body.startswith(b"3 ")


@pytest.mark.parametrize("serving", ["1000000000"], indirect=True)
def test_10_gb_body_where_less_is_allowed(serving: Machine) -> None:
    request = Sending(serving, "/")
    status, text = request.answer()  # from its length alone
    assert status == 413
    assert b"1000000000" in text
    before = peak(serving.server.pid)
    request = Sending(serving, "/", chunked=True)
    request.send()
    request.close()
    assert request.sent < SIZE
    assert (peak(serving.server.pid) - before) / MIB < 30
    assert serving.request("POST", "/", b"abc", host="local--misbehaving-body.localhost").body.startswith(b"3 ")
