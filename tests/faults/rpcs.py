"""A way to the server that counts the RPCs which have been answered, and acts when it is the turn of one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_PREFACE = b"PRI * HTTP/2.0"
_HEADERS, _END_STREAM = 0x1, 0x1


class Counter:
    """``reached`` is called once, when RPC number ``stop_at`` was answered; that answer goes nowhere."""

    def __init__(self, target: tuple[str, int], stop_at: int, reached: Callable[[], None]) -> None:
        self.answered = 0
        self._target = target
        self._stop_at = stop_at
        self._reached = reached
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            first = client.recv(65536)
            server = socket.create_connection(self._target)
            self._sockets.append(server)
            self._start(self._answers if first.startswith(_PREFACE) else _copy, server, client)
            server.sendall(first)
            _copy(client, server)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        """Frames of HTTP/2 on their way back: trailers end an RPC."""
        with suppress(OSError), server.makefile("rb") as frames:
            while len(head := frames.read(9)) == 9:
                payload = frames.read(int.from_bytes(head[:3], "big"))
                if head[3] == _HEADERS and head[4] & _END_STREAM and self._is_the_one():
                    return
                client.sendall(head + payload)
        _shut(client)

    def _is_the_one(self) -> bool:
        with self._lock:
            self.answered += 1
            found = self.answered == self._stop_at
        if found:
            self._reached()
        return found

    def close(self) -> None:
        _shut(self._listener)
        self._listener.close()
        for each in self._sockets:
            _shut(each)
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    _shut(target)


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


@contextmanager
def counting(port: int, stop_at: int, reached: Callable[[], None]) -> Iterator[Counter]:
    made = Counter(("127.0.0.1", port), stop_at, reached)
    try:
        yield made
    finally:
        made.close()
