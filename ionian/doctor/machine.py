"""Judgements about the machine, PURE: what was found goes in, a check comes out. ``facts.py`` finds it."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path

from ionian.doctor.check import Check, failed, ok, warning
from ionian.model import Isolation

NEEDED_BYTES = 512 * 1024**2  # less than this and not even a small image fits
WANTED_BYTES = 4 * 1024**3
_YEARS = range(2024, 2100)  # outside of them no certificate of a package index is valid
_STEP_S = 1.0  # seconds that the wall clock may move against the monotonic one while we look
_NO_UPPER = ("overlay", "nfs", "nfs4", "cifs", "smb3", "vfat", "exfat", "ntfs", "ntfs3", "9p", "fuse", "ramfs")
_LOOPBACK = ("127.0.0.1", "localhost")


def unusable_home(path: Path, reason: str) -> Check:
    """Nothing can be written where the home is or would be."""
    return failed("home", f"{path}: {reason}", "choose another: --home DIR, or IONIAN_HOME=DIR")


def home(path: Path, free: int, inodes: int | None, kind: str, isolated: bool) -> Check:
    """The directory of a home: ``free`` bytes, ``inodes`` free (None: not counted), ``kind`` of file system."""
    found = f"{path}: {free / 1024**3:.1f} GiB free on {kind}"
    if free < NEEDED_BYTES or (inodes is not None and inodes < 1000):
        text = found if free < NEEDED_BYTES else f"{found}, {inodes} inodes"
        return failed("home", text, "free some space there, or choose another place: --home DIR, or IONIAN_HOME=DIR")
    if kind.split(".")[0] in _NO_UPPER and not isolated:
        return warning("home", f"{found}: no overlays", "set IONIAN_HOME to a directory on ext4, xfs, btrfs or tmpfs")
    if free < WANTED_BYTES:
        return warning("home", found, "large packages such as torch need more: free some space, or choose another home")
    return ok("home", found)


def port(host: str, number: int, ours: bool, error: OSError | None) -> Check:
    """The port to listen on. ``error``: what binding it raised."""
    where = f"{host}:{number}"
    if ours:
        return ok("port", f"{where}: this home's server listens there")
    if error is None:
        return ok("port", f"{where} is free" if number else f"{host}: any free one")
    if error.errno == errno.EADDRINUSE:
        return failed("port", f"{where} is taken by another program", "ionian up --port 0, or set port in config.toml")
    if error.errno == errno.EACCES:
        return failed("port", f"{where} needs root", "choose a port from 1024 up: ionian up --port 9900")
    return failed("port", f"{where}: {error.strerror or error}", "choose an address of this machine: --host 127.0.0.1")


def isolation(level: Isolation | None, details: Sequence[str], kind: str, root: bool, required: str) -> Check:
    """Namespaces and overlay, by what a trial container showed. ``level`` None: demanded in vain, details say why."""
    user = "root" if root else "an ordinary user"
    reason = next((line.partition(": ")[2] for line in details if line.startswith("no namespaces: ")), "")
    problem, _, fix = (reason or "; ".join(details)).partition(". ")
    if level is None:
        return failed("isolation", problem, fix or "set runtime to auto in config.toml, or mend what it says")
    if required and required != level:
        return failed(
            "isolation",
            f"{level} is in force, require_isolation demands {required}" + (f": {problem}" if reason else ""),
            fix if reason and fix else f"set require_isolation to {level} in config.toml",
        )
    if level is Isolation.NAMESPACES:
        return ok("isolation", f"namespaces as {user}, overlay on {kind}: a trial container ran")
    if not reason:
        return warning("isolation", "process, because the setting is process", "set runtime to auto in config.toml")
    return warning("isolation", f"only processes, for trusted code: {problem}", fix or "see docs/CONFIG.md, runtime")


def cgroups(version: int, controllers: Sequence[str], missing: Mapping[str, str], isolated: bool) -> Check:
    """Limits on memory, CPU and processes."""
    if not isolated:
        return ok("cgroups", "not used: there are no limits without namespaces")
    lost = "; ".join(f"no {name} limit: {why}" for name, why in missing.items())
    if not missing:
        return ok("cgroups", f"version {version}: limits on {', '.join(controllers)}")
    fix = "run the server as root or in a delegated group (systemd-run --user -p Delegate=yes); in Docker: --privileged"
    return warning("cgroups", lost, fix)


def kernel(settings: Mapping[str, str], root: bool, isolated: bool) -> Check:
    """Settings that keep users out of namespaces; only a matter when those do not work. Values as the kernel has them.

    Keys: ``user.max_user_namespaces``, ``kernel.unprivileged_userns_clone``,
    ``kernel.apparmor_restrict_unprivileged_userns``, ``selinux.enforce``; absent where the kernel lacks them.
    """
    closed = {
        "user.max_user_namespaces": ("0", "sysctl -w user.max_user_namespaces=10000"),
        "kernel.unprivileged_userns_clone": ("0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        "kernel.apparmor_restrict_unprivileged_userns": (
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        "selinux.enforce": ("1", "look for denials (ausearch -m avc -ts recent) and allow what they name"),
    }
    found = [name for name, (value, _) in closed.items() if settings.get(name) == value]
    if root:
        found = [name for name in found if name == "selinux.enforce"]
    text = ", ".join(f"{name}={settings[name]}" for name in found)
    if not found or isolated:
        return ok("kernel", f"{text}, but containers work" if found else "nothing closes user namespaces")
    return warning("kernel", text, closed[found[0]][1])


def names(resolved: bool | None, url: str) -> Check:
    """Whether ``*.localhost`` resolves. None: there was no answer in time."""
    if resolved:
        return ok("names", "*.localhost resolves: web functions have names of their own")
    found = "*.localhost does not resolve" if resolved is False else "the resolver does not answer in time"
    fix = f"install libnss-myhostname, or use the addresses {url}/_web/..."
    return warning("names", f"{found} outside of browsers", fix)


def proxies(environ: Mapping[str, str]) -> Check:
    """Proxies must not stand between a client and a server on loopback. Their addresses may hold passwords."""
    wanted = ("http_proxy", "https_proxy", "all_proxy")
    found = sorted(name for name in environ if name.lower() in wanted and environ[name])
    if not found:
        return ok("proxies", "none")
    around = f"{environ.get('NO_PROXY', '')},{environ.get('no_proxy', '')}".replace(" ", "").split(",")
    if "*" in around or all(host in around for host in _LOOPBACK):
        return ok("proxies", f"{', '.join(found)}; NO_PROXY has loopback")
    fix = 'eval "$(ionian env)" adds it for the modal client; for curl and others: export NO_PROXY=127.0.0.1,localhost'
    return warning("proxies", f"{', '.join(found)}; NO_PROXY lacks loopback", fix)


def clock(year: int, moved_s: float, ahead_s: float) -> Check:
    """``moved_s``: wall clock against monotonic while we looked; ``ahead_s``: how far the home's files are ahead."""
    fix = "set the clock: timedatectl set-ntp true"
    if year not in _YEARS:
        return failed("clock", f"the year is {year}: no certificate is valid", fix)
    if abs(moved_s) > _STEP_S:
        return warning("clock", f"the wall clock jumped by {moved_s:+.1f} s meanwhile", fix)
    if ahead_s > 3600:
        return warning("clock", f"files of the home are {ahead_s / 3600:.1f} hours in the future", fix)
    return ok("clock", f"year {year}, steady")


def database(found: int | None, newest: int, error: str) -> Check:
    """The schema of the home. None: there is no database yet. ``error``: why it cannot be read."""
    if error:
        fix = "restore ionian.db from a backup, or start anew with another --home"
        return failed("database", f"cannot be read: {error}", fix)
    if found is None:
        return ok("database", "none yet: made on the first `ionian up`")
    if found > newest:
        fix = "upgrade Ionian, or give another --home"
        return failed("database", f"schema {found} of a newer Ionian (this one knows {newest})", fix)
    return ok("database", f"schema {found}" + (f", brought to {newest} on the next start" if found < newest else ""))


def token(path: Path, mode: int | None, readable: bool) -> Check:
    """The token file. ``mode``: its permission bits, None when there is none; ``readable``: it holds a token."""
    if mode is None:
        return ok("token", "none yet: made on the first `ionian up`")
    if not readable:
        return failed("token", f"{path} holds no token", f"mv '{path}' '{path}.bad' && ionian down; ionian up --detach")
    if mode & 0o077:
        return warning("token", f"{path} has mode {mode:o}: others can read it", f"chmod 600 '{path}'")
    return ok("token", f"{path}, mode {mode:o}")


def server(url: str, version: str, error: str) -> Check:
    """The server of this home. Empty ``url``: none runs. ``error``: it does not answer."""
    if not url:
        return ok("server", "not running; `ionian up` starts it")
    if error:
        return failed("server", error, "ionian down && ionian up --detach")
    return ok("server", f"version {version} at {url}")
