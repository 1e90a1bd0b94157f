"""The real client, one process for all servers: orders as JSON lines on stdin, results as JSON lines on stdout.

An order is ``{"do": NAME, "to": SERVER, ...}``. Every value that comes back is checked.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import modal
from modal.client import Client

from bench.calls.raw import Raw

APP, FUNCTION = "bench-calls", "plus_one"


class Side:
    """One server, as the client sees it. ``ready_made``: it gives 42 for everything."""

    def __init__(self, url: str, token: list[str], ready_made: bool) -> None:
        self._client = Client(url, 1, (token[0], token[1]))
        self._client.__enter__()  # type: ignore[no-untyped-call]
        self._ready_made = ready_made
        self.function = modal.Function.from_name(APP, FUNCTION, client=self._client)
        self.function.hydrate()
        self._raw = Raw(url, token, self.function.object_id)
        self._blocker: Any = None
        self._objects: dict[str, Callable[[int], Any]] = {}

    def remote(self, count: int) -> dict[str, Any]:
        """One call after another: microseconds of each."""
        call, took = self.function.remote, []
        for _ in range(count):
            begin = time.perf_counter()
            right = call(41) == 42
            took.append(round((time.perf_counter() - begin) * 1e6, 1))
            if not right:
                raise AssertionError("a wrong result")
        return {"us": took}

    def map(self, count: int) -> dict[str, Any]:
        begin = time.perf_counter()
        results = list(self.function.map(range(count)))
        took = time.perf_counter() - begin
        wanted = [42] * count if self._ready_made else list(range(1, count + 1))
        if results != wanted:
            raise AssertionError(f"wrong results: {len(results)} of {count}, {results[:3]}")
        return {"s": took}

    def spawn(self, count: int, way: str, blocked: bool) -> dict[str, Any]:
        """Until all are accepted. ``blocked``: behind an input that ends only when all are accepted."""
        if blocked and not self._ready_made:
            self.block()
        begin = time.perf_counter()
        if way == "spawn":
            calls = [self.function.spawn(index) for index in range(count)]
        else:
            calls = []
            self.function.spawn_map(range(count))
        took = time.perf_counter() - begin
        if self._blocker is not None:
            self.unblock()
        if not self._ready_made:
            self.remote(1)  # one container, first come first served: everything before it has run
            step = max(1, count // 50)
            if any(call.get(timeout=60) != index + 1 for index, call in list(enumerate(calls))[::step]):
                raise AssertionError("a wrong result of a spawned call")
        return {"s": took}

    def objects(self, what: str, count: int) -> dict[str, Any]:
        """One operation of a dict or a queue after another: microseconds of each."""
        if not self._objects:
            store = modal.Dict.from_name("bench", create_if_missing=True, client=self._client)
            jobs = self._jobs = modal.Queue.from_name("bench", create_if_missing=True, client=self._client)
            self._objects = {
                "Dict.put": lambda index: store.put(index % 100, 42),
                "Dict.get": lambda index: store.get(index % 100),
                "Queue.put": lambda index: jobs.put(42),
                "Queue.get": lambda index: jobs.get(),
            }
            for index in range(100):  # so that there is something to get
                store.put(index, 42)
        act, took = self._objects[what], []
        if what == "Queue.get":
            self._jobs.put_many([42] * count)
        for index in range(count):
            begin = time.perf_counter()
            found = act(index)
            took.append(round((time.perf_counter() - begin) * 1e6, 1))
            if what.endswith("get") and found != 42:
                raise AssertionError(f"a wrong value: {found!r}")
        if what == "Queue.put" and not self._ready_made:
            self._jobs.clear()
        return {"us": took}

    def block(self) -> dict[str, Any]:
        self._blocker = self.function.spawn(-1)
        return {}

    def unblock(self) -> dict[str, Any]:
        self._blocker.cancel()
        self._blocker = None
        return {}

    def drain(self, count: int) -> dict[str, Any]:
        """Let go what queues behind the blocker, and wait for its end."""
        self.unblock()
        return self.raw("drain", count=count)

    def raw(self, what: str, **given: Any) -> dict[str, Any]:
        return self._raw.do(what, **given)


def main() -> None:
    sides: dict[str, Side] = {}
    for line in sys.stdin:
        order = json.loads(line)
        what, name = order.pop("do"), order.pop("to")
        if what == "connect":
            sides[name] = Side(**order)
            result: dict[str, Any] = {}
        else:
            result = getattr(sides[name], what)(**order)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
