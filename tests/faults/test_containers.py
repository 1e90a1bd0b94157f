"""What containers do that they should not: each is said, ends nothing else, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ionian.logs import Cursor, read
from tests.e2e import leftovers
from tests.e2e.machine import Client, Machine, until
from tests.faults.conftest import FAULTY, Call, Raised

MIB = 1024 * 1024


@pytest.fixture
def misbehaving(machine: Machine, new_client: Client) -> Machine:
    machine.environ["IONIAN_DRAIN_S"] = "2"
    machine.up()
    machine.modal(new_client, "deploy", "misbehaving.py", cwd=FAULTY)
    return machine


def peak(pid: int) -> int:
    """The most memory that a process has had at once, in bytes."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _app_id(machine: Machine, name: str) -> str:
    (found,) = (app["app_id"] for app in machine.status()["apps"] if app["name"] == name)
    return str(found)


def _lines(machine: Machine, app_id: str) -> Iterator[str]:
    cursor = Cursor()
    while True:
        records, cursor = read(machine.config.logs / app_id, cursor, 1000)
        if not records:
            return
        yield from (record.text for record in records)


def test_a_container_that_prints_100_mb(misbehaving: Machine, call: Call) -> None:
    """The result is right, every line is kept in order, and neither worker nor server grow by what was printed."""
    lines, size = 1_000_000, 100
    pids = [misbehaving.server.pid, int(misbehaving.status()["worker_pid"])]
    assert call(misbehaving, "misbehaving", "prints", 1, size) == 1
    before = [peak(pid) for pid in pids]
    assert call(misbehaving, "misbehaving", "prints", lines, size) == lines
    app_id = _app_id(misbehaving, "misbehaving")
    last = f"{lines - 1:09d}"
    until(lambda: last in misbehaving.cli("logs", "misbehaving", "-n", "1"), "the last line in the logs")
    wanted = 0
    for line in _lines(misbehaving, app_id):
        if len(line) == size and int(line[:9]) == wanted:
            wanted += 1
    assert wanted == lines
    grown = [(peak(pid) - least) / MIB for pid, least in zip(pids, before, strict=True)]
    assert max(grown) < 50, f"server and worker grew by {grown} MiB"


def test_a_container_that_prints_one_endless_line(misbehaving: Machine, call: Call) -> None:
    worker = int(misbehaving.status()["worker_pid"])
    before = peak(worker)
    assert call(misbehaving, "misbehaving", "prints", 1, 50 * MIB) == 1
    found = "".join(line for line in _lines(misbehaving, _app_id(misbehaving, "misbehaving")) if "xxxx" in line)
    assert found == "0" * 9 + "x" * (50 * MIB - 10) + "\n"
    assert (peak(worker) - before) / MIB < 50


def _sleepers(seconds: int) -> list[int]:
    wanted = f"sleep {seconds}"
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and wanted in leftovers._read(entry / "cmdline").replace(b"\0", b" ").decode("latin-1")
    ]


def test_a_container_that_forks_and_leaves_children(misbehaving: Machine, new_client: Client, call: Call) -> None:
    seconds = 100_000 + os.getpid()  # by which they are known
    call(misbehaving, "misbehaving", "leaves_children", seconds)
    assert len(_sleepers(seconds)) >= 2
    misbehaving.modal(new_client, "app", "stop", "--yes", "misbehaving")
    until(lambda: not _sleepers(seconds), "the end of all children")
    misbehaving.down()
    assert leftovers.find(misbehaving.config) == []


def test_a_container_that_ignores_sigterm(misbehaving: Machine, call: Call) -> None:
    """It is killed when its grace is over, also in the middle of a call."""
    assert call(misbehaving, "misbehaving", "ignores_sigterm", 0) == "here still"
    misbehaving.down()
    assert leftovers.find(misbehaving.config) == []


@pytest.mark.parametrize("how", ["import os; os._exit(7)", "raise SystemExit(7)"])
def test_a_container_that_exits_at_import(
    machine: Machine, new_client: Client, call: Call, tmp_path: Path, how: str
) -> None:
    source = (FAULTY / "misbehaving.py").read_text()
    text = f"if not modal.is_local():\n    print('about to exit', flush=True); {how}\n"
    (tmp_path / "app.py").write_text(
        source.replace('app = modal.App("misbehaving")\n', text + 'app = modal.App("early")\n')
    )
    machine.up()
    machine.modal(new_client, "deploy", "app.py", cwd=tmp_path)
    answer = machine.request("POST", "/", b"", host="local--early-body.localhost")
    assert answer.status == 502
    assert answer.json()["request_id"]
    assert "body could not start" in answer.json()["detail"]
    assert "7" in answer.json()["detail"]
    with pytest.raises(Raised, match=r"prints could not start.*7|SystemExit', '7'") as caught:
        call(machine, "early", "prints", 1, 20)
    assert "Traceback" not in str(caught.value)
    assert "about to exit" in machine.cli("logs", "early", "-n", "0")
    (tmp_path / "app.py").write_text(source.replace("misbehaving", "early"))
    machine.modal(new_client, "deploy", "app.py", cwd=tmp_path)  # the one that can mend it does
    assert call(machine, "early", "prints", 1, 20) == 1


def test_a_container_that_exits_mid_request(misbehaving: Machine) -> None:
    answer = misbehaving.request("POST", "/exits", b"", host="local--misbehaving-body.localhost")
    assert answer.status == 502
    assert answer.json()["request_id"]
    until(lambda: "ended with code 4" in misbehaving.cli("logs", "misbehaving", "-n", "0"), "its end in the logs")
    assert misbehaving.request("POST", "/", b"abc", host="local--misbehaving-body.localhost").body.startswith(b"3 ")


def test_a_container_that_exits_mid_call(misbehaving: Machine, call: Call) -> None:
    with pytest.raises(Raised, match="exited with code 3") as caught:
        call(misbehaving, "misbehaving", "exits", 3)
    assert "Traceback" not in str(caught.value)
    assert call(misbehaving, "misbehaving", "exits", 0) == 0
    assert "about to exit" in misbehaving.cli("logs", "misbehaving", "-n", "0")
    with pytest.raises(Raised, match=r"signal 11|SIGSEGV|Segmentation"):
        call(misbehaving, "misbehaving", "dies", int(signal.SIGSEGV))
    assert call(misbehaving, "misbehaving", "dies", 0) == 0


def test_a_container_that_hangs_at_import(machine: Machine, new_client: Client, call: Call, tmp_path: Path) -> None:
    source = (FAULTY / "misbehaving.py").read_text()
    text = "if not modal.is_local():\n    time.sleep(3600)\n"
    source = source.replace('app = modal.App("misbehaving")\n', text + 'app = modal.App("hangs")\n')
    (tmp_path / "app.py").write_text(source.replace("max_containers=1", "max_containers=1, startup_timeout=2"))
    machine.up()
    machine.modal(new_client, "deploy", "app.py", cwd=tmp_path)
    answer = machine.request("POST", "/", b"", host="local--hangs-body.localhost")
    assert answer.status == 502
    assert "startup_timeout=2 s" in answer.json()["detail"]
    assert answer.json()["request_id"]
    with pytest.raises(Raised, match="startup_timeout=2 s"):
        call(machine, "hangs", "prints", 1, 20)
    machine.down()
    assert leftovers.find(machine.config) == []
