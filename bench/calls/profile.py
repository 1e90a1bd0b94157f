"""Where a warm ``.remote()`` spends its time: clocks and a profile in the server, wake-ups, samples of a container."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.calls import processes
from bench.calls.rounds import per_call, quantile, told_used
from bench.calls.sides import PLACE, ROOT, Bench, Side, bench, deployed, ionian

WAIT_S = 60.0


def main(quick: bool) -> int:
    """Two runs, since a profiler bends what clocks say. Prints; the raw figures lie beside those of the bench."""
    count = 200 if quick else 2000
    figures: dict[str, Any] = {"load": os.getloadavg(), "count": count}
    for way in ("clocks", "cprofile"):
        with _traced(way) as (side, told), bench(["floor"], [side]) as made:
            made.ask("remote", side.name, count=100)
            os.kill(side.server, signal.SIGUSR1)
            block = made.ask("remote", side.name, count=count)
            os.kill(side.server, signal.SIGUSR2)
            _await(told.exists)
            figures[way] = {**json.loads(told.read_text()), "block": block}
            if way == "clocks":
                figures["floor"] = made.ask("remote", "floor", count=count)
                figures["container"] = _container(made, side, count)
    _print(figures, count)
    (PLACE / "profile.json").write_text(json.dumps(figures))
    return 0


@contextlib.contextmanager
def _traced(way: str) -> Iterator[tuple[Side, Path]]:
    """Our server with clocks in it, on the home of the bench."""
    home, told = PLACE / "own", PLACE / f"{way}.json"
    told.unlink(missing_ok=True)
    command = [sys.executable, "-m", "bench.calls.traced", str(home), str(told), way]
    log = open(PLACE / "traced.log", "w")  # noqa: SIM115 - lives as long as the process
    process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        _await(lambda: _serves(home, process.pid))
        yield deployed("traced", home, json.loads(ionian(home, "status", "--json"))), told
    finally:
        process.terminate()
        process.wait()
        log.close()


def _serves(home: Path, pid: int) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return bool(json.loads((home / "run" / "server.json").read_text())["pid"] == pid)
    return False


def _await(done: Any) -> None:
    until = time.monotonic() + WAIT_S
    while not done():
        if time.monotonic() > until:
            raise SystemExit("the traced server does not answer; see .bench/calls/traced.log")
        time.sleep(0.02)


def _container(made: Bench, side: Side, count: int) -> list[str]:
    """The functions of the runner in which most samples fell, when py-spy is installed."""
    with contextlib.suppress(FileNotFoundError):
        pid = processes.busiest(side.worker, lambda: made.ask("remote", side.name, count=50))
        raw = PLACE / "container.raw"
        command = ["py-spy", "record", "-p", str(pid), "-d", "20", "-r", "500", "-f", "raw", "-o", str(raw), "-t"]
        spy = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while spy.poll() is None:
            made.ask("remote", side.name, count=count // 10)
        return _leaves(raw) if raw.exists() else []
    return ["(py-spy is not installed: no profile of the container)"]


def _leaves(raw: Path) -> list[str]:
    counts: dict[str, int] = {}
    for line in raw.read_text().splitlines():
        stack, _, n = line.rpartition(" ")
        for frame in set(stack.split(";")):
            counts[frame] = counts.get(frame, 0) + int(n)
    total = sum(int(line.rpartition(" ")[2]) for line in raw.read_text().splitlines()) or 1
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])[:30]
    return [f"{n / total * 100:5.1f}%  {frame}" for frame, n in ordered]


def _print(figures: dict[str, Any], count: int) -> None:
    clocks = figures["clocks"]
    floor, own = figures["floor"], clocks["block"]
    print(f"\n# a warm .remote() in parts, {count} calls; load average {figures['load'][0]:.1f}")
    print(f"  floor  p50 {quantile(floor['us'], 0.5):.0f} us   CPU per call: {told_used(per_call([floor], count))}")
    print(f"  traced p50 {quantile(own['us'], 0.5):.0f} us   CPU per call: {told_used(per_call([own], count))}")
    print("\n way of an input through the server (p50)")
    for name, span in clocks["legs"].items():
        print(f"  {span['p50_us']:7.0f} us  {name}")
    print("\n clocks in the server: times per call, p50 of each, microseconds per call in all")
    for name, span in sorted(clocks["spans"].items(), key=lambda pair: -pair[1]["sum_ms"]):
        print(f"  {span['n'] / count:5.2f} x {span['p50_us']:7.0f} us {span['sum_ms'] / count * 1e3:7.0f} us  {name}")
    print("\n functions of the server under cProfile: microseconds per call, times, microseconds with what it calls")
    for row in figures["cprofile"]["functions"][:40]:
        own_us, all_us = row["own"] / count * 1e6, row["all"] / count * 1e6
        print(f"  {own_us:6.1f}  {row['n'] / count:6.1f} x  {all_us:7.1f}  {row['where']} {row['name']}")
    print("\n the container, samples that passed each function")
    print("\n".join(f"  {line}" for line in figures["container"]))
