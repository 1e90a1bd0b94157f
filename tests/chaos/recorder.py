"""Who is told that an input has begun. It lives in the test, and outlives everything that is killed."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Start:
    """One start of user code for an input. ``at``: seconds, monotonic."""

    at: float
    input_id: str
    container_id: str


class Recorder:
    """Starts by token. A start is noted before the function is told to go on."""

    def __init__(self) -> None:
        self.starts: dict[str, list[Start]] = defaultdict(list)
        self._lock = threading.Lock()

    def note(self, token: str, start: Start) -> int:
        """Which start of this token it is, from 1."""
        with self._lock:
            self.starts[token].append(start)
            return len(self.starts[token])


@contextmanager
def listening(recorder: Recorder) -> Iterator[int]:
    """The recorder's port on loopback."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            try:
                told = json.loads(self.rfile.readline() or b"{}")
                if told:  # empty: it was killed before it could say anything
                    start = Start(time.monotonic(), told["input"], told["container"])
                    self.wfile.write(b"%d\n" % recorder.note(told["token"], start))
            except (ConnectionError, ValueError):
                pass  # killed while it spoke

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
