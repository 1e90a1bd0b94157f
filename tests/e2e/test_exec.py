"""Commands in containers and shells, with the clients that users have, in both runtimes."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.machine import Client, Machine, until

CLIENTS = ("1.6.4", "0.73.173")
DEADLINE_S = 60.0

_APP = """
import modal
app = modal.App("entered")
image = modal.Image.debian_slim().env({"FROM_IMAGE": "yes"})

@app.function(image=image, min_containers=1)
def here():
    return 1
"""


@pytest.fixture(scope="module", params=["namespaces", "process"])
def entered(
    request: pytest.FixtureRequest,
    make_machine: Callable[[Path], Machine],
    new_client: Client,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Machine]:
    """A server in one of the runtimes, with one container that is always there."""
    machine = make_machine(tmp_path_factory.mktemp(request.param))
    machine.environ["IONIAN_RUNTIME"] = request.param
    try:
        machine.up()
    except AssertionError as error:
        pytest.skip(f"no {request.param} runtime here: {error}")
    (machine.user_home / "entered.py").write_text(_APP)
    machine.modal(new_client, "deploy", "entered.py")
    until(lambda: machine.containers("entered", "here") == 1, "its container")
    yield machine
    machine.close()


@pytest.fixture(params=CLIENTS)
def user(request: pytest.FixtureRequest, client: Callable[[str], Client]) -> Client:
    return client(request.param)


def _container(machine: Machine) -> str:
    return str(machine.status()["containers"][0]["container_id"])


def _exec(machine: Machine, user: Client, *command: str, code: int = 0) -> str:
    return machine.modal(user, "container", "exec", _container(machine), "--", *command, code=code)


def test_a_command_has_what_the_container_has(entered: Machine, user: Client) -> None:
    script = "echo $FROM_IMAGE; echo $MODAL_TASK_ID; ls *.py; echo to stderr >&2; id -u"
    said = _exec(entered, user, "sh", "-c", script).splitlines()
    assert set(said) == {"yes", _container(entered), "entered.py", "to stderr", str(os.getuid())}
    assert _exec(entered, user, "python", "-c", "import sys; print(sys.version_info[:2])").startswith("(3, ")


def test_all_of_its_output_comes(entered: Machine, user: Client) -> None:
    for number in range(5):
        assert _exec(entered, user, "echo", f"é{number}") == f"é{number}\n"
    said = _exec(entered, user, "sh", "-c", "seq 1 300000")
    assert said.split() == [str(number) for number in range(1, 300001)]


def test_a_command_that_is_not_there_is_named(entered: Machine, user: Client) -> None:
    said = _exec(entered, user, "no-such-program", code=1)
    assert "cannot run 'no-such-program'" in " ".join(said.replace("│", " ").split())
    said = entered.modal(user, "container", "exec", "ta-0000000000000000000000", "--", "ls", code=1)
    assert "container ta-0000000000000000000000 is not running" in " ".join(said.replace("│", " ").split())


def test_shell_in_a_running_container(entered: Machine, user: Client) -> None:
    assert entered.modal(user, "shell", _container(entered), "--cmd", "sh -c 'echo $FROM_IMAGE'") == "yes\n"


def test_shell_in_a_container_of_its_own(entered: Machine, user: Client) -> None:
    said = entered.modal(user, "shell", "entered.py::here", "--cmd", "echo $FROM_IMAGE; ls *.py; echo last")
    assert said.splitlines()[-3:] == ["yes", "entered.py", "last"]
    until(lambda: len(entered.status()["containers"]) == 1, "the shell's container to be gone")


def test_shell_without_a_function(entered: Machine, user: Client) -> None:
    if entered.server.isolation == "process":
        pytest.skip("its default image has a build step that runs apt")
    assert entered.modal(user, "shell", "--cmd", "echo $((6 * 7))").splitlines()[-1] == "42"


def test_an_interactive_shell(entered: Machine, user: Client) -> None:
    with _typing(entered, user, "container", "exec", _container(entered), "--", "bash", "--norc") as type_in:
        type_in("stty size; tty\n", "/dev/pts/")
        type_in("echo $((40 + 2))\n", "\r42\r\n")
        assert type_in("exit\n", None).endswith("exit\r\n")


@contextlib.contextmanager
def _typing(machine: Machine, user: Client, *arguments: str) -> Iterator[Callable[[str, str | None], str]]:
    """A client with a terminal: types a line, and gives everything so far once it has the words (None: its end)."""
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(machine.user_home)
        os.execvpe("sh", ["sh", "-c", machine._pointed_here(user, arguments)], {**machine.environ, "TERM": "xterm"})
    seen = b""
    deadline = time.monotonic() + DEADLINE_S

    def read(words: str | None) -> bool:
        nonlocal seen
        while words is None or words.encode() not in seen:
            assert time.monotonic() < deadline, seen
            if select.select([terminal], [], [], 1)[0]:
                try:
                    data = os.read(terminal, 65536)
                except OSError:  # its other end is closed
                    data = b""
                if not data:
                    return words is None
                seen += data
        return True

    def type_in(line: str, words: str | None) -> str:
        assert read("# ") or read("$ ")
        os.write(terminal, line.encode())
        assert read(words), seen
        return seen.decode()

    try:
        yield type_in
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


@contextlib.contextmanager
def _meanwhile(machine: Machine, client: Client, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A client that runs until it has printed the line ``on``, and meanwhile."""
    process = machine.spawn_modal(client, *arguments)
    assert process.stdout is not None
    try:
        while (line := process.stdout.readline()) != "on\n":
            assert line, "the client has ended"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_command_ends_with_its_container(entered: Machine, new_client: Client) -> None:
    container = _container(entered)
    command = ("container", "exec", container, "--", "sh", "-c", "echo on; sleep 4321.25")
    with _meanwhile(entered, new_client, *command) as process:
        assert _running("4321.25")
        entered.modal(new_client, "container", "stop", "--yes", container)
        until(lambda: not _running("4321.25"), "the command to end")
        process.communicate(timeout=DEADLINE_S)
    until(lambda: entered.containers("entered", "here") == 1 and _container(entered) != container, "the next container")


def test_a_command_outlives_the_server(entered: Machine, new_client: Client) -> None:
    script = "echo on; while [ ! -e /tmp/go-on ]; do sleep 0.1; done; rm /tmp/go-on; echo two"
    container = _container(entered)
    command = ("container", "exec", container, "--", "sh", "-c", script)
    with _meanwhile(entered, new_client, *command) as process:
        port = entered.server.port
        entered.kill_server()
        entered.cli("up", "--detach", "--port", str(port))
        assert _container(entered) == container
        assert _exec(entered, new_client, "touch", "/tmp/go-on") == ""
        assert process.communicate(timeout=DEADLINE_S)[0] == "two\n"
        assert process.returncode == 0


def test_a_shell_is_listed_and_can_be_stopped(entered: Machine, new_client: Client) -> None:
    own = _container(entered)
    with _meanwhile(entered, new_client, "shell", "entered.py::here", "--cmd", "echo on; sleep 4321.5") as process:
        listed = re.findall(r"ta-\w+", entered.modal(new_client, "container", "list", "--json"))
        [shell] = set(listed) - {own}
        entered.modal(new_client, "container", "stop", "--yes", shell)
        until(lambda: not _running("4321.5"), "its command to end")
        process.communicate(timeout=DEADLINE_S)
    until(lambda: len(entered.status()["containers"]) == 1, "its container to be gone")


def test_a_shell_whose_client_leaves_ends_with_its_app(entered: Machine, new_client: Client) -> None:
    with _meanwhile(entered, new_client, "shell", "entered.py::here", "--cmd", "echo on; sleep 4321.75") as process:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE_S)
    until(lambda: not _running("4321.75"), "its command to end")
    until(lambda: len(entered.status()["containers"]) == 1, "its container to be gone")


def _running(word: str) -> bool:
    """Whether a process of this machine has this argument."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return True
    return False
