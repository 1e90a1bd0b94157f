"""What is measured: a warm call, a map, spawned calls, a long queue. Each prints lines and returns all raw figures."""

from __future__ import annotations

import statistics
from typing import Any

from bench.calls import processes
from bench.calls.rounds import interleave, per_call, quantile, ratios, told, told_used
from bench.calls.sides import Bench

FLOORS = ["floor", "control"]


def remote(bench: Bench, rounds: int, count: int) -> dict[str, Any]:
    """Warm ``.remote()``, one after another, in small blocks."""
    names = [*FLOORS, "own"]
    blocks = interleave(names, rounds, lambda name: bench.ask("remote", name, count=count))
    p50 = ratios(blocks, lambda block: quantile(block["us"], 0.5), "floor")
    every = {name: [us for block in group for us in block["us"]] for name, group in blocks.items()}
    print(f"\n# warm .remote(), {rounds} rounds of {count} calls; p50 over the floor's, aim at most 1.3")
    for name in names:
        p99 = quantile(every[name], 0.99) / quantile(every["floor"], 0.99)
        print(
            f"{told(name, p50[name], 'floor')}   p50 {quantile(every[name], 0.5):.0f} us"
            f"   p99 {quantile(every[name], 0.99):.0f} us ({p99:.2f} x floor)"
        )
        print(f"           CPU per call: {told_used(per_call(blocks[name], count))}")
    return {"p50": p50, "per_call": {name: per_call(blocks[name], count) for name in names}, "blocks": blocks}


def map_(bench: Bench, rounds: int, count: int) -> dict[str, Any]:
    """``.map`` of trivial inputs, beside the client's own entrypoint in the same server, and beside the floor."""
    names = [*FLOORS, "own", "stock"]
    blocks = interleave(names, rounds, lambda name: bench.ask("map", name, count=count))
    found = {over: ratios(blocks, lambda block: count / block["s"], over) for over in ("stock", "floor")}
    print(f"\n# .map over {count} inputs, {rounds} rounds; inputs/s over the stock runner's, aim at least 6")
    for name in names:
        rate = statistics.median(count / block["s"] for block in blocks[name])
        print(
            f"{told(name, found['stock'][name], 'stock')}   {told('', found['floor'][name], 'floor').strip()}"
            f"   {rate:.0f} inputs/s"
        )
        print(f"           CPU per input: {told_used(per_call(blocks[name], count))}")
    return {
        "ratios": found,
        "per_input": {name: per_call(blocks[name], count) for name in names},
        "blocks": blocks,
        "drain": _drained(bench, rounds, count),
    }


def _drained(bench: Bench, rounds: int, count: int) -> dict[str, Any]:
    """The same inputs, queued before they run and not fetched: the client takes no part, so it does not bound them."""

    def block(name: str) -> dict[str, Any]:
        bench.ask("block", name)
        bench.ask("raw", name, what="fill", count=count)
        return bench.ask("drain", name, count=count)

    blocks = interleave(["own", "stock"], rounds, block)
    found = ratios(blocks, lambda drained: count / drained["s"], "stock")
    print(" the same inputs queued first and not fetched, so that the client does not bound them")
    for name, group in blocks.items():
        rate = statistics.median(count / drained["s"] for drained in group)
        print(f"{told(name, found[name], 'stock')}   {rate:.0f} inputs/s")
        print(f"           CPU per input: {told_used(per_call(group, count))}")
    return {"ratios": found, "blocks": blocks}


def spawn(bench: Bench, rounds: int, count: int) -> dict[str, Any]:
    """Spawned calls until all are accepted: one after another and 256 at once, while they run and while none does."""
    result: dict[str, Any] = {}
    names = [*FLOORS, "own"]
    print(f"\n# {count} spawned calls, {rounds} rounds; accepted/s over what the client can send the floor, aim 0.8")
    for way in ("spawn", "spawn_map"):
        for blocked in (True, False):
            share = max(10, count // rounds)
            blocks = interleave(
                names,
                rounds,
                lambda name, way=way, blocked=blocked, share=share: bench.ask(  # type: ignore[misc]
                    "spawn", name, count=share, way=way, blocked=blocked
                ),
            )
            found = ratios(blocks, lambda block, share=share: share / block["s"], "floor")  # type: ignore[misc]
            label = f"{way}, {'queued behind a busy container' if blocked else 'running at the same time'}"
            print(f" {label}")
            for name in names:
                rate = statistics.median(share / block["s"] for block in blocks[name])
                print(f"{told(name, found[name], 'floor')}   {rate:.0f}/s")
            result[label] = {"ratios": found, "blocks": blocks}
    return result


def queue(bench: Bench, count: int, times: int = 20) -> dict[str, Any]:
    """A long queue: memory of the server per input, and how long listing, cancelling and draining take."""
    print(f"\n# {count} queued inputs of one call behind a busy container; aim under 1024 bytes each in the server")
    result: dict[str, Any] = {"rounds": []}
    server = bench.sides["own"].server
    _one_queue(bench, max(100, count // 100), times, "drain")  # imports, caches, the allocator's first arenas
    few = _one_queue(bench, 1, times, "cancel")
    for end in ("cancel", "drain"):
        before = processes.memory(server)
        many = _one_queue(bench, count, times, end)
        grown = {kind: (many["memory"][kind] - before[kind]) / count for kind in before}
        result["rounds"].append({"way": end, "before": before, "bytes_per_input": grown, **many})
        print(f"  server grew by {grown['rss']:.0f} bytes per queued input ({grown['anon']:.0f} without files)")
        for kind in ("info", "stats"):
            long, short = statistics.median(many["list"][kind]), statistics.median(few["list"][kind])
            print(f"  to list ({kind}): {long / 1e3:.1f} ms, {long / short:.1f} x that of one queued input")
        print(
            f"  accepted in {many['fill']['s']:.2f} s; to {end} all: {many['end']['s']:.2f} s, "
            f"{many['end']['s'] / many['fill']['s']:.2f} x the time to accept them, {count / many['end']['s']:.0f}/s"
        )
    result["few"] = few
    return result


def _one_queue(bench: Bench, count: int, times: int, end: str) -> dict[str, Any]:
    bench.ask("block", "own")
    filled = bench.ask("raw", "own", what="fill", count=count)
    memory = processes.memory(bench.sides["own"].server)
    listed = bench.ask("raw", "own", what="list", queued=count, times=times)
    if end == "cancel":
        ended = bench.ask("raw", "own", what="cancel")
        bench.ask("unblock", "own")
    else:
        ended = bench.ask("drain", "own", count=count)
    bench.ask("remote", "own", count=1)
    return {"count": count, "fill": filled, "memory": memory, "list": listed, "end": ended}
