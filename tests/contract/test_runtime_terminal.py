"""A program whose stdin is a terminal: the Runtime contract, on both implementations."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from ionian.runtimes.runtime import Exit
from tests.contract.test_runtime import Box, box, until

__all__ = ["box"]


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Master and slave."""
    master, slave = os.openpty()
    yield master, slave
    os.close(master)
    os.close(slave)


async def test_it_controls_the_program(box: Box, terminal: tuple[int, int]) -> None:
    code = "import os; print(os.isatty(0), os.tcgetpgrp(0) == os.getpgrp(), os.open('/dev/tty', os.O_RDWR) > 0)"
    end, output = await box.run("{python}", "-c", code, stdin=terminal[1])
    assert (end.code, output) == (0, "True True True\n")


async def test_ctrl_c_is_a_signal_to_the_program(box: Box, terminal: tuple[int, int]) -> None:
    process = await box.start("sh", "-c", "echo begun; exec sleep 1000", stdin=terminal[1])
    await until(lambda: "begun" in box.output)
    os.write(terminal[0], b"\x03")
    assert await process.wait() == Exit(128 + signal.SIGINT, signal.SIGINT)


async def test_without_one_there_is_nothing_to_read(box: Box) -> None:
    end, output = await box.run("sh", "-c", "cat; test -t 0 || echo none")
    assert (end.code, output) == (0, "none\n")
