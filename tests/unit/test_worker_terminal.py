"""The worker's end of an interactive container's terminal, with this test as the program at the other end."""

from __future__ import annotations

import asyncio
import os
import termios
from collections.abc import AsyncIterator

import pytest

from ionian.errors import FailedPrecondition, ResourceExhausted
from ionian.logs import STDOUT, TERMINAL
from ionian.model import Interactive
from ionian.runner.frames import TERMINAL_WANTED
from ionian.worker import terminal
from ionian.worker.terminal import Terminal

Shown = list[tuple[int, str]]


class Desk:
    """A terminal, the program's end of it, and what was shown."""

    def __init__(self) -> None:
        self.shown: Shown = []
        self.terminal = Terminal(Interactive(20, 70), self.shown.extend)
        self.program = self.terminal.take_slave()

    def says(self, data: bytes) -> None:
        os.write(self.program, data)

    async def told(self, *wanted: tuple[int, str]) -> None:
        """Wait until exactly this was shown; pieces of text of one stream are joined."""
        async with asyncio.timeout(10):
            while _joined(self.shown) != list(wanted):
                await asyncio.sleep(0.01)


def _joined(shown: Shown) -> Shown:
    found: Shown = []
    for stream, text in shown:
        if found and stream == STDOUT == found[-1][0]:
            text = found.pop()[1] + text
        found.append((stream, text))
    return found


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    yield made
    made.terminal.close()
    os.close(made.program)


async def test_size_and_text_without_a_newline(desk: Desk) -> None:
    assert os.get_terminal_size(desk.program) == os.terminal_size((70, 20))
    desk.says("name? ä".encode())
    await desk.told((STDOUT, "name? ä"))


async def test_a_letter_in_two_pieces(desk: Desk) -> None:
    first, second = "ä".encode()[:1], "ä".encode()[1:]
    desk.says(b"a" + first)
    await desk.told((STDOUT, "a"))
    desk.says(second)
    await desk.told((STDOUT, "aä"))


async def test_the_mark_is_no_text_and_counts_once(desk: Desk) -> None:
    assert not desk.terminal.claim()
    desk.says(b"before" + TERMINAL_WANTED[:1])
    await desk.told((STDOUT, "before"))
    desk.says(TERMINAL_WANTED[1:] + b"after" + TERMINAL_WANTED + b"!")
    await desk.told((STDOUT, "before"), (TERMINAL, terminal.OPENED), (STDOUT, "after!"))
    assert desk.terminal.claim()
    assert not desk.terminal.claim()


async def test_what_is_typed_comes_once_and_in_order(desk: Desk) -> None:
    await desk.terminal.type(1, b"on")
    await desk.terminal.type(2, b"e\r")
    await desk.terminal.type(2, b"e\r")
    await desk.terminal.type(3, b"two\r")
    assert os.read(desk.program, 100) == b"one\n"
    assert os.read(desk.program, 100) == b"two\n"


async def test_a_program_that_does_not_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "FULL_S", 0.1)
    mode = termios.tcgetattr(desk.program)
    mode[3] &= ~(termios.ICANON | termios.ECHO)
    termios.tcsetattr(desk.program, termios.TCSANOW, mode)
    with pytest.raises(ResourceExhausted, match="does not read"):
        await desk.terminal.type(1, bytes(10_000_000))


async def test_the_last_words_come_before_the_end(desk: Desk) -> None:
    desk.says(TERMINAL_WANTED + b"bye")
    desk.terminal.close()
    assert _joined(desk.shown) == [(TERMINAL, terminal.OPENED), (STDOUT, "bye"), (TERMINAL, terminal.CLOSED)]
    with pytest.raises(FailedPrecondition, match="has ended"):
        await desk.terminal.type(1, b"x")
    assert not desk.terminal.claim()
