"""Rounds: a real client calls all the time; server, worker or a container is killed, and everything comes back."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ionian.commands import running
from tests.chaos.recorder import Recorder, listening
from tests.chaos.story import Caller, Story
from tests.chaos.wire import Wire, wire
from tests.e2e.machine import Client, Machine, until

APPS = Path(__file__).parent / "apps"
CALLERS = 8
KINDS = {
    "server": 30,
    "worker": 20,
    "program": 25,
    "init": 10,
    "server and worker": 8,
    "server twice": 4,
    "worker twice": 3,
    "worker of a starting server": 5,
    "answer": 5,
    "answer with a call's id": 15,
}
LONGEST_PAUSE_S = 0.8  # before a kill
START_S = 60.0
DRAIN_S = 400.0


class Rounds:
    """One home, one caller, one seed. ``say`` is told how it goes."""

    def __init__(self, machine: Machine, client: Client, seed: int, say: Callable[[str], None]) -> None:
        self.machine = machine
        self.story = Story()
        self.recorder = Recorder()
        self._client = client
        self._seed = seed
        self._say = say
        self._chance = random.Random(seed)
        self._port = 0
        self._wire: Wire
        self._server: subprocess.Popen[bytes]
        self._log = machine.home / "up.log"

    def run(self, rounds: int, most_s: float = float("inf")) -> None:
        """All rounds, or those that fit into the time; then drain, restart, ask once more, and stop."""
        end = time.monotonic() + most_s
        self._up()
        self._port = self.machine.server.port
        with listening(self.recorder) as port, wire(self._port) as self._wire:
            caller = Caller(self._call(port), self.story)
            try:
                caller.wait("deployed", START_S)
                until(lambda: len(self.story.results) > CALLERS, "the first results")
                for number in range(rounds):
                    if time.monotonic() < end:
                        self._round(number)
                self._say("drain")
                caller.tell("stop", DRAIN_S)
                self.machine.down()
                self._server.wait(START_S)
                self._up()
                self._say("again")
                caller.tell("again", DRAIN_S)
            finally:
                caller.close()
        self.machine.down()
        self._server.wait(START_S)

    def _call(self, port: int) -> subprocess.Popen[str]:
        arguments = [str(APPS / "caller.py"), str(self._seed), str(port), str(CALLERS)]
        python = str(self._client.prefix / "bin" / "python")
        environ = {**self.machine.environ, **self.machine.variables()}
        environ["MODAL_SERVER_URL"] = f"http://127.0.0.1:{self._wire.port}"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with open(self.machine.home / "caller.log", "ab") as errors:
            return subprocess.Popen([python, *arguments], env=environ, stderr=errors, encoding="utf-8", **pipes)  # type: ignore[call-overload,no-any-return]

    def _up(self) -> None:
        """``ionian up`` in the foreground: one process less to start than with --detach."""
        with open(self._log, "ab") as log:
            command = [self.machine.python, "-m", "ionian", "up", "--port", str(self._port)]
            command += ["--home", str(self.machine.home)]
            self._server = subprocess.Popen(command, env=self.machine.environ, stdout=log, stderr=log)
        found = self._server

        def ready() -> bool:
            assert found.poll() is None, f"`ionian up` ended with {found.returncode}: {self._log.read_text()[-3000:]}"
            server = running.find(self.machine.config)
            return server is not None and server.pid == found.pid

        until(ready, "the server to be ready", START_S)

    # -- one round

    def _round(self, number: int) -> None:
        time.sleep(self._chance.uniform(0, LONGEST_PAUSE_S))  # the moment of the kill is the test's input
        until(lambda: self.story.open > 1, "calls to be on their way")
        kind = self._chance.choices(list(KINDS), list(KINDS.values()))[0]
        results = len(self.story.results)
        self.story.in_flight.append(self.story.open)
        if kind.startswith("answer"):
            lost = self._wire.lost
            self._wire.lose(b"" if kind == "answer" else b"fc-")
            until(lambda: self._wire.lost > lost, "an answer to be lost")
        elif kind in ("program", "init"):
            kind = self._kill_container(kind)
        else:
            self._kill_processes(kind)
        self.story.kills[kind] += 1
        self._say(f"{number} {kind}, {self.story.in_flight[-1]} inputs on their way")
        until(lambda: len(self.story.results) > results, f"a result after a kill of {kind} in round {number}", START_S)

    def _kill_processes(self, kind: str) -> None:
        worker = _worker(self.machine)
        if kind == "worker of a starting server":
            delay = self._chance.uniform(0.2, 1.2)
            threading.Timer(delay, lambda: os.kill(worker, signal.SIGKILL)).start()
        elif "worker" in kind:
            os.kill(worker, signal.SIGKILL)
        if "server" in kind:
            self._kill_server()
        if kind == "server twice":  # while it takes over
            time.sleep(self._chance.uniform(0, 1.0))
            self._kill_server()
        if kind == "worker twice":  # while it is started, or takes over
            until(lambda: _worker(self.machine) not in (0, worker), "the next worker", START_S)
            time.sleep(self._chance.uniform(0, 0.5))
            worker = _worker(self.machine)
            os.kill(worker, signal.SIGKILL)
        if "worker" in kind:
            until(lambda: _worker(self.machine) not in (0, worker), "the next worker", START_S)

    def _kill_server(self) -> None:
        self._server.send_signal(signal.SIGKILL)
        self._server.wait()
        self._up()

    def _kill_container(self, kind: str) -> str:
        """Kill the program in a container, or its init and with it all of it."""
        found = sorted((self.machine.config.run / "c").glob("*/state.json"))
        self._chance.shuffle(found)
        for path in found:
            try:
                init = int(json.loads(path.read_text())["pid"])
                children = Path(f"/proc/{init}/task/{init}/children").read_text().split() if init else []
            except (OSError, ValueError, KeyError):
                continue  # it ends already
            pid = int(children[0]) if kind == "program" and children else init
            if pid:
                self.story.killed.add(path.parent.name)
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                until(lambda: not path.exists(), f"container {path.parent.name} to be gone")  # noqa: B023
                return kind
        return "nothing"


def _worker(machine: Machine) -> int:
    """The worker's pid; 0 when none serves."""
    try:
        pid = int((machine.config.run / "worker.lock").read_text() or 0)
    except (OSError, ValueError):
        return 0
    return pid if running.start_time(pid) is not None else 0


def main_say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
