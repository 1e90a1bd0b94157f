"""``python -m bench objects``: single operations of a dict and a queue, over a server that keeps nothing.

The sides, rounds and rules are those of ``bench calls``: trust only ratios of one run, and only as far as the control
(a second floor) stays near 1.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from bench.calls.measures import FLOORS
from bench.calls.rounds import conclude, interleave, per_call, quantile, ratios, told, told_used
from bench.calls.sides import PLACE, Bench, bench

OPERATIONS = ("Dict.put", "Dict.get", "Queue.put", "Queue.get")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench objects", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that it works, measures little")
    parser.add_argument("--rounds", type=int, default=0, help="interleaved rounds (default 40)")
    parser.add_argument("--json", default=str(PLACE / "objects.json"), help="where the raw figures go")
    options = parser.parse_args(arguments)
    PLACE.mkdir(parents=True, exist_ok=True)
    rounds = options.rounds or (4 if options.quick else 40)
    figures: dict[str, Any] = {"began": time.time(), "load_before": os.getloadavg(), "options": vars(options)}
    with bench([*FLOORS, "own"]) as made:
        for operation in OPERATIONS:
            figures[operation] = _measure(made, operation, rounds, 50)
    conclude(figures, options.json)
    return 0


def _measure(made: Bench, operation: str, rounds: int, count: int) -> dict[str, Any]:
    """One operation after another, in small blocks."""
    names = [*FLOORS, "own"]
    for name in names:
        made.ask("objects", name, what=operation, count=count)  # connections, caches
    blocks = interleave(names, rounds, lambda name: made.ask("objects", name, what=operation, count=count))
    p50 = ratios(blocks, lambda block: quantile(block["us"], 0.5), "floor")
    print(f"\n# {operation}, {rounds} rounds of {count}; p50 over the floor's")
    for name in names:
        every = [us for block in blocks[name] for us in block["us"]]
        print(
            f"{told(name, p50[name], 'floor')}   p50 {quantile(every, 0.5):.0f} us   p99 {quantile(every, 0.99):.0f} us"
        )
        print(f"           CPU each: {told_used(per_call(blocks[name], count))}")
    return {"p50": p50, "per_call": {name: per_call(blocks[name], count) for name in names}, "blocks": blocks}
