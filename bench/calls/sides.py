"""The servers that are compared and the one client of all of them: started, asked, watched, ended."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.calls import processes
from bench.calls.processes import Used

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / ".bench" / "calls"
TOKEN = ["ak-floor", "as-floor"]
GLANCE_S, SETTLE_S = 0.05, 3.0  # seconds between two looks, and until a side that never rests is left alone
QUIET = 0.1  # of a core


@dataclass(frozen=True, slots=True)
class Side:
    """One server: ``worker`` is 0 for a floor."""

    name: str
    url: str
    token: list[str]
    server: int
    worker: int = 0

    def used(self) -> dict[str, Used]:
        """What each part of it has used so far."""
        parts = {"server": processes.used(self.server)}
        if self.worker:
            parts["worker"] = processes.used(self.worker)
            parts["container"] = sum(map(processes.used, processes.below(self.worker)), Used())
        return parts


class Bench:
    """``ask`` runs one order of the client and says what everybody used meanwhile."""

    def __init__(self, client: subprocess.Popen[str], sides: dict[str, Side]) -> None:
        self._client = client
        self.sides = sides

    def ask(self, do: str, to: str, **given: Any) -> dict[str, Any]:
        """The client's result, with ``used`` by part: CPU seconds and wakes. Raises SystemExit when it went wrong."""
        before = self._used(to)
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        self._client.stdin.write(json.dumps({"do": do, "to": to, **given}) + "\n")
        self._client.stdin.flush()
        line = self._client.stdout.readline()
        if not line:
            raise SystemExit(f"the client failed at {do} to {to}")
        after = self._settled(to)
        parts = {part: after[part] - before.get(part, Used()) for part in after}
        used = {part: {"cpu_s": spent.cpu_s, "wakes": spent.wakes} for part, spent in parts.items()}
        return {**json.loads(line), "used": used}

    def _settled(self, to: str) -> dict[str, Used]:
        """What everybody has used once the side rests: its last work is not to burden its neighbour."""
        until, before = time.monotonic() + SETTLE_S, self._used(to)
        while True:
            time.sleep(GLANCE_S)
            after = self._used(to)
            spent = sum(after[part].cpu_s - before.get(part, Used()).cpu_s for part in after)
            if spent < QUIET * GLANCE_S or time.monotonic() > until:
                return after
            before = after

    def _used(self, to: str) -> dict[str, Used]:
        return {"client": processes.used(self._client.pid), **self.sides[to].used()}


@contextlib.contextmanager
def bench(names: list[str], more: Sequence[Side] = ()) -> Iterator[Bench]:
    """All servers with the function deployed (``more`` are there already), and the client connected to each of them."""
    with contextlib.ExitStack() as stack:
        sides = {name: stack.enter_context(_side(name)) for name in names}
        sides |= {side.name: side for side in more}
        client = stack.enter_context(_process([sys.executable, "-m", "bench.calls.client"], stdin=subprocess.PIPE))
        made = Bench(client, sides)
        for side in sides.values():
            made.ask("connect", side.name, url=side.url, token=side.token, ready_made=not side.worker)
        for name in sides:
            made.ask("remote", name, count=20)
        yield made


@contextlib.contextmanager
def _side(name: str) -> Iterator[Side]:
    if name in ("floor", "control"):
        command = [sys.executable, "-m", "bench.calls.floor", *TOKEN]
        with _process(command) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield Side(name, f"http://127.0.0.1:{port}", TOKEN, process.pid)
        return
    home = PLACE / name
    for file in home.glob("ionian.db*"):  # no run is to find what another has left
        file.unlink()
    with server(home, {"IONIAN_RUNNER": "stock" if name == "stock" else "own"}) as status:
        yield deployed(name, home, status)


def deployed(name: str, home: Path, status: dict[str, Any]) -> Side:
    """A server of ours, with the function of the bench on it."""
    ionian(home, "deploy", str(ROOT / "bench" / "apps" / "calls.py"))
    token = json.loads((home / "token.json").read_text())
    secrets = [token["token_id"], token["token_secret"]]
    return Side(name, f"http://127.0.0.1:{status['port']}", secrets, status["pid"], status["worker_pid"])


@contextlib.contextmanager
def server(home: Path, environ: dict[str, str]) -> Iterator[dict[str, Any]]:
    """A server on this home, and what it says of itself."""
    ionian(home, "up", "--detach", "--port", "0", environ=environ)
    try:
        yield json.loads(ionian(home, "status", "--json"))
    finally:
        ionian(home, "down")


def ionian(home: Path, *words: str, environ: dict[str, str] | None = None) -> str:
    """Run one command of ours on a home. Raises SystemExit with what it said when it failed."""
    command = [sys.executable, "-m", "ionian", *words]
    env = {**os.environ, **(environ or {}), "IONIAN_HOME": str(home), "VIRTUAL_ENV": sys.prefix}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def _process(command: list[str], stdin: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[str]]:
    environ = {**os.environ, "MODAL_CONFIG_PATH": str(PLACE / "modal.toml"), "MODAL_LOGLEVEL": "ERROR"}
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdin=stdin, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
