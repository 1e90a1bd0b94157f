"""The main job where nothing can be mounted: isolation is reduced and said so, and the host is as it was afterwards."""

from __future__ import annotations

from pathlib import Path

from tests.e2e import leftovers
from tests.e2e.machine import Client, Machine
from tests.machines.places import Place

_HOST = "local--iris-classifier-predict.localhost"
ANSWER = {"prediction": 0, "class_name": "setosa"}


def test_the_place_is_what_it_claims(plain_container: Place, contained: Machine) -> None:
    script = "unshare -m true; unshare -U true; mount -t tmpfs x /mnt; mkdir /sys/fs/cgroup/x; echo x > /root/x; id -u"
    said = contained.command(["sh", "-c", script])
    assert said.count("not permitted") == 2
    assert "denied" in said or "must be superuser" in said
    assert "Read-only" in said
    assert said.endswith("\n0\n")
    assert (plain_container.root_home / "x").is_file()


def test_demo(contained: Machine, plain_container: Place) -> None:
    said = contained.cli("demo", "--once")
    assert "isolation  process (reduced: " in said
    assert "is setosa; 6 of 6 right" in said
    assert leftovers.find(contained.config) == []
    assert list(plain_container.root_home.iterdir()) == []


def test_a_model_at_an_absolute_path(
    contained: Machine, plain_container: Place, project: Path, new_client: Client
) -> None:
    greeting = contained.up()
    status = contained.cli("status")
    for said in (greeting, status):
        assert "isolation  process (reduced: ordinary processes of this user, for trusted code only)" in said
        assert "no namespaces: " in said
        assert "--privileged" in said
    link = plain_container.root_home / "iris_model.pkl"
    for build_log in ("isolation: process", ""):  # built once
        assert build_log in contained.ionian(new_client, "deploy", "app_modal.py", cwd=project)
        assert link.is_symlink()
        answer = contained.request("POST", "/", {"features": [5.1, 3.5, 1.4, 0.2]}, _HOST)
        assert (answer.status, answer.json()) == (200, ANSWER)
        contained.ionian(new_client, "app", "stop", "--yes", "iris-classifier", cwd=project)
        assert list(plain_container.root_home.iterdir()) == []
    contained.ionian(new_client, "deploy", "app_modal.py", cwd=project)
    contained.down()
    assert list(plain_container.root_home.iterdir()) == []
    assert leftovers.find(contained.config) == []


def test_a_file_of_the_host_is_named_and_kept(
    contained: Machine, plain_container: Place, project: Path, new_client: Client
) -> None:
    contained.command(["sh", "-c", "echo precious > /root/iris_model.pkl"])
    contained.up()
    said = contained.ionian(new_client, "deploy", "app_modal.py", cwd=project, code=1)
    assert "cannot provide /root/iris_model.pkl: it exists on this machine" in " ".join(said.split())
    contained.down()
    assert (plain_container.root_home / "iris_model.pkl").read_text() == "precious\n"
    assert leftovers.find(contained.config) == []
