"""Where user code waits until the test lets it go: proves what overlaps and what does not, without any timing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WAIT_S = 60


class Gate:
    """Who waits now (one entry per request: the container's boot name), and who ever did."""

    def __init__(self) -> None:
        self.url = ""
        self.inside: list[str] = []
        self.peak = 0
        self.peak_of_one = 0  # most requests that one container held at once
        self._changed = threading.Condition()
        self._open = False

    def hold(self, boot: str) -> None:
        with self._changed:
            self.inside.append(boot)
            self.peak = max(self.peak, len(self.inside))
            self.peak_of_one = max(self.peak_of_one, self.inside.count(boot))
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._open, WAIT_S)
            self.inside.remove(boot)
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[list[str]], bool], what: str) -> None:
        with self._changed:
            held = self._changed.wait_for(lambda: condition(self.inside), WAIT_S)
            assert held, f"waited {WAIT_S} s for: {what}; inside: {self.inside}"

    def release(self) -> None:
        with self._changed:
            self._open = True
            self._changed.notify_all()


@contextmanager
def gate() -> Iterator[Gate]:
    """A gate on a loopback port."""
    made = Gate()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.hold(self.path.strip("/"))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        made.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield made
        finally:
            made.release()
            http.shutdown()
            thread.join()
