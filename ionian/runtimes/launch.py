"""The program between the worker and a container: enters the isolation, becomes its init, starts the program, reaps.

Run as ``python -I -S launch.py PLAN_FD STATUS_FD``. It imports only cheap C modules, because every container start
pays for it (json and signal would double its 10 ms). Invariant: whatever fails before exec is reported on STATUS_FD.

The plan (``marshal``, same interpreter on both ends) is a dict, see ``container.Plan``. On STATUS_FD it writes lines:
``pid N`` (the init's pid as the worker sees it) and ``error STEP ERRNO MESSAGE``; end of file without an error means
that exec succeeded. The init writes ``exit CODE`` or ``signal NUMBER`` to the record file, for a later worker.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the C half of signal: without its enums it costs nothing
import ctypes
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself takes five milliseconds
    from typing import Any, NoReturn

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
_AT_RECURSIVE = 0x8000
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_SYS_MOUNT_SETATTR = 442  # the same number on every architecture

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NAME = 1, 4, 15
_PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 24, 36, 38, 47

_TIOCSCTTY = 0x540E
KILL_ALL = 64  # SIGRTMAX to an init that has no pid namespace: kill every descendant
STDIO = 3

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, subject: str = "") -> int:
    """``result`` of a libc call; raises OSError of errno when it is negative."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), subject)
    return result


def subreaper() -> None:
    """Make this process the parent of its orphaned descendants, so that it learns how they ended."""
    check(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)")


# --- mounts: the steps of a root file system, each a tuple (name, arguments...) ---------------------------------------


def _mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    arguments = (os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), os.fsencode(data))
    check(libc.mount(*arguments), f"mount {kind or 'bind'} {target}")


def _private() -> None:
    _mount("none", "/", "", MS_REC | MS_PRIVATE, "")


def _bind(source: str, target: str, read_only: bool, devices: bool) -> None:
    """Show ``source`` at ``target``, which is made when it is missing. A relative source is on the old root."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    _mount(source, target, "", MS_BIND | MS_REC, "")
    attributes = (_ATTR_RDONLY if read_only else 0) | (0 if devices else _ATTR_NODEV | _ATTR_NOSUID)
    if attributes:
        request = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
        arguments = (
            ctypes.c_long(-100),
            os.fsencode(target),
            ctypes.c_uint(_AT_RECURSIVE),
            request,
            ctypes.c_size_t(32),
        )
        check(libc.syscall(ctypes.c_long(_SYS_MOUNT_SETATTR), *arguments), f"mount_setattr {target}")


def _pivot(root: str) -> None:
    """Make ``root`` the root; the old root stays below the working directory until ``detach``."""
    old = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.chdir(root)
    check(libc.pivot_root(b".", b"."), f"pivot_root {root}")
    os.fchdir(old)
    os.close(old)


def _detach() -> None:
    _mount("none", ".", "", MS_REC | MS_PRIVATE, "")
    check(libc.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")


def _mask(path: str) -> None:
    """Hide a kernel file or directory that says or does too much."""
    if os.path.isdir(path):
        _mount("tmpfs", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=0")
    elif os.path.lexists(path):
        _mount("/dev/null", path, "", MS_BIND, "")


def _loopback() -> None:
    """Bring up ``lo`` in a fresh network namespace."""
    descriptor = check(libc.socket(2, 2 | 0o2000000, 0), "socket")
    request = ctypes.create_string_buffer(b"lo".ljust(16, b"\0") + (0x41).to_bytes(2, sys.byteorder), 40)
    check(libc.ioctl(descriptor, ctypes.c_ulong(0x8914), request), "ioctl SIOCSIFFLAGS lo")
    os.close(descriptor)


_STEPS: dict[str, Any] = {
    "private": _private,
    "chdir": os.chdir,
    "mount": _mount,
    "bind": _bind,
    "pivot": _pivot,
    "detach": _detach,
    "mask": _mask,
    "mkdir": lambda path: os.makedirs(path, exist_ok=True),
    "symlink": os.symlink,
    "file": lambda path, data: _write(path, data, os.O_CREAT | os.O_EXCL),
    "loopback": _loopback,
    "hostname": lambda name: check(libc.sethostname(name.encode(), len(name.encode())), "sethostname"),
}


def _run_steps(steps: list[tuple[Any, ...]]) -> None:
    """Run the steps; one named ``try STEP`` may fail."""
    for name, *arguments in steps:
        try:
            _STEPS[name.removeprefix("try ")](*arguments)
        except OSError:
            if not name.startswith("try "):
                raise


# --- privileges -------------------------------------------------------------------------------------------------------


def limit_capabilities(kept: int) -> None:
    """Give up every capability that is not in the bit mask ``kept``, for good."""
    last = int(_read("/proc/sys/kernel/cap_last_cap"))
    for number in range(last + 1):
        if not kept >> number & 1:
            check(libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), f"drop capability {number}")
    libc.prctl(_PR_CAP_AMBIENT, 4, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    check(libc.capset(header, data), "capset")


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 65536)
    finally:
        os.close(descriptor)


def _write(path: str, data: str, flags: int = 0) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | flags, 0o644)
    try:
        os.write(descriptor, data.encode("utf-8", "surrogateescape"))
    finally:
        os.close(descriptor)


# --- the three processes: launcher, init, program ---------------------------------------------------------------------


class _Failure:
    """Where we are, and the one way to say that it failed."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.step = "plan"

    def report(self, error: OSError) -> NoReturn:
        os.write(self.status, f"error {told(self.step, error)}\n".encode("utf-8", "surrogateescape"))
        os._exit(126)


def told(step: str, error: OSError) -> str:
    """``STEP ERRNO MESSAGE``, on one line."""
    text = f"{error.strerror}{': ' + str(error.filename) if error.filename else ''}".replace("\n", " ")
    return f"{step} {error.errno or 0} {text}"


def main(plan_fd: int, status_fd: int) -> NoReturn:
    """Enter the namespaces, fork the init, say its pid, go away."""
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)  # inherited SIG_IGN would lose exit codes
    _signal.pthread_sigmask(_signal.SIG_SETMASK, _signal.valid_signals())
    os.set_inheritable(status_fd, False)
    failure = _Failure(status_fd)
    try:
        with os.fdopen(plan_fd, "rb") as file:
            plan = marshal.loads(file.read())
        failure.step = "record"
        record = os.open(plan["record"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        failure.step = "cgroup"
        groups = [os.open(f"{group}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for group in plan["cgroups"]]
        failure.step = "namespaces"
        os.umask(0o022)
        user, group = os.geteuid(), os.getegid()
        if plan["unshare"]:
            check(libc.unshare(plan["unshare"]), "unshare")
        if plan["unshare"] & CLONE_NEWUSER:
            _write("/proc/self/setgroups", "deny")
            _write("/proc/self/uid_map", f"0 {user} 1")
            _write("/proc/self/gid_map", f"0 {group} 1")
        failure.step = "init"
        gate, opener = os.pipe()
        pid = os.fork()
        if pid:
            os.write(status_fd, f"pid {pid}\n".encode())
            failure.step = "cgroup"
            for group in groups:  # takes up to 10 ms of waiting, so it happens while the init mounts
                os.write(group, str(pid).encode())
            os.write(opener, b"!")
            os._exit(0)
    except OSError as error:
        failure.report(error)
    for descriptor in (opener, *groups):
        os.close(descriptor)
    _init(plan, record, gate, failure)


def _init(plan: dict[str, Any], record: int, gate: int, failure: _Failure) -> NoReturn:
    """Build the root file system, start the program, then reap and forward signals until it ends."""
    try:
        failure.step = "init"
        os.setsid()
        if plan["subreaper"]:
            subreaper()
        failure.step = "root"
        _run_steps(plan["steps"])
        failure.step = "capabilities"
        if plan["capabilities"] is not None:
            limit_capabilities(plan["capabilities"])
        libc.prctl(_PR_SET_NAME, b"ionian-init", 0, 0, 0)
        if not os.read(gate, 1):  # the launcher could not put us into the groups, and has said so
            os._exit(126)
        os.close(gate)
        failure.step = "program"
        child = os.fork()
    except OSError as error:
        failure.report(error)
    if not child:
        _program(plan, failure)
    try:
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # the program may not look into us
        null = os.open("/dev/null", os.O_RDWR)
        for descriptor in range(STDIO):
            os.dup2(null, descriptor)
        for descriptor in (null, *plan["keep"], failure.status):
            os.close(descriptor)  # the program's peers must see it close them
    except OSError as error:
        failure.report(error)
    _attend(child, record, plan["subreaper"])


def _attend(child: int, record: int, alone: bool) -> NoReturn:
    """The init's life. ``alone``: there is no pid namespace whose end kills what is left, so we do."""
    every = _signal.valid_signals()
    while True:
        number = _signal.sigwaitinfo(every).si_signo
        if number == _signal.SIGCHLD:
            _reap(child, record, alone)
        elif number == KILL_ALL and alone:
            _kill_descendants(child, record)
        else:
            try:  # noqa: SIM105 - contextlib is one of the imports we do without
                os.kill(child, number)
            except ProcessLookupError:
                pass  # it has ended; SIGCHLD is next


def _reap(child: int, record: int, alone: bool) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid == child:
            if alone:
                _kill_descendants(0, record)
            _finish(status, record)


def _kill_descendants(child: int, record: int) -> None:
    """Kill every descendant; what is orphaned on the way becomes our child, as we are its subreaper."""
    while True:
        try:
            for word in _read(f"/proc/self/task/{os.getpid()}/children").split():
                os.kill(int(word), 9)
        except OSError:
            pass  # one ended meanwhile (next round), or this kernel has no such file (the worker searches)
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            return
        while pid:  # SIGKILL is not delivered one at a time: take all that have ended before looking again
            if pid == child:
                _kill_descendants(0, record)
                _finish(status, record)
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return


def _finish(status: int, record: int) -> NoReturn:
    code = os.waitstatus_to_exitcode(status)
    os.write(record, (f"exit {code}\n" if code >= 0 else f"signal {-code}\n").encode())
    os._exit(code if code >= 0 else 128 - code)


def _program(plan: dict[str, Any], failure: _Failure) -> NoReturn:
    """Become the program: own session, default signals, its limits, then exec."""
    try:
        os.setsid()
        if os.isatty(0):
            check(libc.ioctl(0, ctypes.c_ulong(_TIOCSCTTY), 0), "ioctl TIOCSCTTY")
        if plan["subreaper"]:
            libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)
        for number in _signal.valid_signals() - {9, 19}:
            _signal.signal(number, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        failure.step = "limits"
        set_limits(plan["limits"])
        if plan["no_new_privileges"]:
            check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
        failure.step = "cwd"
        if plan["make_cwd"]:
            os.makedirs(plan["cwd"], exist_ok=True)
        os.chdir(plan["cwd"])
        failure.step = "exec"
        execute(plan["argv"], plan["env"])
    except OSError as error:
        failure.report(error)


def set_limits(limits: list[tuple[int, int]]) -> None:
    """Set resource limits of this process: pairs of RLIMIT number and amount."""
    for number, amount in limits:
        limit = (ctypes.c_uint64 * 2)(amount, amount)
        check(libc.setrlimit(number, limit), "setrlimit")


def execute(argv: list[str], env: dict[str, str]) -> NoReturn:
    """execvpe along the PATH of ``env``. The one in os imports modules, which have gone with the old root."""
    name, found = argv[0], None
    folders = env.get("PATH", os.defpath).split(":") if "/" not in name else [""]
    for folder in folders:
        try:
            os.execve(f"{folder}/{name}" if folder else name, argv, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            found = error
    raise found or FileNotFoundError(2, "No such file or directory", name)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
