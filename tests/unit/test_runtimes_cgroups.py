"""Reading where control groups are, and what is written into them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ionian.model import Resources
from ionian.runtimes import cgroups

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
"""


def test_mounts_of_a_hybrid_machine() -> None:
    assert cgroups.mounted(HYBRID) == {
        "cpu": Path("/sys/fs/cgroup/cpu,cpuacct"),
        "memory": Path("/sys/fs/cgroup/memory"),
        "": Path("/sys/fs/cgroup/unified"),
    }


def test_what_is_missing_is_said_once_a_reason() -> None:
    missing = {"memory": "/a: Read-only file system", "cpu": "/b: Read-only file system", "pids": "not mounted"}
    said = cgroups.Cgroups(0, {}, missing).describe()
    assert said == "cgroups: none (no limit on memory, cpu: /a: Read-only file system; no limit on pids: not mounted)"


def test_own_groups() -> None:
    text = "4:memory:/user.slice\n3:cpu,cpuacct:/\n1:name=systemd:/init.scope\n0::/user.slice/a:b\n"
    groups = cgroups.own_groups(text)
    assert groups["memory"] == "/user.slice"
    assert groups["cpu"] == "/"
    assert groups[""] == "/user.slice/a:b"


@pytest.mark.parametrize(
    ("version", "resources", "expected"),
    [
        (1, Resources(1000, 128), {"memory": {}, "cpu": {"cpu.shares": "1024"}}),
        (
            1,
            Resources(1, 128, 2500, 64),
            {
                "memory": {"memory.limit_in_bytes": "67108864", "?memory.memsw.limit_in_bytes": "67108864"},
                "cpu": {"cpu.shares": "2", "cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "250000"},
            },
        ),
        (2, Resources(1000, 128), {"memory": {}, "cpu": {"cpu.weight": "100"}}),
        (
            2,
            Resources(125, 128, 500, 64),
            {
                "memory": {"memory.max": "67108864", "?memory.swap.max": "0"},
                "cpu": {"cpu.weight": "12", "cpu.max": "50000 100000"},
            },
        ),
    ],
)
def test_settings(version: int, resources: Resources, expected: dict[str, dict[str, str]]) -> None:
    found = {controller: dict(lines) for controller, lines in cgroups.settings(version, resources).items()}
    assert found == {**expected, "pids": {"pids.max": "32768"}}


def test_out_of_memory_reads_both_versions(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for directory in (one, two):
        directory.mkdir()
    (one / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
    (two / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 0\n")
    assert not cgroups.out_of_memory((one, two))
    (two / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\n")
    assert cgroups.out_of_memory((two,))
    (one / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert cgroups.out_of_memory((one,))
    assert not cgroups.out_of_memory((tmp_path / "gone",))
