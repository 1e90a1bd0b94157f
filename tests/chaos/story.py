"""What happened, as it was seen from outside: by the caller, by the recorder, and by who kills."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Value = list[Any]  # as the caller shows a result: ["returned", length, digest] or ["raised", type, text]


@dataclass(frozen=True, slots=True)
class Asked:
    """One input as the caller made it."""

    order: dict[str, Any]
    function: str
    how: str


@dataclass(slots=True)
class Story:
    """Filled while it goes on, judged afterwards. Times are seconds, monotonic."""

    asked: dict[str, Asked] = field(default_factory=dict)  # by token, as all that follows
    accepted: dict[str, str] = field(default_factory=dict)  # the call's id
    results: dict[str, tuple[float, Value]] = field(default_factory=dict)
    again: dict[str, Value] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)  # the caller was told that it did not work: why
    broken: list[str] = field(default_factory=list)  # what no caller should be told
    twice: list[str] = field(default_factory=list)
    killed: set[str] = field(default_factory=set)  # containers
    kills: Counter[str] = field(default_factory=Counter)
    in_flight: list[int] = field(default_factory=list)  # at each kill
    done: set[str] = field(default_factory=set)  # what the caller was told to do and has done

    def hear(self, said: dict[str, Any]) -> None:
        """One line of the caller."""
        if order := said.get("asked"):
            self.asked[order["token"]] = Asked(order, said["function"], said["how"])
        for token in said.get("accepted", ()):
            self.accepted[token] = said["call"]
        if token := said.get("result"):
            if token in self.results:
                self.twice.append(token)
            self.results[token] = said["at"], said["value"]
        if token := said.get("again"):
            self.again[token] = said["value"]
        for token in said.get("unknown", ()):
            if token not in self.results:
                self.unknown[token] = said["why"]
        if said.get("broken"):
            self.broken.append(f"{said['why']}\n{said['where']}")
        self.done |= {word for word in ("deployed",) if said.get(word)} | {said.get("done", "")}

    @property
    def open(self) -> int:
        """How many inputs are on their way."""
        return len(self.asked) - len(self.results.keys() | self.unknown.keys())


class Caller:
    """The client's process, and what it tells."""

    def __init__(self, process: subprocess.Popen[str], story: Story) -> None:
        self.process = process
        self._story = story
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                self._story.hear(json.loads(line))

    def tell(self, word: str, timeout_s: float) -> None:
        """Have it do something, and wait until it has."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        self.wait(word, timeout_s)

    def wait(self, word: str, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while word not in self._story.done:
            assert self.process.poll() is None, f"the caller ended with {self.process.returncode}"
            assert time.monotonic() < deadline, f"the caller has not done {word!r} in {timeout_s} s"
            time.sleep(0.02)

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.close()
            self.process.wait(20)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self.process.kill()
            self.process.wait()
        self._reader.join()
        self.process.stdout.close()
