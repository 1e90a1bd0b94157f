"""The Runtime contract, on both implementations; once more as an ordinary user when the tests run as root."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ionian.errors import InvalidRequest, Unavailable
from ionian.model import Isolation, Resources
from ionian.runtimes import probe
from ionian.runtimes.runtime import Bind, Exit, Process, Runtime, SandboxSpec

REPOSITORY = Path(__file__).parents[2]
SITE = f"usr/local/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
DEADLINE_S = 20.0


@dataclass
class Box:
    """Starts containers of one runtime, each in a scratch directory of its own."""

    runtime: Runtime
    directory: Path
    started: list[Process] = field(default_factory=list)

    @property
    def namespaces(self) -> bool:
        return self.runtime.level is Isolation.NAMESPACES

    def layer(self, name: str, files: Mapping[str, str]) -> Path:
        """A layer directory with these files."""
        for path, text in files.items():
            target = self.directory / "layers" / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            target.chmod(0o755)
        return self.directory / "layers" / name

    async def start(self, *argv: str, **options: Any) -> Process:
        """Start ``argv``; its output goes to ``self.output``."""
        number = len(self.started)
        scratch = self.directory / f"scratch-{number}"
        scratch.mkdir(exist_ok=True)
        options = {"env": {"PATH": "/usr/local/bin:/usr/bin:/bin"}, "cwd": "/root", "layers": (), **options}
        with open(self.directory / "output", "wb") as output:
            spec = SandboxSpec(
                container_id=f"test-{os.getpid()}-{number}",
                argv=argv,
                interpreter=probe.own_interpreter(),
                scratch=scratch,
                stdout=output.fileno(),
                stderr=output.fileno(),
                **options,
            )
            process = await self.runtime.start(spec)
        self.started.append(process)
        return process

    async def run(self, *argv: str, **options: Any) -> tuple[Exit, str]:
        """Run to the end and reap; the output is stdout and stderr together."""
        process = await self.start(*argv, **options)
        async with asyncio.timeout(DEADLINE_S):
            end = await process.wait()
            await process.reap()
        return end, self.output

    @property
    def output(self) -> str:
        return (self.directory / "output").read_text()

    @property
    def scratch(self) -> Path:
        """The newest container's scratch directory."""
        return self.directory / f"scratch-{len(self.started) - 1}"


@pytest.fixture(params=["namespaces", "process"])
async def box(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Box]:
    state = tmp_path / "state"
    try:
        runtime = await probe.choose(request.param, state)
    except Unavailable as error:
        pytest.skip(str(error))
    box = Box(runtime, tmp_path)
    yield box
    for process in box.started:
        await process.reap()


async def until(happened: Callable[[], bool]) -> None:
    """Poll, with a deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not happened():
            await asyncio.sleep(0.01)


def running(word: str) -> list[int]:
    """Processes of this machine with ``word`` as one of their arguments (zombies have none)."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                found.append(int(pid))
    return found


def groups(container_id: str) -> list[str]:
    """Control groups of this name."""
    return [path for path, _, _ in os.walk("/sys/fs/cgroup") if path.endswith(f"/{container_id}")]


async def test_output_and_exit_code(box: Box) -> None:
    end, output = await box.run("sh", "-c", "echo out; echo err >&2; exit 7")
    assert end == Exit(7)
    assert output == "out\nerr\n"


async def test_exit_by_signal(box: Box) -> None:
    end, _ = await box.run("sh", "-c", "kill -9 $$")
    assert end == Exit(137, 9)


async def test_a_program_that_is_not_there_is_named_and_leaves_nothing(box: Box) -> None:
    with pytest.raises(InvalidRequest, match="no-such-program"):
        await box.start("no-such-program")
    assert os.listdir(box.directory / "scratch-0") == []


async def test_a_working_directory_that_cannot_be_used_is_named(box: Box) -> None:
    with pytest.raises(InvalidRequest, match="/dev/null/here"):
        await box.start("true", cwd="/dev/null/here")


async def test_layers_are_visible_and_the_upper_wins(box: Box) -> None:
    lower = box.layer("lower", {"root/a": "lower a\n", "root/b": "lower b\n", "root/d/one": "1\n"})
    upper = box.layer("upper", {"root/a": "upper a\n", "root/d/two": "2\n"})
    end, output = await box.run("cat", "a", "b", "d/one", "d/two", layers=(lower, upper))
    assert (end.code, output) == (0, "upper a\nlower b\n1\n2\n")


async def test_python_is_a_venv_and_imports_from_a_layer(box: Box) -> None:
    layer = box.layer("site", {f"{SITE}/thing.py": "answer = 42\n"})
    code = "import sys, thing; print(thing.answer, sys.prefix != sys.base_prefix, sys.argv[1:])"
    end, output = await box.run("{python}", "-c", code, "x", layers=(layer,))
    assert (end.code, output) == (0, "42 True ['x']\n")
    end, output = await box.run("python", "-c", code, "y", layers=(layer,))
    assert (end.code, output) == (0, "42 True ['y']\n")


async def test_console_scripts_run(box: Box) -> None:
    script = "#!/usr/local/bin/python\nimport thing\nprint('tool', thing.answer)\n"
    layer = box.layer("site", {f"{SITE}/thing.py": "answer = 42\n", "usr/local/bin/tool": script})
    end, output = await box.run("tool", layers=(layer,))
    assert (end.code, output) == (0, "tool 42\n")
    assert (layer / "usr/local/bin/tool").read_text() == script


async def test_writes_do_not_reach_the_layers(box: Box) -> None:
    layer = box.layer("code", {"root/a": "old\n"})
    end, output = await box.run("sh", "-c", "echo new > a; echo more > b; mkdir c; cat a b", layers=(layer,))
    assert (end.code, output) == (0, "new\nmore\n")
    assert (layer / "root/a").read_text() == "old\n"
    assert os.listdir(layer / "root") == ["a"]


async def test_writes_do_not_reach_the_host(box: Box) -> None:
    if not box.namespaces:
        pytest.skip("a process without namespaces may write where its user may")
    name = f"ionian-test-{os.getpid()}"
    places = [f"/{name}", f"/etc/{name}", f"/usr/local/{name}", f"/tmp/{name}", f"/root/{name}", f"/run/{name}"]
    places += [f"/usr/share/{name}"] if os.geteuid() == 0 else []
    end, output = await box.run("sh", "-ec", f"for f in {' '.join(places)}; do echo x > $f; done; echo done")
    assert (end.code, output) == (0, "done\n")
    assert [place for place in places if os.path.lexists(place)] == []


async def test_the_host_is_not_visible(box: Box) -> None:
    if not box.namespaces:
        pytest.skip("a process without namespaces sees the host")
    end, output = await box.run("sh", "-c", "ls -A /root /home; hostname; cat /etc/hostname; ls /etc/shadow; echo $$")
    lines = output.splitlines()
    assert end.code == 0
    assert lines[:3] == ["/home:", "", "/root:"]
    assert lines[3:5] == ["ionian", "ionian"]
    assert "No such file" in lines[5]
    assert int(lines[6]) == 2  # alone but for the init


async def test_the_program_starts_clean(box: Box) -> None:
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        end, output = await box.run("sh", "-c", "umask; exec cat /proc/self/status")
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert end.code == 0
    assert output.split()[0] == "0022"
    status = dict(line.split(":", 1) for line in output.splitlines() if ":" in line)
    assert {int(status[name], 16) for name in ("SigBlk", "SigIgn", "SigCgt")} == {0}
    end, output = await box.run("{python}", "-c", "import os; print(os.getsid(0) == os.getpid())")
    assert output == "True\n"


async def test_sigterm_reaches_the_program(box: Box) -> None:
    process = await box.start("sh", "-c", 'trap "echo got it; exit 5" TERM; echo ready; while :; do sleep 0.02; done')
    await until(lambda: box.output == "ready\n")
    process.signal(signal.SIGTERM)
    async with asyncio.timeout(DEADLINE_S):
        assert await process.wait() == Exit(5)
    assert box.output == "ready\ngot it\n"
    process.signal(signal.SIGTERM)  # too late, and harmless


async def test_sigkill_ends_everything(box: Box) -> None:
    word = f"{1000 + time.monotonic_ns() % 10**9}"
    process = await box.start("sh", "-c", f"setsid sleep {word} & echo ready; wait")
    await until(lambda: box.output == "ready\n" and bool(running(word)))
    process.signal(signal.SIGKILL)
    async with asyncio.timeout(DEADLINE_S):
        assert await process.wait() == Exit(137, 9)
    await until(lambda: not running(word))


@pytest.mark.parametrize("last", ["wait", "exit 0"])
async def test_grandchildren_die(box: Box, last: str) -> None:
    word = f"{1000 + time.monotonic_ns() % 10**9}"
    script = f"setsid sleep {word} & env -i setsid sleep {word} & (setsid sh -c 'sleep {word}' &) & echo ready; {last}"
    process = await box.start("sh", "-c", script)
    await until(lambda: box.output == "ready\n")
    if last == "wait":
        await until(lambda: len(running(word)) >= 3)
    await process.reap()
    assert running(word) == []


async def test_reap_leaves_nothing_and_may_be_repeated(box: Box) -> None:
    layer = box.layer("code", {"root/a": "old\n", "usr/local/bin/x": "y"})
    process = await box.start("sh", "-c", "echo x > b; mkdir -m 0 closed; echo ready; sleep 1000", layers=(layer,))
    await until(lambda: box.output == "ready\n")
    await asyncio.gather(process.reap(), process.reap())
    await process.reap()
    assert os.listdir(box.scratch) == []
    assert groups(process.container_id) == []
    assert not os.path.exists(f"/proc/{process.pid}")
    assert str(box.scratch) not in Path("/proc/self/mountinfo").read_text()


async def test_a_cancelled_start_leaves_nothing(box: Box) -> None:
    word = f"{1000 + time.monotonic_ns() % 10**9}"
    for pause in (0.0, 0.005, 0.02):
        task = asyncio.ensure_future(box.start("sleep", word))
        await asyncio.sleep(pause)
        if task.cancel():
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for process in box.started:
            await process.reap()
        box.started.clear()
        assert running(word) == []
        assert os.listdir(box.directory / "scratch-0") == []


async def test_several_at_once(box: Box) -> None:
    layer = box.layer("code", {"root/a": "1\n"})
    processes = [await box.start("sh", "-c", f"test -f a && exit {n}", layers=(layer,)) for n in range(5)]
    async with asyncio.timeout(DEADLINE_S):
        ends = await asyncio.gather(*(process.wait() for process in processes))
    assert [end.code for end in ends] == list(range(5))


_WORKER = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, {repository!r})
from ionian.runtimes import probe
from ionian.runtimes.runtime import SandboxSpec

async def main():
    runtime = await probe.choose({setting!r}, Path({state!r}))
    script = 'trap "exit 9" TERM; echo ready; while :; do sleep 0.02; done'
    process = await runtime.start(SandboxSpec({name!r}, ("sh", "-c", script), {{"PATH": "/usr/bin:/bin"}}, "/root", (),
        probe.own_interpreter(), scratch=Path({scratch!r}), stdout=os.open({output!r}, os.O_WRONLY | os.O_CREAT)))
    print(process.pid, process.start_time, flush=True)
    os._exit(0)  # dies without a word

asyncio.run(main())
"""


def _dead_worker(box: Box, name: str) -> tuple[int, int, Path]:
    """Start a container in another worker, which dies: pid, start time, scratch."""
    scratch = box.directory / name
    scratch.mkdir()
    code = _WORKER.format(
        repository=str(REPOSITORY),
        setting=box.runtime.level.value,
        state=str(box.directory / "state"),
        name=name,
        scratch=str(scratch),
        output=str(scratch / "output"),
    )
    result = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    pid, ticks = map(int, result.stdout.split())
    return pid, ticks, scratch


async def test_adopt_after_the_worker_died(box: Box) -> None:
    name = f"adopted-{os.getpid()}"
    pid, ticks, scratch = _dead_worker(box, name)
    await until(lambda: (scratch / "output").read_text() == "ready\n")
    process = box.runtime.adopt(name, pid, ticks, scratch)
    assert process is not None
    assert (process.container_id, process.pid, process.start_time) == (name, pid, ticks)
    process.signal(signal.SIGTERM)
    async with asyncio.timeout(DEADLINE_S):
        assert await process.wait() == Exit(9)
        await process.reap()
    assert os.listdir(scratch) == ["output"]
    assert groups(name) == []


async def test_adopt_finds_what_ended_meanwhile_gone_and_clears_it(box: Box) -> None:
    name = f"ended-{os.getpid()}"
    pid, ticks, scratch = _dead_worker(box, name)
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)  # noqa: ASYNC222 - it is dead
    await until(lambda: not os.path.exists(f"/proc/{pid}"))
    assert box.runtime.adopt(name, pid, ticks, scratch) is None
    assert os.listdir(scratch) == ["output"]
    assert groups(name) == []
    assert box.runtime.adopt(name, os.getpid(), ticks, scratch) is None  # the number is somebody else's now


async def test_adopt_without_a_pid_ends_what_may_run(box: Box) -> None:
    """A worker that dies while it starts a container has noted no pid yet."""
    name = f"unnoted-{os.getpid()}"
    pid, _, scratch = _dead_worker(box, name)
    await until(lambda: (scratch / "output").read_text() == "ready\n")
    assert box.runtime.adopt(name, 0, 0, scratch) is None
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)  # noqa: ASYNC222 - it is dead
    await until(lambda: not os.path.exists(f"/proc/{pid}"))
    assert os.listdir(scratch) == ["output"]
    assert groups(name) == []


async def test_binds_are_shown(box: Box) -> None:
    source = box.directory / "given"
    source.mkdir()
    (source / "file").write_text("content\n")
    locked, free = Bind(source, "/mnt/locked"), Bind(source, "/mnt/deep/free", read_only=False)
    locked_at, free_at = box.runtime.shown(locked), box.runtime.shown(free)
    script = f"cat {locked_at}/file; echo changed > {free_at}/file; cat {free_at}/file; touch {locked_at}/more"
    end, output = await box.run("sh", "-c", script, binds=(locked, free))
    assert output.startswith("content\nchanged\n")
    if box.namespaces:
        assert end.code != 0
        assert "Read-only" in output
    assert (source / "file").read_text() == "changed\n"
    with pytest.raises(InvalidRequest, match="missing"):
        await box.start("true", binds=(Bind(source / "missing", "/mnt/x"),))


async def test_descriptors_are_kept_and_no_other_leaks(box: Box) -> None:
    reader, writer = os.pipe()
    spare = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(spare, True)
    code = (
        f"import os, time; print(sorted(map(int, os.listdir('/proc/self/fd'))), flush=True)\n"
        f"os.write({writer}, b'through'); os.close({writer}); time.sleep(1000)"
    )
    try:
        process = await box.start("{python}", "-I", "-c", code, pass_fds=(writer,))
        os.close(writer)
        os.set_blocking(reader, False)
        received = b""

        def closed() -> bool:  # end of file while the program lives: nobody else holds the other end
            nonlocal received
            try:
                piece = os.read(reader, 100)
            except BlockingIOError:
                return False
            received += piece
            return not piece

        await until(closed)
        assert received == b"through"
        kept = {int(word) for word in box.output.strip("[]\n").split(", ")}
        assert {0, 1, 2, writer} <= kept
        assert len(kept) == 5  # and the listing's own
        await process.reap()
    finally:
        os.close(reader)
        os.close(spare)


async def test_environment(box: Box) -> None:
    end, output = await box.run("sh", "-c", "echo $GREETING $IONIAN_CONTAINER_ID", env={"GREETING": "hällo"})
    assert (end.code, output) == (0, f"hällo {box.started[-1].container_id}\n")


async def test_memory_limit(box: Box) -> None:
    if box.namespaces and "memory" not in box.runtime.details[1].partition("(")[0]:
        pytest.skip(box.runtime.details[1])
    options = {"resources": Resources(memory_limit_mib=64)}
    end, output = await box.run("{python}", "-c", "x = b'x' * (300 << 20)", **options)
    if box.namespaces:
        assert end == Exit(137, 9, out_of_memory=True)
    else:
        assert end.code == 1
        assert "MemoryError" in output
    end, _ = await box.run("{python}", "-c", "x = b'x' * (20 << 20)", **options)
    assert end == Exit(0)


async def test_block_network(box: Box) -> None:
    if not box.namespaces:
        with pytest.raises(InvalidRequest, match="block_network"):
            await box.start("true", block_network=True)
        return
    code = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname());"
        "print([name for _, name in socket.if_nameindex() if name != 'lo'][:0], 'local works')\n"
        "try: socket.create_connection(('192.0.2.1', 9), timeout=5)\n"
        "except OSError as e: print(e.strerror)"
    )
    end, output = await box.run("{python}", "-I", "-c", code, block_network=True)
    assert (end.code, output) == (0, "[] local works\nNetwork is unreachable\n")


async def test_many_layers_with_long_paths(box: Box) -> None:
    layers = tuple(box.layer(f"{'long' * 20}-{n}", {f"root/f{n}": "x", "root/same": f"{n}"}) for n in range(120))
    end, output = await box.run("sh", "-c", "ls | wc -l; cat same", layers=layers)
    assert (end.code, output) == (0, "121\n119")


async def test_a_build_is_a_layer(box: Box) -> None:
    upper = box.directory / "upper"
    upper.mkdir(mode=0o700)
    if not box.namespaces:
        with pytest.raises(InvalidRequest, match="build"):
            await box.start("true", upper=upper, build=True)
        return
    base = box.layer(
        "base",
        {
            "root/gone": "x",
            "usr/share/ionian/gone": "x",
            "usr/share/ionian/kept": "kept\n",
            "usr/local/lib/gone/x": "x",
            "opt/tree/old": "x",
        },
    )
    script = (
        "rm /root/gone /usr/share/ionian/gone; rm -r /usr/local/lib/gone /opt/tree; mkdir /opt/tree;"
        "echo 1 > /opt/tree/new; echo 2 > /usr/share/ionian/new; echo 3 > /usr/local/lib/new;"
        "echo 4 > /etc/new; echo 5 > /srv/new"
    )
    end, output = await box.run("sh", "-ec", script, layers=(base,), upper=upper, build=True)
    assert (end, output) == (Exit(0), "")
    assert (upper / "usr/share/ionian/new").read_text() == "2\n"
    assert (upper / "usr/local/lib/new").read_text() == "3\n"
    assert not (upper / "var").exists()  # an overlay without changes leaves no trace
    script = (
        "cat /opt/tree/new /usr/share/ionian/new /usr/local/lib/new /etc/new /srv/new /usr/share/ionian/kept;"
        "ls -d /root/gone /usr/share/ionian/gone /usr/local/lib/gone /opt/tree/old 2>/dev/null; ls -ld / | cut -c 1-10"
    )
    end, output = await box.run("sh", "-c", script, layers=(base, upper))
    assert output == "1\n2\n3\n4\n5\nkept\ndrwxr-xr-x\n"
    assert (base / "root/gone").exists()


async def test_a_build_that_changes_nothing_is_an_empty_layer(box: Box) -> None:
    if not box.namespaces:
        pytest.skip("no builds in the process runtime")
    upper = box.directory / "upper"
    upper.mkdir()
    end, _ = await box.run("true", upper=upper, build=True)
    assert end == Exit(0)
    assert os.listdir(upper) == []
    assert os.listdir(box.scratch) == []


async def test_links(box: Box, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Absolute paths of layers: always there in namespaces; links on the host, gone with the owner, in processes."""
    place = tmp_path_factory.mktemp("absolute")
    inside = str(place).lstrip("/")
    first = box.layer("first", {f"{inside}/models/one": "1\n", "root/app.py": "pass\n"})
    second = box.layer("second", {f"{inside}/models/two": "2\n"})
    box.runtime.check((first, second), "ap-1")
    end, output = await box.run("cat", f"{place}/models/one", f"{place}/models/two", layers=(first, second))
    assert (end.code, output) == (0, "1\n2\n")
    if not box.namespaces:
        assert (place / "models").is_symlink()
        (place / "models/three").write_text("x")
        assert not (first / inside / "models/three").exists()
    box.runtime.release("ap-1")
    assert os.listdir(place) == []


async def test_what_exists_is_never_overwritten(box: Box, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("absolute")
    (place / "model").write_text("the host's\n")
    layer = box.layer("model", {f"{str(place).lstrip('/')}/model": "the app's\n"})
    if box.namespaces:
        box.runtime.check((layer,), "ap-1")
        end, output = await box.run("cat", f"{place}/model", layers=(layer,))
        assert (end.code, output) == (0, "the app's\n")
    else:
        with pytest.raises(InvalidRequest, match=f"{place}/model"):
            box.runtime.check((layer,), "ap-1")
    box.runtime.release("ap-1")
    assert (place / "model").read_text() == "the host's\n"


_INSIDE = """
import asyncio, os, sys
from pathlib import Path
from ionian.errors import Unavailable
from ionian.runtimes import probe
from ionian.runtimes.runtime import SandboxSpec

async def main():
    try:
        await probe.choose("namespaces", Path("/tmp/state"))
    except Unavailable as error:
        print("REFUSED", error)
    runtime = await probe.choose("auto", Path("/tmp/state"))
    print("LEVEL", runtime.level.value)
    print("DETAILS", *runtime.details, flush=True)
    os.mkdir("/tmp/scratch")
    spec = SandboxSpec("inner", ("{python}", "-c", "print('RAN')"), {}, "/root", (),
        probe.own_interpreter(), scratch=Path("/tmp/scratch"))
    process = await runtime.start(spec)
    print("END", await process.wait())
    await process.reap()
    print("LEFT", os.listdir("/tmp/scratch"))

asyncio.run(main())
"""


async def test_where_nothing_can_be_mounted_processes_are_used(box: Box) -> None:
    """One of our own containers is such a place, much like Docker: no rights to mount, /proc partly hidden."""
    if not box.namespaces:
        pytest.skip("needs the namespaces runtime to make the place")
    code = Bind(REPOSITORY / "ionian", "/code/ionian")
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": "/code"}
    end, output = await box.run("{python}", "-c", _INSIDE, binds=(code,), env=env)
    lines = dict(line.partition(" ")[::2] for line in output.splitlines())
    assert end == Exit(0), output
    assert lines["REFUSED"].startswith("the namespaces runtime does not work here: ")
    assert lines["LEVEL"] == "process"
    assert lines["REFUSED"].split(": ", 1)[1] in lines["DETAILS"]
    assert "RAN" in lines
    assert lines["END"] == str(Exit(0))
    assert lines["LEFT"] == "[]"


def test_the_whole_contract_as_an_ordinary_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    """This file again, with uid 65534: user namespaces, no control groups, layers of that user."""
    if os.geteuid() != 0:
        pytest.skip("these tests run as an ordinary user already")
    python, path = _python_for_everybody()
    home = Path("/var/tmp") / f"ionian-test-{os.getpid()}"
    home.mkdir(mode=0o755)
    names = ("test_runtime.py", "test_runtime_enter.py", "test_runtime_terminal.py")
    files = [Path(__file__).with_name(name) for name in names]
    try:
        os.chown(home, 65534, 65534)
        result = subprocess.run(
            [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", home / "t", *files],
            cwd=REPOSITORY,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": path, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
            user=65534,
            group=65534,
            extra_groups=[],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    finally:
        subprocess.run(["rm", "-rf", home], check=True)
    print(result.stdout)
    assert result.returncode == 0, result.stdout


def _python_for_everybody() -> tuple[str, str]:
    """A Python of this series that every user may run, and the PYTHONPATH with our packages."""
    path = ":".join([str(REPOSITORY), *(entry for entry in sys.path if entry.endswith("site-packages"))])
    for python in (os.path.realpath(sys.executable), f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"):
        with contextlib.suppress(OSError):
            environment = {"PYTHONPATH": path, "PATH": "/usr/bin:/bin"}
            command = [python, "-c", "import pytest, ionian"]
            tried = subprocess.run(
                command, user=65534, group=65534, extra_groups=[], env=environment, cwd="/", capture_output=True
            )
            if tried.returncode == 0:
                return python, path
    pytest.skip("no Python that an ordinary user may run has pytest")
