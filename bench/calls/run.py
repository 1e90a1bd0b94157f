"""``python -m bench calls``: every measure in one run; lines for a reader, and all raw figures as JSON.

Trust only ratios of one run, and only as far as the control (a second floor) stays near 1.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from bench.calls import measures
from bench.calls.rounds import conclude
from bench.calls.sides import PLACE, Bench, bench

MEASURES = ("remote", "map", "spawn", "queue")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench calls", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few inputs: shows that it works, in about a minute")
    parser.add_argument("--part", type=float, default=1.0, help="this part of the inputs of a full run")
    parser.add_argument("--only", help=f"some of {','.join(MEASURES)}", default=",".join(MEASURES))
    parser.add_argument("--rounds", type=int, default=0, help="interleaved rounds (default 5; 40 of single calls)")
    parser.add_argument("--profile", action="store_true", help="where a warm .remote() spends its time, instead")
    parser.add_argument("--json", default=str(PLACE / "figures.json"), help="where the raw figures go")
    options = parser.parse_args(arguments)
    PLACE.mkdir(parents=True, exist_ok=True)
    if options.profile:
        from bench.calls import profile

        return profile.main(options.quick)
    wanted = options.only.split(",")
    names = [*measures.FLOORS, "own", *(["stock"] if "map" in wanted else [])]
    figures: dict[str, Any] = {"began": time.time(), "load_before": os.getloadavg(), "options": vars(options)}
    with bench(names) as made:
        for name in wanted:
            part = 0.03 if options.quick else options.part
            figures[name] = _measure(name, made, part, options.rounds or (5 if options.quick else 0))
        if "remote" in wanted and len(wanted) > 1:
            print("\n# once more, with the calls of everything above in the journal", end="")
            figures["remote_again"] = _measure("remote", made, 1.0, options.rounds or (5 if options.quick else 0))
    conclude(figures, options.json)
    return 0


def _measure(name: str, made: Bench, part: float, rounds: int) -> dict[str, Any]:
    few = max(5, rounds)
    if name == "remote":
        return measures.remote(made, rounds or 40, 50)
    if name == "map":
        return measures.map_(made, few, int(10_000 * part))
    if name == "spawn":
        return measures.spawn(made, few, int(10_000 * part))
    if name == "queue":
        return measures.queue(made, int(100_000 * part))
    raise SystemExit(f"no measure is called {name!r}: {', '.join(MEASURES)}")
