"""A disk that is really full: whoever can act is told, nothing acknowledged is lost, and room makes it work again."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import stopped_without_trace
from tests.e2e.machine import Client, Machine, until
from tests.faults.conftest import FAULTY, Call, python_of

MIB = 1024 * 1024


class Small:
    """A home on a small file system of its own."""

    def __init__(self, machine: Machine, place: Path) -> None:
        self.machine = machine
        self._ballast = place / "ballast"

    def fill(self, leave: int = 0) -> None:
        """Leave no more than so many bytes free."""
        found = os.statvfs(self._ballast.parent)
        with open(self._ballast, "ab") as file:
            os.posix_fallocate(file.fileno(), file.tell(), max(1, found.f_bavail * found.f_frsize - leave))

    def free(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def small(make_machine: Callable[[Path], Machine]) -> Iterator[Small]:
    place = Path(tempfile.mkdtemp(prefix="full-"))  # a short path: sockets and the state of containers are in there too
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400m,mode=0755", "tmpfs", str(place)], capture_output=True, text=True
    )
    if mounted.returncode:
        place.rmdir()
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        machine = make_machine(place)
        machine.environ["IONIAN_DRAIN_S"] = "2"
        yield Small(machine, place)
        (place / "ballast").unlink(missing_ok=True)
        stopped_without_trace(machine)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


def _with_image(directory: Path, image: str, version: int = 1) -> None:
    source = (FAULTY / "counted.py").read_text().replace("VERSION = 0", f"VERSION = {version}")
    (directory / "app.py").write_text(source.replace("modal.Image.debian_slim()", image))


def _answer(machine: Machine) -> bytes:
    return machine.get("counted", "answer").body


def test_disk_full_while_building(small: Small, new_client: Client, tmp_path: Path) -> None:
    machine = small.machine
    machine.up()
    machine.needs_namespaces()
    machine.modal(new_client, "deploy", "counted.py", cwd=FAULTY)
    assert _answer(machine) == b"0"
    write = 'modal.Image.debian_slim().run_commands("head -c 60000000 /dev/zero > /root/large")'
    _with_image(tmp_path, write)
    small.fill(leave=20 * MIB)
    said = machine.modal(new_client, "deploy", "app.py", cwd=tmp_path, code=1)
    assert "No space left on device" in said or "no room on the disk" in said
    assert "Traceback" not in said
    assert _answer(machine) == b"0"
    assert not list(machine.config.layers.glob(".staging-*"))
    small.free()
    machine.modal(new_client, "deploy", "app.py", cwd=tmp_path)
    assert _answer(machine) == b"1"


def test_disk_full_while_packages_are_installed(small: Small, new_client: Client, tmp_path: Path) -> None:
    machine = small.machine
    machine.up()
    machine.modal(new_client, "deploy", "counted.py", cwd=FAULTY)
    _with_image(tmp_path, 'modal.Image.debian_slim().pip_install("fastapi")')
    small.fill(leave=2 * MIB)
    said = machine.modal(new_client, "deploy", "app.py", cwd=tmp_path, code=1)
    assert "No space left on device" in said or "make room" in said
    assert "Traceback" not in said
    assert _answer(machine) == b"0"
    small.free()
    machine.modal(new_client, "deploy", "app.py", cwd=tmp_path)
    assert _answer(machine) == b"1"


def test_disk_full_while_logging(small: Small, new_client: Client, call: Call) -> None:
    """Functions go on and are right; the logs say how much is missing; what is printed later is there."""
    machine = small.machine
    machine.up()
    machine.modal(new_client, "deploy", "misbehaving.py", cwd=FAULTY)
    assert call(machine, "misbehaving", "prints", 10, 100) == 10
    worker = int(machine.status()["worker_pid"])
    small.fill(leave=1 * MIB)
    answers = subprocess.Popen(
        python_of(
            machine,
            new_client,
            "-c",
            "import modal; print(modal.Function.from_name('misbehaving', 'prints').remote(50_000, 100))",
        ),
        env=machine.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    until(lambda: _free(machine) < 64 * 1024 or answers.poll() is not None, "the disk to be full")
    assert machine.request("POST", "/", b"abc", host="local--misbehaving-body.localhost").body.startswith(b"3 ")
    small.free()
    said, _ = answers.communicate(timeout=120)
    assert "50000" in said, said
    assert machine.status()["worker_pid"] == worker
    assert call(machine, "misbehaving", "prints", 1, 200) == 1
    kept = machine.cli("logs", "misbehaving", "-n", "0")
    assert "lines of output were not kept: there was no room on the disk" in kept or kept.count("x" * 90) > 50_000
    until(lambda: "x" * 190 in machine.cli("logs", "misbehaving", "-n", "5"), "what was printed afterwards")


def _free(machine: Machine) -> int:
    found = os.statvfs(machine.home)
    return found.f_bavail * found.f_frsize


def test_disk_full_while_committing(small: Small, new_client: Client, call: Call, tmp_path: Path) -> None:
    """A deploy is refused and says why; the old version serves; acknowledged calls and deploys are there afterwards."""
    machine = small.machine
    machine.up()
    machine.modal(new_client, "deploy", "counted.py", cwd=FAULTY)
    assert _answer(machine) == b"0"
    machine.modal(new_client, "deploy", "measuring.py", cwd=FAULTY)
    assert call(machine, "measuring", "hold", 0) is None
    spawn = "import modal; print('CALL', modal.Function.from_name('measuring', 'hold').spawn(4).object_id)"
    accepted = machine.command(python_of(machine, new_client, "-c", spawn))  # it ends while the disk is full
    call_id = accepted.split("CALL")[1].split()[0]
    small.fill()
    _with_image(tmp_path, "modal.Image.debian_slim()", 1)
    said = machine.modal(new_client, "deploy", "app.py", cwd=tmp_path, code=1)
    assert "make room on its disk" in said or "No space left on device" in said, said[-2000:]
    assert _answer(machine) == b"0"
    machine.kill_server()
    small.free()
    machine.up()
    assert _answer(machine) == b"0"
    get = f"import modal; print('RESULT', modal.FunctionCall.from_id({call_id!r}).get(timeout=60))"
    assert "RESULT None" in machine.command(python_of(machine, new_client, "-c", get))
    machine.modal(new_client, "deploy", "app.py", cwd=tmp_path)
    assert _answer(machine) == b"1"


def test_disk_full_while_a_container_starts(small: Small, new_client: Client) -> None:
    machine = small.machine
    machine.up()
    machine.modal(new_client, "deploy", "counted.py", cwd=FAULTY)
    small.fill()
    answer = machine.get("counted", "answer")
    assert answer.status == 502
    assert "no room on the disk" in answer.json()["detail"]
    assert str(machine.home) in answer.json()["detail"]
    small.free()
    until(lambda: _answer(machine) == b"0", "the function to start")


def test_disk_full_at_start(small: Small, new_client: Client) -> None:
    machine = small.machine
    machine.up()
    machine.modal(new_client, "deploy", "counted.py", cwd=FAULTY)
    machine.down()
    small.fill()
    said = machine.cli("up", "--detach", "--port", "0", code=None)
    assert "Traceback" not in said
    if "http://" not in said:
        assert "disk" in said or "No space left" in said
    small.free()
    machine.cli("down", code=None)
    machine.up()
    assert _answer(machine) == b"0"
