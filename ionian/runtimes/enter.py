"""The program between the worker and a command that runs in a container: joins it, starts the command, waits for it.

Its plan (``marshal``) is what ``entered`` writes. On the status socket it sends ``terminal`` with the master of a new
terminal, ``pid N`` with a pidfd of the command, ``error STEP ERRNO MESSAGE`` or ``started``, then ``exit CODE`` or
``signal NUMBER``. It dies with the worker, and the command with it. Cheap imports only: each command waits for them.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # as in ``launch``
import _socket
import ctypes
import marshal
import os
import sys

from ionian.runtimes import launch
from ionian.runtimes.launch import check, libc

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself takes five milliseconds
    from typing import Any, NoReturn

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_TIOCSCTTY, _TIOCSWINSZ, _TIOCSPTLCK, _TIOCGPTPEER = 0x540E, 0x5414, 0x40045431, 0x5441
_SOL_SOCKET, _SCM_RIGHTS = 1, 1


class _Status:
    """Where the worker listens."""

    def __init__(self, descriptor: int) -> None:
        self._socket = _socket.socket(fileno=descriptor)
        self.step = "plan"

    def say(self, line: str, descriptor: int = -1) -> None:
        rights = [(_SOL_SOCKET, _SCM_RIGHTS, descriptor.to_bytes(4, sys.byteorder))] if descriptor >= 0 else []
        self._socket.sendmsg([f"{line}\n".encode("utf-8", "surrogateescape")], rights)

    def fail(self, error: OSError) -> NoReturn:
        self.say(f"error {launch.told(self.step, error)}")
        os._exit(126)


def main(plan_fd: int, status_fd: int) -> NoReturn:
    """Join the container, start the command, tell how it ended."""
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    os.set_inheritable(status_fd, False)
    status = _Status(status_fd)
    try:
        with os.fdopen(plan_fd, "rb") as file:
            plan = marshal.loads(file.read())
        status.step = "cgroup"
        groups = [os.open(f"{group}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for group in plan["cgroups"]]
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        status.step = "namespaces"
        os.umask(0o022)
        if plan["unshare"]:
            _join(plan["processes"], plan["unshare"])
        else:
            launch.subreaper()  # no init of the container takes in what the command leaves behind
        check(libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
        status.step = "terminal"
        if plan["terminal"]:
            _terminal(plan["terminal"], status)
        status.step = "program"
        code = _run(plan, groups, null, status)
    except OSError as error:
        status.fail(error)
    status.say(f"exit {code}" if code >= 0 else f"signal {-code}")
    try:
        while True:
            os.wait()
    except ChildProcessError:
        os._exit(0)


def _join(processes: list[int], kinds: int) -> None:
    """Enter the namespaces of the first of these processes (pidfds) that lets us: its init may not, to its own user."""
    for descriptor in processes[:-1]:
        if libc.setns(descriptor, kinds) == 0:
            return
    check(libc.setns(processes[-1], kinds), "setns")


def _terminal(size: list[int], status: _Status) -> None:
    """A terminal of the container's own as our standard streams; its master goes to the worker."""
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    zero = ctypes.c_int(0)
    check(libc.ioctl(master, ctypes.c_ulong(_TIOCSPTLCK), ctypes.byref(zero)), "ioctl TIOCSPTLCK")
    window = (ctypes.c_uint16 * 4)(*size, 0, 0)
    check(libc.ioctl(master, ctypes.c_ulong(_TIOCSWINSZ), window), "ioctl TIOCSWINSZ")
    flags = ctypes.c_ulong(os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    slave = check(libc.ioctl(master, ctypes.c_ulong(_TIOCGPTPEER), flags), "ioctl TIOCGPTPEER")
    for stream in range(launch.STDIO):
        os.dup2(slave, stream)
    os.close(slave)
    status.say("terminal", master)
    os.close(master)


def _run(plan: dict[str, Any], groups: list[int], null: int, status: _Status) -> int:
    """Start the command and wait for it; its exit code, or the negative number of the signal that ended it."""
    gate, opener = os.pipe()
    report, reporter = os.pipe()
    child = os.fork()
    if not child:
        os.close(opener)
        os.close(report)
        _command(plan, gate, reporter)
    os.close(gate)
    os.close(reporter)
    status.step = "cgroup"
    for group in groups:
        os.write(group, str(child).encode())
    os.write(opener, b"!")
    status.say(f"pid {child}", os.pidfd_open(child))
    for stream in range(launch.STDIO):
        os.dup2(null, stream)
    failed = os.read(report, 65536)
    if failed:
        status.say(failed.decode("utf-8", "surrogateescape"))
        os._exit(126)
    status.say("started")
    _, ended = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(ended)


def _command(plan: dict[str, Any], gate: int, reporter: int) -> NoReturn:
    """Become the command: as the container's own program, but for its directory, streams and variables."""
    step = "program"
    try:
        check(libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
        os.setsid()
        if plan["terminal"]:
            check(libc.ioctl(0, ctypes.c_ulong(_TIOCSCTTY), 0), "ioctl TIOCSCTTY")
        if not os.read(gate, 1):  # we could not be put into the groups: that has been told
            os._exit(126)
        for number in _signal.valid_signals() - {9, 19}:
            _signal.signal(number, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        if plan["capabilities"] is not None:
            launch.limit_capabilities(plan["capabilities"])
        launch.set_limits(plan["limits"])
        if plan["no_new_privileges"]:
            check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
        check(libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
        step = "cwd"
        os.chdir(plan["cwd"])
        step = "exec"
        launch.execute(plan["argv"], plan["env"])
    except OSError as error:
        os.write(reporter, f"error {launch.told(step, error)}".encode("utf-8", "surrogateescape"))
        os._exit(127)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
