"""A list of steps with timings: a live display with spinners on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn


class Steps:
    """Shows one step at a time. ``begin`` ends the step before it; leaving the block with an error marks it failed."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._number = 0
        self.title = ""  # of the open step, else empty
        self._started = 0.0
        self._task: TaskID | None = None
        self._unicode = console.encoding.lower().startswith("utf")
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), console=console, transient=True, refresh_per_second=10
        )

    def __enter__(self) -> Steps:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.title:
            self._line("✗" if self._unicode else "FAILED", "red", self.title, "")
            self.title = ""
        self._progress.stop()

    def begin(self, title: str) -> None:
        """Start a step. It stays open until ``done`` or the next one."""
        self._number += 1
        self.title = title
        self._started = time.perf_counter()
        if self._console.is_terminal:
            self._task = self._progress.add_task(self._description(""), total=None)

    def note(self, text: str) -> None:
        """What the step is doing now; only seen on a terminal."""
        if self._task is not None:
            self._progress.update(self._task, description=self._description(text))

    def done(self, outcome: str = "") -> None:
        """End the step well. ``outcome`` is one short line about its result."""
        self._line("✓" if self._unicode else "ok", "green", self.title, outcome)
        self.title = ""

    def _description(self, text: str) -> str:
        room = max(self._console.width - len(self.title) - 14, 0)
        return f"{self._number}/{self._total} {escape(self.title)}  [dim]{escape(text.strip()[:room])}[/dim]"

    def _line(self, mark: str, colour: str, title: str, outcome: str) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
        elapsed = f"{time.perf_counter() - self._started:6.2f} s"
        self._console.print(
            f"[{colour}]{mark}[/{colour}] {self._number}/{self._total} {elapsed}  {title:<12} {escape(outcome)}",
            highlight=False,
            soft_wrap=True,
        )
