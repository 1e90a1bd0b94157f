"""A stand-in for a plain Docker container: ``python plain_container.py [OPTIONS] -- COMMAND ...``, as root.

Docker's default capabilities and the part of its seccomp profile that concerns us: no mounting, no namespaces, no
io_uring; /sys and /proc/sys are read-only. Files, processes and (without --offline) the network stay the machine's.
What the command writes below /root lands in the directory of --root-home, if one is given. Standard library only.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import struct
import sys
from pathlib import Path

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
_NEW_NAMESPACES = 0x7E020000 | 0x80  # every CLONE_NEW* flag; the last is time
_MS_REC, _MS_PRIVATE = 16384, 1 << 18
_PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_CAP_AMBIENT = 22, 24, 47
_EPERM, _ENOSYS = 1, 38

# chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod audit_write
# setfcap
CAPABILITIES = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)

# AUDIT_ARCH, clone, clone3, and mount umount2 pivot_root unshare setns
_MACHINES = {
    "x86_64": (0xC000003E, 56, 435, (165, 166, 155, 272, 308)),
    "aarch64": (0xC00000B7, 220, 435, (40, 39, 41, 97, 268)),
}
# io_uring_setup io_uring_enter io_uring_register open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr
_DENIED_EVERYWHERE = (425, 426, 427, 428, 429, 430, 431, 432, 433, 442)
_SYS_MOUNT_SETATTR = 442

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--user", type=int, metavar="UID", help="run the command as this user and group")
    parser.add_argument("--offline", action="store_true", help="no network but loopback")
    parser.add_argument("--no-mounts", action="store_true", help="as --namespaces, but nobody may mount")
    parser.add_argument("--namespaces", action="store_true", help="take no rights away")
    parser.add_argument("--root-home", type=Path, metavar="DIR", help="where changes below /root go")
    parser.add_argument("--join", type=int, metavar="PID", help="enter the container of this process, made before")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    cwd = os.getcwd()
    if options.join:
        _join(options.join)
    else:
        _enter(options)
    os.chdir(cwd)
    _, clone, clone3, (*mounting, unshare, setns) = _MACHINES[platform.machine()]
    if options.no_mounts:
        _filter_system_calls((*mounting, *_DENIED_EVERYWHERE), ())
    elif not options.namespaces:
        _filter_system_calls((*mounting, *_DENIED_EVERYWHERE, unshare, setns), (clone, clone3))
        _drop_capabilities()
    if options.user is not None:
        os.setgroups([])
        os.setresgid(options.user, options.user, options.user)
        os.setresuid(options.user, options.user, options.user)
    os.execvp(options.command[0], options.command)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _join(pid: int) -> None:
    """The mounts and the network of a running container."""
    for kind, flag in (("net", CLONE_NEWNET), ("mnt", CLONE_NEWNS)):
        descriptor = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
        _check(_libc.setns(descriptor, flag), f"setns {kind}")
        os.close(descriptor)


def _enter(options: argparse.Namespace) -> None:
    _check(_libc.unshare(CLONE_NEWNS | (CLONE_NEWNET if options.offline else 0)), "unshare")
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE, "")
    if options.offline:
        _loopback()
    if options.root_home:
        upper, work = options.root_home / "upper", options.root_home / "work"
        upper.mkdir(mode=0o700, exist_ok=True)
        work.mkdir(exist_ok=True)
        _mount("overlay", "/root", "overlay", 0, f"lowerdir=/root,upperdir={upper},workdir={work}")
    if not options.namespaces and not options.no_mounts:
        _read_only("/sys")
        _mount("/proc/sys", "/proc/sys", "", 4096, "")
        _read_only("/proc/sys")


def _mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    arguments = (source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode())
    _check(_libc.mount(*arguments), f"mount {target}")


def _read_only(path: str) -> None:
    """Everything mounted at and below ``path``."""
    attributes = (ctypes.c_uint64 * 4)(1, 0, 0, 0)
    arguments = (ctypes.c_long(-100), path.encode(), ctypes.c_uint(0x8000), attributes, ctypes.c_size_t(32))
    _check(_libc.syscall(ctypes.c_long(_SYS_MOUNT_SETATTR), *arguments), f"mount_setattr {path}")


def _loopback() -> None:
    descriptor = _libc.socket(2, 2, 0)
    request = ctypes.create_string_buffer(b"lo".ljust(16, b"\0") + struct.pack("=H", 0x41), 40)
    _check(_libc.ioctl(descriptor, ctypes.c_ulong(0x8914), request), "loopback up")
    os.close(descriptor)


def _filter_system_calls(denied: tuple[int, ...], clones: tuple[int, ...]) -> None:
    """As root, without PR_SET_NO_NEW_PRIVS: programs with file capabilities and set-uid bits stay what they are.

    ``clones``: the numbers of clone, which may make no namespaces then, and of clone3, which is not there.
    """
    arch = _MACHINES[platform.machine()][0]
    load, equal, any_set, answer = 0x20, 0x15, 0x45, 0x06
    refuse = 0x00050000
    program = [(load, 0, 0, 4), (equal, 1, 0, arch), (answer, 0, 0, refuse | _ENOSYS), (load, 0, 0, 0)]
    for number in denied:
        program += [(equal, 0, 1, number), (answer, 0, 0, refuse | _EPERM)]
    for number in clones[1:]:
        program += [(equal, 0, 1, number), (answer, 0, 0, refuse | _ENOSYS)]  # so that libc falls back to clone
    for number in clones[:1]:
        program += [(equal, 0, 3, number), (load, 0, 0, 16), (any_set, 0, 1, _NEW_NAMESPACES)]
        program += [(answer, 0, 0, refuse | _EPERM)]
    program += [(answer, 0, 0, 0x7FFF0000)]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    described = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    _check(_libc.prctl(_PR_SET_SECCOMP, 2, described, 0, 0), "seccomp")


def _drop_capabilities() -> None:
    for number in range(int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1):
        if number not in CAPABILITIES:
            _check(_libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), f"drop capability {number}")
    _libc.prctl(_PR_CAP_AMBIENT, 4, 0, 0, 0)
    kept = sum(1 << number for number in CAPABILITIES)
    header, data = struct.pack("=II", 0x20080522, 0), struct.pack("=6I", kept, kept, 0, 0, 0, 0)
    _check(_libc.capset(header, data), "capset")


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"plain_container: {error}")
