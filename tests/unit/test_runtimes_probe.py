"""Choosing a runtime: settings, and failures explained with their fix."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ionian.errors import ContainerFailed, InvalidRequest
from ionian.model import Isolation
from ionian.runtimes import probe, rootfs


async def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="docker"):
        await probe.choose("docker", tmp_path)


async def test_process_is_taken_without_a_trial(tmp_path: Path) -> None:
    runtime = await probe.choose("process", tmp_path / "new" / "state")
    assert runtime.level is Isolation.PROCESS
    assert "trusted code" in runtime.details[0]


@pytest.mark.parametrize(
    ("step", "number", "message", "rootless", "fix"),
    [
        ("namespaces", errno.EPERM, "unshare", True, "unprivileged_userns_clone"),
        ("namespaces", errno.EPERM, "unshare", False, "CAP_SYS_ADMIN"),
        ("namespaces", errno.ENOSPC, "unshare", True, "max_user_namespaces"),
        ("root", errno.EINVAL, "mount overlay /x", True, "IONIAN_HOME"),
        ("root", errno.EPERM, "mount proc /proc", True, "systempaths=unconfined"),
        ("root", errno.EACCES, "mount bind /", True, "apparmor_restrict_unprivileged_userns"),
    ],
)
def test_failures_say_what_to_do(step: str, number: int, message: str, rootless: bool, fix: str) -> None:
    error = ContainerFailed(f"could not be set up ({step}: {message})")
    error.step, error.errno = step, number  # type: ignore[attr-defined]
    explained = probe.explain(error, rootless)
    assert message in explained
    assert fix in explained


def test_the_plan_of_a_root_file_system() -> None:
    overlays = [
        rootfs.Overlay("", ("/l/one", "/l/two"), "/u", "/w0"),
        rootfs.Overlay("usr", ("/usr",), "/u/usr", "/w1"),
    ]
    binds = [rootfs.Shown("/host/data", "/mnt/data", True)]
    steps = rootfs.steps("/s/box", overlays, binds, {"hosts": "text"}, "name", network=True, root=False)
    names = [step[0] for step in steps]
    mounts = [step for step in steps if step[0] == "mount" and step[1] == "overlay"]
    assert [mount[2] for mount in mounts] == ["root", "root/usr"]
    assert all("userxattr" in mount[5] for mount in mounts)
    links = {step[2]: step[1] for step in steps if step[0] == "symlink"}
    options = dict(word.partition("=")[::2] for word in mounts[0][5].split(","))
    assert [links[name] for name in options["lowerdir"].split(":")] == ["/l/one", "/l/two"]
    assert (links[options["upperdir"]], links[options["workdir"]]) == ("/u", "/w0")
    assert names.index("pivot") < names.index("bind") < names.index("detach")
    assert ("bind", "host/data", "/mnt/data", True, False) in steps  # from the old root, below the working directory
    assert ("bind", "s/box/hosts", "/etc/hosts", True, False) in steps
    assert names[-1] == "loopback"


def test_hundreds_of_layers_fit_a_page() -> None:
    layers = tuple(f"/{'long' * 50}/{number}" for number in range(499))
    steps = rootfs.steps("/box", [rootfs.Overlay("", layers, "/u", "/w")], [], {}, "name", network=False, root=True)
    (mount,) = (step for step in steps if step[:2] == ("mount", "overlay"))
    assert len(mount[5]) < 4096
    names = [step[2] for step in steps if step[0] == "symlink" and step[1] in layers]
    assert len(set(names)) == 499
