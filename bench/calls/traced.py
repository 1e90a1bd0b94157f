"""Our server with clocks around its parts: ``python -m bench.calls.traced HOME FIGURES [cprofile]``.

SIGUSR1 begins a count, SIGUSR2 ends it and writes what was counted as JSON. Nothing of this is in the product.
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import os
import pstats
import signal
import sqlite3
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ionian import config, server
from ionian.api.guard import Guard
from ionian.dispatch.calls import Calls
from ionian.dispatch.links import ControlLink
from ionian.runner import frames
from ionian.state.database import SqliteDatabase

now = time.perf_counter


class Trace:
    """``spans``: seconds by name. ``marks``: when each input passed where."""

    def __init__(self) -> None:
        self.on = False
        self.spans: defaultdict[str, list[float]] = defaultdict(list)
        self.marks: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self.profile: cProfile.Profile | None = None

    def add(self, name: str, began: float) -> None:
        if self.on:
            self.spans[name].append(now() - began)

    def mark(self, input_id: str, name: str) -> None:
        if self.on:
            self.marks[input_id].setdefault(name, now())

    def begin(self) -> None:
        self.spans.clear()
        self.marks.clear()
        self.on = True
        if self.profile is not None:
            self.profile.enable()

    def end(self, path: Path) -> None:
        self.on = False
        ways = (("mapped", "sent"), ("sent", "output"), ("output", "answered"))
        legs = defaultdict(list)
        for marks in self.marks.values():
            for one, other in ways:
                if one in marks and other in marks:
                    legs[f"{one} -> {other}"].append(marks[other] - marks[one])
        told: dict[str, Any] = {"spans": _summed(self.spans), "legs": _summed(legs)}
        if self.profile is not None:
            self.profile.disable()
            told["functions"] = _functions(self.profile)
        path.with_suffix(".new").write_text(json.dumps(told))
        path.with_suffix(".new").replace(path)


def _summed(spans: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    return {
        name: {"n": len(took), "p50_us": statistics.median(took) * 1e6, "sum_ms": sum(took) * 1e3}
        for name, took in spans.items()
    }


def _functions(profile: cProfile.Profile) -> list[dict[str, Any]]:
    """The functions in which most time was spent, by their own time."""
    rows: Any = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    found = [
        {"where": f"{Path(file).parent.name}/{Path(file).name}:{line}", "name": name, "n": n, "own": own, "all": total}
        for (file, line, name), (_, n, own, total, _) in rows.items()
    ]
    return sorted(found, key=lambda row: -row["own"])[:60]


def install(trace: Trace) -> None:
    """Put the clocks in."""
    _clock_rpcs(trace)
    _clock_sqlite(trace)
    _clock_statements(trace)
    _mark_calls(trace)


def _clock_rpcs(trace: Trace) -> None:
    unary, admit = Guard.unary, Guard._admit

    def timed_unary(self: Guard, name: str, function: Any) -> Any:
        async def timed(context: Any, request: Any) -> Any:
            began = now()
            response = await function(context, request)
            trace.add(f"rpc {name}: its function", began)
            for item in getattr(response, "pipelined_inputs", ()):
                trace.marks[item.input_id]["mapped"] = began
            if name == "FunctionGetOutputs":
                for item in response.outputs:
                    trace.mark(item.input_id, "answered")
            return response

        handle = unary(self, name, timed)

        async def whole(stream: Any) -> None:
            began = now()
            await handle(stream)
            trace.add(f"rpc {name}: all of its handler", began)

        return whole

    async def timed_admit(self: Guard, name: str, stream: Any) -> Any:
        began = now()
        context = await admit(self, name, stream)
        trace.add("guard: admit", began)
        return context

    Guard.unary = timed_unary  # type: ignore[method-assign]
    Guard._admit = timed_admit  # type: ignore[method-assign]


def _clock_sqlite(trace: Trace) -> None:
    for kind in ("read", "write"):
        original: Callable[..., Any] = getattr(SqliteDatabase, kind)

        def timed(kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
            async def run(self: SqliteDatabase, function: Any, *args: Any, **kwargs: Any) -> Any:
                began = now()
                try:
                    return await original(self, function, *args, **kwargs)
                finally:
                    label = getattr(function, "__qualname__", "?").replace(".<locals>", "")
                    trace.add(f"sqlite {kind} {function.__module__.removeprefix('ionian.')}.{label}", began)

            return run

        setattr(SqliteDatabase, kind, timed(kind, original))


def _clock_statements(trace: Trace) -> None:
    class Clocked(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            began = now()
            try:
                return super().execute(sql, parameters)
            finally:
                trace.add(f"statement {' '.join(sql.split())[:70]}", began)

    connect = sqlite3.connect
    sqlite3.connect = lambda *args, **kwargs: connect(*args, factory=Clocked, **kwargs)  # type: ignore[assignment]


def _mark_calls(trace: Trace) -> None:
    send, output = ControlLink.send, Calls.output

    def marked_send(self: ControlLink, kind: int, header: dict[str, Any], payload: bytes = b"") -> None:
        send(self, kind, header, payload)
        for one in header.get("inputs", [header]):
            if kind in (frames.INPUT, frames.BATCH):
                trace.mark(one["id"], "sent")

    def marked_output(
        self: Calls, container_id: str, header: dict[str, Any], payload: bytes, link: ControlLink
    ) -> None:
        trace.mark(header["id"], "output")
        output(self, container_id, header, payload, link)

    ControlLink.send, Calls.output = marked_send, marked_output  # type: ignore[method-assign]


def main() -> int:
    home, told = sys.argv[1], Path(sys.argv[2])
    trace = Trace()
    if "cprofile" in sys.argv[3:]:
        trace.profile = cProfile.Profile()
    else:
        install(trace)

    def ready() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, trace.begin)
        loop.add_signal_handler(signal.SIGUSR2, trace.end, told)

    made = config.load({"home": home, "port": 0}, os.environ)
    return server.serve(made, ready)


if __name__ == "__main__":
    sys.exit(main())
