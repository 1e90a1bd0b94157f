"""Server, worker and containers killed at random while a client calls: no accepted input is lost, none runs too often.

IONIAN_TEST_ROUNDS and IONIAN_TEST_SEED change how often and when; ``python -m tests.chaos`` is the same, longer.
"""

from __future__ import annotations

import os

import pytest

from tests.chaos.rounds import Rounds, main_say
from tests.chaos.verdict import problems, summary
from tests.e2e import leftovers
from tests.e2e.machine import Client, Machine

ROUNDS = int(os.environ.get("IONIAN_TEST_ROUNDS", "40"))
SEED = int(os.environ.get("IONIAN_TEST_SEED", "1"))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("crash_requeue", "rounds"), [("no", ROUNDS), ("yes", ROUNDS // 2)])
def test_everything_killed_at_random(machine: Machine, new_client: Client, crash_requeue: str, rounds: int) -> None:
    machine.environ["IONIAN_CRASH_REQUEUE"] = crash_requeue
    chaos = Rounds(machine, new_client, SEED, main_say)
    chaos.run(rounds)
    print(f"seed {SEED}: {summary(chaos.story, chaos.recorder.starts)}")
    assert not problems(chaos.story, chaos.recorder.starts, machine.config.database, crash_requeue == "yes")
    assert leftovers.find(machine.config) == []
    assert any(kills for what, kills in chaos.story.kills.items() if "server" in what)
    assert chaos.story.again
