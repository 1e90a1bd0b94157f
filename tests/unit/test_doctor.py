"""Doctor's judgements: each thing that can be wrong, what it is called and how it is mended."""

from __future__ import annotations

import errno
import json
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ionian.cli import main
from ionian.config import Config
from ionian.doctor import check, clients, examination, facts, machine
from ionian.doctor.check import Check, Verdict
from ionian.doctor.clients import Client
from ionian.model import Isolation

GIB = 1024**3
PLACE = Path("/data/home")


def client(version: str, series: tuple[int, int], own: bool = False) -> Check:
    return clients.client(Client("/venv/bin/python", series, version), "/venv/bin/python", own, "1.6.4")


def trial(level: Isolation | None, *details: str, required: str = "") -> Check:
    return machine.isolation(level, details, "ext4", False, required)


REFUSED = "the container could not be set up (namespaces: EPERM). Allow user namespaces: sysctl -w a.b=1"

WELL = [
    clients.python((3, 11, 2), "/usr/bin/python3"),
    client("1.6.4", (3, 13)),
    client("0.73.173", (3, 12)),
    client("1.6.4", (3, 11), own=True),
    machine.home(PLACE, 9 * GIB, None, "btrfs", True),
    machine.home(PLACE, 9 * GIB, 10**6, "overlay", True),
    machine.port("127.0.0.1", 9900, False, None),
    machine.port("127.0.0.1", 9900, True, None),
    machine.port("127.0.0.1", 0, False, None),
    trial(Isolation.NAMESPACES, "isolation: namespaces (...)"),
    machine.cgroups(2, ("memory", "cpu", "pids"), {}, True),
    machine.cgroups(0, (), {"memory": "no"}, False),
    machine.kernel({}, False, False),
    machine.kernel({"kernel.apparmor_restrict_unprivileged_userns": "1"}, True, False),
    machine.kernel({"kernel.apparmor_restrict_unprivileged_userns": "1", "selinux.enforce": "1"}, False, True),
    machine.kernel({"user.max_user_namespaces": "1000", "kernel.unprivileged_userns_clone": "1"}, False, False),
    machine.names(True, "http://127.0.0.1:9"),
    machine.proxies({"HTTP_PROXY": ""}),
    machine.proxies({"HTTPS_PROXY": "http://p", "no_proxy": "example.org, localhost,127.0.0.1"}),
    machine.proxies({"HTTPS_PROXY": "http://p", "NO_PROXY": "*"}),
    machine.clock(2026, 0.01, -5),
    machine.database(None, 3, ""),
    machine.database(3, 3, ""),
    machine.database(2, 3, ""),
    machine.token(PLACE, None, False),
    machine.token(PLACE, 0o600, True),
    machine.server("", "", ""),
    machine.server("http://127.0.0.1:9900", "1.0", ""),
]

ILL = [
    (clients.python((3, 10, 1), "/usr/bin/python3"), Verdict.FAILED, "3.11"),
    (clients.client(None, "/venv/bin/python", False, "1.6.4"), Verdict.FAILED, "pip install modal==1.6.4"),
    (client("0.73.173", (3, 13)), Verdict.FAILED, "up to 3.12"),
    (client("1.2.6", (3, 14)), Verdict.FAILED, "up to 3.13"),
    (client("0.50.1", (3, 11)), Verdict.WARNING, "before 0.64"),
    (client("2.0.0", (3, 13)), Verdict.WARNING, "modal==1.6.4"),
    (machine.unusable_home(PLACE, "Permission denied"), Verdict.FAILED, "--home"),
    (machine.home(PLACE, 10 * 1024**2, None, "ext4", True), Verdict.FAILED, "free some space"),
    (machine.home(PLACE, 9 * GIB, 12, "ext4", True), Verdict.FAILED, "free some space"),
    (machine.home(PLACE, 1 * GIB, None, "ext4", True), Verdict.WARNING, "torch"),
    (machine.home(PLACE, 9 * GIB, None, "fuse.sshfs", False), Verdict.WARNING, "ext4"),
    (machine.port("::1", 9900, False, OSError(errno.EADDRINUSE, "in use")), Verdict.FAILED, "--port 0"),
    (machine.port("::1", 80, False, OSError(errno.EACCES, "denied")), Verdict.FAILED, "1024"),
    (machine.port("1.2.3.4", 9900, False, OSError(errno.EADDRNOTAVAIL, "not here")), Verdict.FAILED, "127.0.0.1"),
    (trial(Isolation.PROCESS, "isolation: process", f"no namespaces: {REFUSED}"), Verdict.WARNING, "sysctl -w a.b=1"),
    (trial(Isolation.PROCESS, "isolation: process", "namespaces: not tried"), Verdict.WARNING, "runtime to auto"),
    (trial(None, REFUSED), Verdict.FAILED, "sysctl -w a.b=1"),
    (
        trial(Isolation.PROCESS, f"no namespaces: {REFUSED}", required="namespaces"),
        Verdict.FAILED,
        "sysctl -w a.b=1",
    ),
    (trial(Isolation.NAMESPACES, required="process"), Verdict.FAILED, "require_isolation to namespaces"),
    (machine.cgroups(1, ("cpu",), {"memory": "read-only"}, True), Verdict.WARNING, "Delegate"),
    (machine.kernel({"user.max_user_namespaces": "0"}, False, False), Verdict.WARNING, "sysctl -w user.max"),
    (machine.kernel({"kernel.unprivileged_userns_clone": "0"}, False, False), Verdict.WARNING, "clone=1"),
    (
        machine.kernel({"kernel.apparmor_restrict_unprivileged_userns": "1"}, False, False),
        Verdict.WARNING,
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    (machine.kernel({"selinux.enforce": "1"}, True, False), Verdict.WARNING, "ausearch"),
    (machine.names(False, "http://127.0.0.1:9"), Verdict.WARNING, "http://127.0.0.1:9/_web/"),
    (machine.names(None, "http://127.0.0.1:9"), Verdict.WARNING, "libnss-myhostname"),
    (machine.proxies({"http_proxy": "http://user:secret@p"}), Verdict.WARNING, "ionian env"),
    (machine.clock(1970, 0, 0), Verdict.FAILED, "set-ntp"),
    (machine.clock(2026, -20, 0), Verdict.WARNING, "set-ntp"),
    (machine.clock(2026, 0, 9000), Verdict.WARNING, "set-ntp"),
    (machine.database(9, 3, ""), Verdict.FAILED, "upgrade Ionian"),
    (machine.database(None, 3, "file is not a database"), Verdict.FAILED, "backup"),
    (machine.token(PLACE, 0o644, True), Verdict.WARNING, f"chmod 600 '{PLACE}'"),
    (machine.token(PLACE, 0o600, False), Verdict.FAILED, "mv "),
    (machine.server("http://127.0.0.1:9900", "", "it does not answer"), Verdict.FAILED, "ionian down"),
]


@pytest.mark.parametrize("found", WELL, ids=lambda found: f"{found.name}: {found.found}")
def test_what_is_well_needs_no_fix(found: Check) -> None:
    assert (found.verdict, found.fix) == (Verdict.OK, "")


@pytest.mark.parametrize(("found", "verdict", "fix"), ILL, ids=lambda value: getattr(value, "found", None))
def test_what_is_wrong_says_how_to_mend_it(found: Check, verdict: Verdict, fix: str) -> None:
    assert found.verdict is verdict
    assert fix in found.fix
    assert "\n" not in found.fix + found.found
    assert "secret" not in found.found


def test_only_failures_are_unhealthy_and_the_table_has_every_fix() -> None:
    checks = [check.ok("a", "fine"), check.warning("bb", "odd", "mend it")]
    assert check.healthy(checks)
    assert check.table(checks) == "ok       a   fine\nwarning  bb  odd\n             fix: mend it\n"
    assert not check.healthy([*checks, check.failed("c", "broken", "buy another")])


def test_schema_is_read_and_damage_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a b#c.db"
    assert facts.schema(path) == (None, "")
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE schema_versions (version BIGINT PRIMARY KEY)")
        made.execute("INSERT INTO schema_versions VALUES (7)")
    made.close()
    assert facts.schema(path) == (7, "")
    path.write_bytes(b"no database at all, by any means" * 100)
    found, error = facts.schema(path)
    assert found is None
    assert "not a database" in error


def test_token_file_and_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "token.json"
    assert facts.token(path) == (None, False)
    path.write_text("{}")
    path.chmod(0o640)
    assert facts.token(path) == (0o640, False)
    path.write_text(json.dumps({"token_id": "ak-1", "token_secret": "as-1"}))
    assert facts.token(path) == (0o640, True)


def test_a_port_that_is_taken_is_seen() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        error = facts.bind_error("127.0.0.1", taken.getsockname()[1])
    assert error is not None
    assert error.errno == errno.EADDRINUSE
    assert facts.bind_error("127.0.0.1", 0) is None


def test_the_innermost_mount_counts() -> None:
    text = "\n".join(
        f"{n} 1 0:1 / {point} rw - {kind} none rw"
        for n, (point, kind) in enumerate(
            [("/", "overlay"), ("/data", "ext4"), ("/data/my\\040nfs", "nfs4"), ("/database", "tmpfs")]
        )
    )
    assert facts.kind_of("/data/home", text) == "ext4"
    assert facts.kind_of("/data/my nfs/x", text) == "nfs4"
    assert facts.kind_of("/database", text) == "tmpfs"
    assert facts.kind_of("/elsewhere", text) == "overlay"


def test_a_python_is_asked_for_its_client(tmp_path: Path) -> None:
    found = clients.ask(sys.executable)
    assert found is not None
    assert found.series == sys.version_info[:2]
    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\nexit 1\n")
    silent.chmod(0o755)
    assert clients.ask(str(silent)) is None
    assert clients.ask(str(tmp_path / "none")) is None


@pytest.mark.parametrize("setting", ["auto", "process"])
def test_a_real_examination_builds_and_calls_and_leaves_nothing(tmp_path: Path, setting: str) -> None:
    config = Config(home=tmp_path / "not made yet", port=0, runtime=setting)
    found = {one.name: one for one in examination.examine(config, sys.executable, examination.Serving(), os.environ)}
    assert found["build"].verdict is Verdict.OK, found["build"]
    assert found["call"].verdict is Verdict.OK, found["call"]
    assert not list(tmp_path.iterdir())


def test_another_system_gets_one_clear_line_from_every_verb() -> None:
    """``fcntl`` and such do not exist there: nothing may need them before the line is printed."""
    program = (
        "import sys; sys.platform = 'darwin'; sys.modules['fcntl'] = None; "
        "from ionian.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    for verb in ("up", "doctor", "deploy"):
        done = subprocess.run([sys.executable, "-c", program, verb], capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.startswith("ionian: Ionian runs on Linux only, this is darwin")
        assert done.stderr.count("\n") == 1
    assert subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True).returncode == 0


def test_the_verb_fails_for_a_failure_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IONIAN_PORT", "0")
    assert main(["doctor", "--json", "--home", str(tmp_path)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["healthy"] is True
    (tmp_path / "token.json").write_text("nothing")
    assert main(["doctor", "--home", str(tmp_path)]) == 1
    assert "failed   token" in capsys.readouterr().out
