"""Commands inside a running container: the Runtime contract's ``enter``, on both implementations."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from ionian.errors import FailedPrecondition, InvalidRequest
from ionian.runtimes.entered import MARK
from ionian.runtimes.runtime import Command, Entry, Exit, Process, Terminal
from tests.contract.test_runtime import DEADLINE_S, Box, box, running, until

__all__ = ["box"]

WAITING = ("sleep", "1234.5")


async def out(process: Process, *argv: str, entry: Entry | None = None) -> tuple[Exit, str]:
    """Run a command to its end; what it wrote to both streams."""
    reader, writer = os.pipe()
    try:
        asked = replace(entry or Entry(argv), argv=argv, stdout=writer, stderr=writer)
        command = await process.enter(asked)
    finally:
        os.close(writer)
    async with asyncio.timeout(DEADLINE_S):
        text = await asyncio.to_thread(_read, reader)
        return await command.wait(), text


def _read(descriptor: int) -> str:
    with os.fdopen(descriptor, "rb") as file:
        return file.read().decode()


async def container(box: Box, **options: object) -> Process:
    return await box.start(*WAITING, **options)


async def test_a_command_sees_what_the_program_sees(box: Box) -> None:
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "SECRET": "of the image"}
    layer = box.layer("image", {"root/data.txt": "from a layer"})
    process = await container(box, env=env, layers=(layer,), hostname="inside")
    end, text = await out(process, "sh", "-c", "cat data.txt; echo; echo $SECRET; uname -n; exit 3")
    assert end == Exit(3)
    words = text.splitlines()
    assert words[:2] == ["from a layer", "of the image"]
    assert words[2] == ("inside" if box.namespaces else os.uname().nodename)


async def test_it_is_in_the_same_namespaces_and_groups(box: Box) -> None:
    process = await container(box)
    if not box.namespaces:
        pytest.skip("an ordinary process has no namespaces of its own")
    own = "for n in mnt pid ipc uts net user; do readlink /proc/self/ns/$n; done; cat /proc/self/cgroup"
    _, mine = await out(process, "sh", "-c", own)
    child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
    kinds = ("mnt", "pid", "ipc", "uts", "net", "user")
    theirs = [os.readlink(f"/proc/{child}/ns/{kind}") for kind in kinds]
    assert mine.splitlines()[:6] == theirs
    assert mine.splitlines()[6:] == Path(f"/proc/{child}/cgroup").read_text().splitlines()
    assert mine.splitlines()[0] != os.readlink("/proc/self/ns/mnt")
    _, rights = await out(process, "grep", "-E", "^(Cap(Eff|Bnd)|NoNewPrivs)", "/proc/self/status")
    status = Path(f"/proc/{child}/status").read_text().splitlines()
    wanted = [line for line in status if line.startswith(("CapEff", "CapBnd", "NoNewPrivs"))]
    assert sorted(rights.splitlines()) == sorted(wanted)


async def test_variables_and_directory_of_its_own(box: Box) -> None:
    env = {"PATH": "/usr/bin:/bin", "KEPT": "1", "OURS": "2", "CHANGED": "3"}
    process = await container(box, env=env)
    entry = Entry((), env={"CHANGED": "4"}, without=("OURS",), cwd="/tmp")
    _, text = await out(process, "sh", "-c", "echo $KEPT:$OURS:$CHANGED; pwd", entry=entry)
    assert text == "1::4\n/tmp\n"
    _, text = await out(process, "sh", "-c", "pwd")
    assert Path(text.strip()).name == "root"


async def test_what_cannot_be_run_is_named(box: Box) -> None:
    process = await container(box)
    with pytest.raises(InvalidRequest, match="no-such-program"):
        await process.enter(Entry(("no-such-program",)))
    with pytest.raises(InvalidRequest, match="/no/such/place"):
        await process.enter(Entry(("true",), cwd="/no/such/place"))
    assert (await out(process, "echo", "still fine"))[1] == "still fine\n"


async def test_a_signal_ends_it_and_is_told(box: Box) -> None:
    process = await container(box)
    command = await process.enter(Entry(("sh", "-c", "sleep 1234.75 & sleep 1234.75")))
    await until(lambda: len(running("1234.75")) == 2)
    command.signal(signal.SIGKILL)
    async with asyncio.timeout(DEADLINE_S):
        assert await command.wait() == Exit(137, 9)
        await command.gone()
    assert not running("1234.75")
    assert not zombies()


async def test_it_ends_with_its_container(box: Box) -> None:
    process = await container(box)
    command = await process.enter(Entry(("sleep", "1234.875")))
    await process.reap()
    async with asyncio.timeout(DEADLINE_S):
        assert await command.wait() == Exit(137, 9)
        await command.gone()
    assert not running("1234.875")
    assert not zombies()
    with pytest.raises(FailedPrecondition, match="has ended"):
        await process.enter(Entry(("true",)))


async def test_what_it_leaves_behind_ends_with_the_container(box: Box) -> None:
    process = await container(box)
    command = await process.enter(Entry(("sh", "-c", "sleep 1234.625 & exit 6")))
    async with asyncio.timeout(DEADLINE_S):
        assert await command.wait() == Exit(6)
        await until(lambda: bool(running("1234.625")))
        await process.reap()
        await command.gone()
    assert not running("1234.625")
    assert not zombies()


async def test_a_terminal(box: Box) -> None:
    process = await container(box)
    show = "tty; stty size; test -t 0 && echo yes; read line; echo got $line; exit 5"
    command = await process.enter(Entry(("sh", "-c", show), terminal=Terminal(33, 101)))
    os.write(command.terminal, b"typed\n")
    async with asyncio.timeout(DEADLINE_S):
        text = await asyncio.to_thread(_read_terminal, command)
        assert await command.wait() == Exit(5)
    assert "/dev/pts/" in text
    assert "33 101\r\nyes\r\n" in text
    assert text.endswith("got typed\r\n")


def _read_terminal(command: Command) -> str:
    data = b""
    with os.fdopen(command.terminal, "rb", buffering=0) as file:
        try:
            while more := file.read(4096):
                data += more
        except OSError:  # how a terminal says that nobody holds its other end
            pass
    return data.decode()


async def test_a_later_worker_can_enter_what_it_adopts(box: Box) -> None:
    process = await container(box, env={"PATH": "/usr/bin:/bin", "A": "1"})
    adopted = box.runtime.adopt(process.container_id, process.pid, process.start_time, box.scratch)
    assert adopted is not None
    assert (await out(adopted, "sh", "-c", f"echo $A ${MARK}"))[1] == f"1 {process.container_id}\n"


async def test_what_commands_of_an_earlier_worker_left_behind_is_ended(box: Box) -> None:
    process = await container(box)
    command = await process.enter(Entry(("sh", "-c", "setsid sleep 1234.375 & exit 0")))
    await command.wait()
    await until(lambda: bool(running("1234.375")))
    adopted = box.runtime.adopt(process.container_id, process.pid, process.start_time, box.scratch)
    assert adopted is not None
    assert not running("1234.375")
    assert running(WAITING[1])


OTHERS: set[str] = set()  # zombies that were here before the test: not its concern


@pytest.fixture(autouse=True)
def others() -> None:
    OTHERS.clear()
    OTHERS.update(zombies())


def zombies() -> list[str]:
    """Children of this process that nobody has waited for, and that this test has made."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] == "Z" and int(fields[1]) == os.getpid() and pid not in OTHERS:
            found.append(pid)
    return found
