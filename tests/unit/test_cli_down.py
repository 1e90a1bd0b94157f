"""Stopping: only the server's own process is ever signalled, and what a killed one left is cleaned up."""

from __future__ import annotations

import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from ionian.cli import main
from ionian.commands import running
from ionian.config import Config
from tests.unit.cli_server import write_server_file

_OBEDIENT = "import signal; signal.signal(signal.SIGTERM, lambda *_: exit(0)); print(flush=True); signal.pause()"
_STUBBORN = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True)\nwhile True: signal.pause()"
)


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Config]:
    made = Config(home=tmp_path)
    yield made
    shutil.rmtree(made.run, ignore_errors=True)


@pytest.fixture
def cleaned(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The homes that were cleaned up: the server itself is not under test here."""
    homes: list[Path] = []
    stand_in = types.ModuleType("ionian.server")
    stand_in.cleanup = lambda config: homes.append(config.home)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ionian.server", stand_in)
    return homes


def _process(program: str) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    return child


def test_stops_the_server_and_cleans_up(
    config: Config, cleaned: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with _process(_OBEDIENT) as child:
        write_server_file(config, 1, child.pid)
        assert main(["down", "--home", str(config.home)]) == 0
        assert child.wait() == 0
    assert cleaned == [config.home]
    assert f"(pid {child.pid})" in capsys.readouterr().out


def test_kills_a_server_that_does_not_stop(
    config: Config, cleaned: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ionian.commands.down._GRACE_BEYOND_DRAIN_S", 0.2)
    monkeypatch.setenv("IONIAN_DRAIN_S", "0")
    with _process(_STUBBORN) as child:
        write_server_file(config, 1, child.pid)
        assert main(["down", "--home", str(config.home)]) == 0
        assert child.wait() == -9
    assert cleaned == [config.home]


def test_a_stranger_with_the_servers_old_pid_is_left_alone(config: Config, cleaned: list[Path]) -> None:
    with _process(_OBEDIENT) as stranger:
        start_time = running.start_time(stranger.pid)
        assert start_time is not None
        write_server_file(config, 1, stranger.pid, start_time=start_time - 1)
        assert main(["down", "--home", str(config.home)]) == 0
        assert stranger.poll() is None
        stranger.kill()
    assert cleaned == [config.home]


def test_nothing_there_is_fine(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["down", "--home", str(config.home)]) == 0
    assert capsys.readouterr().out == f"no server was running on {config.home}\n"
