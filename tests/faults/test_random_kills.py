"""The server killed at random 200 times during deploys, requests and calls: nothing acknowledged is lost.

IONIAN_TEST_KILLS and IONIAN_TEST_SEED change how often and when.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e import leftovers
from tests.e2e.machine import Client, Machine, until
from tests.faults.conftest import FAULTY, python_of

KILLS = int(os.environ.get("IONIAN_TEST_KILLS", "200"))
SEED = int(os.environ.get("IONIAN_TEST_SEED", "1"))
LONGEST_LIFE_S = 0.9  # of a server, from when it is ready until it is killed
_SPAWN = """
import sys, modal
square = modal.Function.from_name("counted", "square")
for number in map(int, sys.stdin):
    try:
        print("ACCEPTED", number, square.spawn(number).object_id, flush=True)
    except Exception as error:
        print("REFUSED", number, type(error).__name__, error, flush=True)
"""
_COLLECT = """
import json, sys, modal
for call_id in json.loads(sys.stdin.read()):
    try:
        print(call_id, modal.FunctionCall.from_id(call_id).get(timeout=60), flush=True)
    except Exception as error:
        print(call_id, type(error).__name__, error, flush=True)
"""


@dataclass
class Story:
    """What happened, as it was seen from outside."""

    begun: int = 0  # the newest version whose deploy was begun
    acknowledged: list[int] = field(default_factory=list)  # versions whose deploy ended well
    refused: list[str] = field(default_factory=list)  # deploys that ended in an error: what was said
    down: list[tuple[float, float]] = field(default_factory=list)  # from a kill until the next server was ready
    answers: int = 0
    errors: int = 0
    wrong: list[str] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)  # accepted calls, and what they were given
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def newest(self) -> int:
        return max(self.acknowledged, default=0)

    def was_down(self, begin: float, end: float) -> bool:
        return any(start <= end and begin <= stop for start, stop in [*self.down])


def _deploys(machine: Machine, client: Client, directory: Path, story: Story) -> None:
    source = (FAULTY / "counted.py").read_text()
    while not story.over.is_set():
        version = story.begun + 1
        (directory / "app.py").write_text(source.replace("VERSION = 0", f"VERSION = {version}"))
        story.begun = version
        process = machine.spawn_modal(client, "deploy", "app.py", cwd=directory)
        said, _ = process.communicate(timeout=240)
        if process.returncode == 0:
            story.acknowledged.append(version)
        else:
            story.refused.append(said)


def _requests(machine: Machine, port: int, story: Story) -> None:
    import http.client

    while not story.over.is_set():
        least, begin = story.newest, time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", "/", headers={"host": f"local--counted-answer.localhost:{port}"})
            response = connection.getresponse()
            status, body = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            status, body = 599, repr(error).encode()
        finally:
            connection.close()
        if status == 200:
            story.answers += 1
            if not body.isdigit() or not least <= int(body) <= story.begun:
                story.wrong.append(f"answered {body!r}, not a version from {least} to {story.begun}")
        else:
            story.errors += 1
            if status < 500 or not story.was_down(begin, time.monotonic()):
                story.wrong.append(f"status {status} while the server was up: {body!r}")
            time.sleep(0.01)


def _spawns(process: subprocess.Popen[str], story: Story) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    for number in range(100_000):
        if story.over.is_set():
            break
        process.stdin.write(f"{number}\n")
        process.stdin.flush()
        word, value, *rest = process.stdout.readline().split()
        if word == "ACCEPTED":
            story.calls[rest[0]] = int(value)
        time.sleep(0.1)
    process.stdin.close()


def _kill_and_start(machine: Machine, port: int, chance: random.Random, story: Story) -> None:
    for _ in range(KILLS):
        time.sleep(chance.uniform(0, LONGEST_LIFE_S))  # the moment of the kill is the test's input
        server = machine.server
        begin = time.monotonic()
        story.down.append((begin, float("inf")))
        os.kill(server.pid, signal.SIGKILL)
        machine.cli("up", "--detach", "--port", str(port))
        story.down[-1] = (begin, time.monotonic())


@pytest.mark.timeout(1200)
def test_the_server_killed_at_random_during_deploys_and_requests(
    machine: Machine, new_client: Client, tmp_path: Path
) -> None:
    machine.up()
    port, story = machine.server.port, Story()
    machine.modal(new_client, "deploy", "counted.py", cwd=FAULTY)
    story.acknowledged.append(0)
    assert machine.get("counted", "answer").body == b"0"
    spawner = subprocess.Popen(
        python_of(machine, new_client, "-c", _SPAWN),
        env=machine.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    threads = [
        threading.Thread(target=_deploys, args=(machine, new_client, tmp_path, story)),
        threading.Thread(target=_requests, args=(machine, port, story)),
        threading.Thread(target=_spawns, args=(spawner, story)),
    ]
    for thread in threads:
        thread.start()
    try:
        _kill_and_start(machine, port, random.Random(SEED), story)
    finally:
        story.over.set()
        for thread in threads:
            thread.join()
        spawner.wait(60)
        if spawner.stdout is not None:
            spawner.stdout.close()
    print(
        f"{KILLS} kills, seed {SEED}: {len(story.acknowledged)} deploys, {len(story.refused)} refused; "
        f"{story.answers} answers, {story.errors} errors; {len(story.calls)} calls"
    )
    assert not story.wrong, story.wrong[:5]
    assert story.answers
    assert len(story.acknowledged) > 1, story.refused[:1]
    for said in story.refused:
        assert "Traceback" not in said or "ConnectionError" in said, said
    _calls_have_ended_well(machine, new_client, story)
    machine.down()
    assert leftovers.find(machine.config) == []
    machine.up()
    until(lambda: machine.get("counted", "answer").status == 200, "the app to answer")
    assert story.newest <= int(machine.get("counted", "answer").body) <= story.begun


def _calls_have_ended_well(machine: Machine, client: Client, story: Story) -> None:
    assert story.calls
    collector = subprocess.run(
        python_of(machine, client, "-c", _COLLECT),
        env=machine.environ,
        input=json.dumps(list(story.calls)),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        timeout=240,
    )
    results = dict(line.split(" ", 1) for line in collector.stdout.splitlines())
    lost = {
        call_id: results.get(call_id)
        for call_id, number in story.calls.items()
        if results.get(call_id) != str(number * number)
    }
    assert not lost
