"""What happens to a home between two starts: files lost or damaged. Each is said, and can be made good."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ionian.state.migrate import migrations
from tests.e2e import leftovers
from tests.e2e.conftest import APPS
from tests.e2e.machine import Client, Machine
from tests.faults.conftest import FAULTY, Call, Raised, python_of


def test_a_home_of_a_newer_version(machine: Machine) -> None:
    machine.up()
    machine.down()
    newest = migrations()[-1][0]
    with closing(sqlite3.connect(machine.config.database)) as database:
        database.execute("INSERT INTO schema_versions VALUES (?)", (newest + 1,))
        database.commit()
    for detach in ([], ["--detach"]):
        said = machine.cli("up", "--port", "0", *detach, code=1)
        assert "newer Ionian" in said
        assert f"schema {newest + 1}" in said
        assert "upgrade Ionian" in said
        assert "Traceback" not in said
    assert leftovers.find(machine.config) == []
    assert "upgrade Ionian" in machine.cli("doctor", code=1)


def test_lost_layers_are_built_anew_by_the_next_deploy(machine: Machine, new_client: Client) -> None:
    machine.up()
    machine.modal(new_client, "deploy", "holding.py", cwd=APPS)
    machine.down()
    shutil.rmtree(machine.home / "layers")
    machine.up()
    answer = machine.get("holding", "brief")
    assert answer.status == 502
    assert b"deploy again" in answer.body
    machine.modal(new_client, "deploy", "holding.py", cwd=APPS)
    assert machine.get("holding", "brief").status == 200
    shutil.rmtree(machine.home / "layers")  # now while the server runs
    machine.modal(new_client, "deploy", "holding.py", "--name", "other", cwd=APPS, code=1)
    machine.modal(new_client, "deploy", "holding.py", "--name", "other", cwd=APPS)
    assert machine.get("other", "brief").status == 200


def _halve(path: Path) -> None:
    path.chmod(0o644)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)


@pytest.mark.parametrize(("name", "advice"), [("ionian.db", "begin anew"), ("token.json", "a new token")])
def test_a_damaged_file_is_named_and_a_new_one_can_be_begun(machine: Machine, name: str, advice: str) -> None:
    machine.up()
    machine.down()
    _halve(machine.home / name)
    for detach in ([], ["--detach"]):
        said = machine.cli("up", "--port", "0", *detach, code=1)
        assert str(machine.home / name) in said
        assert advice in said
        assert "Traceback" not in said
    (machine.home / name).unlink()
    machine.up()
    assert machine.status()["apps"] == []


def _overwrite_a_page(database: Path, table: str) -> None:
    """In the middle of the file: the first page of one table."""
    with closing(sqlite3.connect(database)) as rows:
        rows.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = rows.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        (size,) = rows.execute("PRAGMA page_size").fetchone()
    with open(database, "r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)


def test_a_corrupted_database_with_one_page_overwritten(machine: Machine, new_client: Client) -> None:
    machine.up()
    machine.modal(new_client, "deploy", "counted.py", cwd=FAULTY)
    machine.down()
    backup = machine.config.database.read_bytes()
    _overwrite_a_page(machine.config.database, "outputs")  # which no start reads
    for detach in ([], ["--detach"]):
        said = machine.cli("up", "--port", "0", *detach, code=1)
        assert str(machine.config.database) in said
        assert "restore a copy of it, or move it away to begin anew" in said
        assert "Traceback" not in said
    assert leftovers.find(machine.config) == []
    assert str(machine.config.database) in machine.cli("doctor", "--deep", code=1)
    for file in machine.home.glob("ionian.db*"):
        file.unlink()
    machine.config.database.write_bytes(backup)
    machine.up()
    assert machine.get("counted", "answer").body == b"0"


def test_a_database_corrupted_under_the_running_server(machine: Machine, new_client: Client, call: Call) -> None:
    """Named to whoever asks; nothing wrong is answered, and the next start refuses it."""
    machine.up()
    machine.modal(new_client, "deploy", "counted.py", cwd=FAULTY)
    machine.down()
    machine.up()
    _overwrite_a_page(machine.config.database, "apps")
    said = machine.modal(new_client, "app", "list", code=None)
    assert "counted" not in said or "deployed" in said  # what it still has in memory is right
    machine.cli("down", code=None)
    said = machine.cli("up", "--detach", "--port", "0", code=1)
    assert "begin anew" in said
    assert "Traceback" not in said


def _layer_with(machine: Machine, name: str) -> Path:
    return next(path for path in (machine.home / "layers").rglob(name) if not path.is_symlink())


def test_a_corrupted_layer(machine: Machine, new_client: Client) -> None:
    """A file of a layer cut short: named, set aside, made anew by the next deploy."""
    machine.up()
    machine.modal(new_client, "deploy", "holding.py", cwd=APPS)
    assert machine.get("holding", "brief").status == 200
    machine.down()
    file = _layer_with(machine, "fastapi/applications.py")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    said = machine.cli("doctor", "--deep", code=1)
    assert "fastapi/applications.py" in said
    assert "deploy again" in said
    machine.up()
    answer = machine.get("holding", "brief")
    assert answer.status == 502
    assert b"damaged" in answer.body or b"not on this machine" in answer.body
    assert b"deploy again" in answer.body
    machine.modal(new_client, "deploy", "holding.py", cwd=APPS)
    assert machine.get("holding", "brief").status == 200
    assert file.read_bytes() == whole
    machine.cli("doctor", "--deep")


def test_a_corrupted_layer_of_the_same_size_is_found_by_doctor(machine: Machine, new_client: Client) -> None:
    machine.up()
    machine.modal(new_client, "deploy", "holding.py", cwd=APPS)
    machine.down()
    file = _layer_with(machine, "fastapi/applications.py")
    whole = file.read_bytes()
    file.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    try:
        said = machine.cli("doctor", "--deep", "--json", code=1)
    finally:
        file.write_bytes(whole)  # other tests' homes share it, through uv's cache
    (found,) = (check for check in json.loads(said)["checks"] if check["verdict"] == "failed")
    assert found["name"] == "layers"
    assert "fastapi/applications.py" in found["found"]


def _blobs(machine: Machine) -> list[Path]:
    return [path for path in machine.config.blobs.glob("??/*") if path.is_file()]


def test_a_corrupted_blob_of_a_deployed_file(machine: Machine, new_client: Client, tmp_path: Path) -> None:
    """The app's own source: named, never run, and uploaded again by the next deploy."""
    shutil.copy(FAULTY / "counted.py", tmp_path / "app.py")
    machine.up()
    machine.modal(new_client, "deploy", "app.py", cwd=tmp_path)
    machine.down()
    (blob,) = (path for path in _blobs(machine) if b"VERSION = 0" in path.read_bytes())
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes().replace(b"VERSION = 0", b"VERSION = 7"))
    assert str(blob) in machine.cli("doctor", "--deep", code=1)
    machine.up()
    answer = machine.get("counted", "answer")
    assert answer.status == 502
    assert blob.name.encode() in answer.body
    assert b"deploy again" in answer.body
    machine.modal(new_client, "deploy", "app.py", cwd=tmp_path)
    assert machine.get("counted", "answer").body == b"0"


_LATER = """
import sys, modal
measure = modal.Function.from_name("measuring", "measure")
print("CALL", measure.spawn(bytes(5_000_000)).object_id)
"""
_GET = """
import sys, modal
try:
    print("RESULT", modal.FunctionCall.from_id(sys.argv[1]).get(timeout=60))
except Exception as error:
    print("RAISED", type(error).__name__, error)
"""


def test_a_corrupted_blob_of_an_input(machine: Machine, new_client: Client, call: Call) -> None:
    """The call ends in an error that names it; the next call works."""
    machine.up()
    machine.modal(new_client, "deploy", "measuring.py", cwd=FAULTY)
    machine.command(
        python_of(machine, new_client, "-c", "import modal; modal.Function.from_name('measuring', 'hold').spawn(4)")
    )
    said = machine.command(python_of(machine, new_client, "-c", _LATER))  # waits behind that one
    call_id = said.split("CALL")[1].split()[0]
    (blob,) = (path for path in _blobs(machine) if path.stat().st_size >= 5_000_000)
    blob.chmod(0o644)
    with open(blob, "r+b") as file:
        file.seek(2_000_000)
        file.write(b"damage")
    said = machine.command(python_of(machine, new_client, "-c", _GET, call_id))
    assert "RAISED" in said
    assert blob.name in said
    assert "damaged" in said
    said = machine.command(python_of(machine, new_client, "-c", _LATER))
    said = machine.command(python_of(machine, new_client, "-c", _GET, said.split("CALL")[1].split()[0]))
    assert "RESULT 5000000" in said
    with pytest.raises(Raised, match="NotFound"):
        call(machine, "measuring", "nothing")
