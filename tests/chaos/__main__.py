"""``python -m tests.chaos --rounds N --seed S``: the long run. Prints what it did; exit code 1 when a promise broke."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.rounds import Rounds, main_say
from tests.chaos.verdict import problems, summary
from tests.e2e import leftovers
from tests.e2e.conftest import NEW, install
from tests.e2e.machine import Client, Machine


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no round after that")
    parser.add_argument("--crash-requeue", choices=("yes", "no"), default="no")
    parser.add_argument("--client", type=Path, help=f"an environment with modal {NEW} (default: a new one)")
    parser.add_argument("--keep", type=Path, help="a new directory for the home, kept for a look afterwards")
    given = parser.parse_args()
    if given.keep:
        return run(given, given.keep)
    with tempfile.TemporaryDirectory(prefix="ionian-chaos-") as place:
        return run(given, Path(place))


def run(given: argparse.Namespace, place: Path) -> int:
    cache = place / "uv" / "uv-cache"
    cache.mkdir(parents=True)
    client = Client(NEW, given.client) if given.client else install(NEW, cache, place / "venv")
    home = place / "home"
    home.mkdir()
    (home / "uv-cache").symlink_to(cache)
    machine = Machine(home, place / "user")
    machine.environ["IONIAN_CRASH_REQUEUE"] = given.crash_requeue
    rounds = Rounds(machine, client, given.seed, main_say)
    begin = time.monotonic()
    try:
        rounds.run(given.rounds, given.minutes * 60)
    finally:
        machine.close()
        told = summary(rounds.story, rounds.recorder.starts)
        print(f"seed {given.seed}, crash_requeue {given.crash_requeue}: in {time.monotonic() - begin:.0f} s, {told}")
    wrong = problems(rounds.story, rounds.recorder.starts, machine.config.database, given.crash_requeue == "yes")
    wrong += leftovers.find(machine.config)
    print("\n".join([f"{len(wrong)} broken promises", *wrong]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
