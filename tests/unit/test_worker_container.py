"""What the logs say of how a container ended."""

from __future__ import annotations

import signal

import pytest

from ionian.runtimes.runtime import Exit
from ionian.worker.container import ending


@pytest.mark.parametrize(
    ("end", "sent", "said"),
    [
        (Exit(0), set(), ""),
        (Exit(None), set(), ""),
        (Exit(3), set(), "code 3"),
        (Exit(3), {signal.SIGTERM}, "code 3"),
        (Exit(143, signal.SIGTERM), {signal.SIGTERM}, ""),
        (Exit(137, signal.SIGKILL), {signal.SIGTERM, signal.SIGKILL}, ""),
        (Exit(137, signal.SIGKILL), {signal.SIGTERM}, "signal 9 (Killed)"),
        (Exit(139, signal.SIGSEGV), {signal.SIGKILL}, "signal 11 (Segmentation fault)"),
        (Exit(137, signal.SIGKILL, out_of_memory=True), {signal.SIGKILL}, "out of memory"),
    ],
)
def test_an_end_that_nobody_asked_for_is_told(end: Exit, sent: set[int], said: str) -> None:
    text = ending(end, sent)
    assert (said in text) if said else text == ""
