"""Rows of secrets: names, apps, deletion, listing; the key's rotation, cut off at every step."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ionian import vault
from ionian.errors import AlreadyExists, FailedPrecondition, InvalidRequest, NotFound
from ionian.state import apps, environments, rotate, secrets
from ionian.state.database import SqliteDatabase, Tx
from ionian.state.migrate import migrate

NOW = 1_000.0


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    made = SqliteDatabase(tmp_path / "ionian.db")
    await migrate(made)
    await made.write(environments.get, "main", 1.0)
    yield made
    made.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "secrets.key"


def _put(tx: Tx, file: Path, name: str, kind: str = "fail", /, **variables: str) -> str:
    return str(secrets.put(tx, file, "", name, variables, "me", kind, NOW)["secret_id"])


async def test_a_name_keeps_its_id_whatever_happens_to_it(database: SqliteDatabase, file: Path) -> None:
    first = await database.write(_put, file, "keys", A="1", B="2")
    with pytest.raises(AlreadyExists, match="'keys' exists already in environment 'main'; --force"):
        await database.write(_put, file, "keys", A="9")
    assert await database.write(_put, file, "keys", "keep", A="9") == first
    assert await database.read(secrets.opened, file, [first]) == {"A": "1", "B": "2"}
    assert await database.write(_put, file, "keys", "overwrite", A="3") == first
    assert await database.read(secrets.opened, file, [first]) == {"A": "3"}
    await database.write(secrets.update, file, first, {"C": "4", "A": None}, NOW)
    assert await database.read(secrets.opened, file, [first]) == {"C": "4"}
    await database.write(secrets.delete, first, NOW)
    with pytest.raises(NotFound, match=r"'keys' in environment 'main' was deleted; create it again with: modal secret"):
        await database.read(secrets.opened, file, [first])
    with pytest.raises(
        NotFound, match="not found in environment 'main'; create it with: modal secret create keys NAME"
    ):
        await database.write(secrets.find, "", "keys", (), NOW)
    assert await database.read(secrets.listed, "", 0.0, 0, NOW) == []
    assert await database.write(_put, file, "keys", A="5") == first
    assert await database.read(secrets.opened, file, [first]) == {"A": "5"}


async def test_a_missing_key_is_named_with_the_whole_command(database: SqliteDatabase, file: Path) -> None:
    await database.write(_put, file, "keys", A="1")
    wanted = r"has no B, C \(it has A\); set all of it with: modal secret create keys A=value B=value C=value --force"
    with pytest.raises(NotFound, match=wanted):
        await database.write(secrets.find, "", "keys", ("C", "A", "B"), NOW)
    await database.write(environments.create, "dev", NOW)
    with pytest.raises(NotFound, match="modal secret create keys A=value --env dev"):
        await database.write(secrets.find, "dev", "keys", ("A",), NOW)


async def test_later_secrets_win(database: SqliteDatabase, file: Path) -> None:
    one = await database.write(_put, file, "one", A="1", B="1")
    two = await database.write(_put, file, "two", B="2", C="2")
    assert await database.read(secrets.opened, file, [one, two]) == {"A": "1", "B": "2", "C": "2"}
    assert await database.read(secrets.opened, file, [two, one]) == {"A": "1", "B": "1", "C": "2"}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"": "v-alue"}, "cannot be the name"),
        ({"A=B": "v-alue"}, "cannot be the name"),
        ({"A": "v-al\0ue"}, "value of 'A' has a NUL"),
        ({"A": "v-alue" * 6000}, "value of 'A' has 36000 characters; the limit is 32768"),
        ({"A" * 16_385: "v-alue"}, "16385 characters; the limit is 16384"),
        ({f"A{n}": "v-alue" * 5000 for n in range(40)}, "make several of it"),
    ],
)
async def test_what_no_environment_can_hold_is_refused_without_its_value(
    database: SqliteDatabase, file: Path, variables: dict[str, str], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said) as raised:
        await database.write(_put, file, "keys", **variables)
    assert "v-al" not in str(raised.value)
    assert await database.read(secrets.listed, "", 0.0, 0, NOW) == []


async def test_a_secret_of_an_app_is_one_while_it_is_the_same_and_goes_with_it(
    database: SqliteDatabase, file: Path
) -> None:
    app_id = (await database.write(apps.create, "", "x", apps.EPHEMERAL, "1.6.4", {}, NOW))["app_id"]

    async def put(app: str, **variables: str) -> str:
        row = await database.write(secrets.put_anonymous, file, "", app, variables, "me", NOW)
        return str(row["secret_id"])

    mine = await put(app_id, A="1")
    assert await put(app_id, A="1") == mine
    assert await put(app_id, A="2") != mine
    nobodys = await put("", A="1")
    assert nobodys != mine
    one, other = [await database.read(secrets.identity, [found]) for found in (mine, nobodys)]
    assert one == other
    await database.write(secrets.expire, NOW + 10)
    assert await database.read(secrets.opened, file, [mine, nobodys]) == {"A": "1"}
    await database.write(apps.stop, app_id, "", NOW)
    await database.write(secrets.expire, NOW + 10)
    with pytest.raises(NotFound, match="it went with the app"):
        await database.read(secrets.opened, file, [mine])
    await database.write(secrets.expire, NOW + secrets.OWNERLESS_S + 1)
    with pytest.raises(NotFound):
        await database.read(secrets.opened, file, [nobodys])


async def test_last_use_is_noted(database: SqliteDatabase, file: Path) -> None:
    secret_id = await database.write(_put, file, "keys", A="1")
    assert (await database.read(secrets.get, secret_id))["last_used_at"] == 0
    assert await secrets.variables(database, file, [secret_id], 5_000.0) == {"A": "1"}
    assert (await database.read(secrets.get, secret_id))["last_used_at"] == 5_000.0


async def test_the_listing_is_newest_first_in_pages(database: SqliteDatabase, file: Path) -> None:
    for number in range(5):
        await database.write(secrets.put, file, "", f"s{number}", {"A": "1"}, "me", "fail", NOW + number)
    page = await database.read(secrets.listed, "", 0.0, 2, NOW)
    assert [row["name"] for row in page] == ["s4", "s3"]
    rest = await database.read(secrets.listed, "", page[-1]["created_at"], 0, NOW)
    assert [row["name"] for row in rest] == ["s2", "s1", "s0"]


# -- the key


async def test_a_key_is_made_once_and_never_in_place_of_a_lost_one(database: SqliteDatabase, file: Path) -> None:
    secret_id = await database.write(_put, file, "keys", A="1")
    kept = file.read_bytes()
    await database.write(_put, file, "more", A="1")
    assert file.read_bytes() == kept
    file.unlink()
    with pytest.raises(vault.KeysMissing):
        await database.write(_put, file, "again", A="1")
    with pytest.raises(vault.KeysMissing):
        await database.read(secrets.opened, file, [secret_id])
    assert len(await database.read(secrets.listed, "", 0.0, 0, NOW)) == 2
    await database.write(secrets.delete, secret_id, NOW)
    file.write_bytes(kept)
    file.chmod(0o600)
    await database.write(_put, file, "again", A="1")


async def test_beginning_anew_names_what_is_lost_and_lets_it_be_made_again(
    database: SqliteDatabase, file: Path
) -> None:
    secret_id = await database.write(_put, file, "keys", A="1")
    with pytest.raises(FailedPrecondition, match="is there and whole"):
        await rotate.begin_anew(database, file)
    file.write_bytes(b"broken")
    assert await rotate.begin_anew(database, file) == ["secret 'keys' in environment 'main'"]
    with pytest.raises(FailedPrecondition, match=r"create it again with: modal secret create keys A=value --force"):
        await database.read(secrets.opened, file, [secret_id])
    [aside] = file.parent.glob("secrets.key.lost-*")
    assert aside.read_bytes() == b"broken"
    assert await database.write(_put, file, "keys", "overwrite", A="2") == secret_id
    assert await database.read(secrets.opened, file, [secret_id]) == {"A": "2"}


async def test_rotation_seals_everything_anew_and_forgets_the_old_key(database: SqliteDatabase, file: Path) -> None:
    ids = [await database.write(_put, file, f"s{number}", A=str(number)) for number in range(20)]
    [old] = vault.load(file)
    before = {i: (await database.read(secrets.get, i))["sealed"] for i in ids}
    assert await rotate.rotate(database, file, NOW) == (20, [])
    [new] = vault.load(file)
    assert new.key_id != old.key_id
    for number, secret_id in enumerate(ids):
        row = await database.read(secrets.get, secret_id)
        assert row["key_id"] == new.key_id
        assert row["sealed"] != before[secret_id]
        assert await database.read(secrets.opened, file, [secret_id]) == {"A": str(number)}


async def test_what_does_not_open_is_named_and_keeps_its_key(database: SqliteDatabase, file: Path) -> None:
    good = await database.write(_put, file, "good", A="1")
    bad = await database.write(_put, file, "bad", A="1")

    def spoil(tx: Tx) -> None:
        tx.execute("UPDATE secrets SET sealed = ? WHERE secret_id = ?", b"nonsense" * 9, bad)

    await database.write(spoil)
    [old] = vault.load(file)
    assert await rotate.rotate(database, file, NOW) == (1, ["secret 'bad' in environment 'main'"])
    assert vault.load(file)[0].key_id == old.key_id
    assert await database.read(secrets.opened, file, [good]) == {"A": "1"}


class _KilledError(Exception):
    pass


class _Counted:
    """``os`` for the vault, and ``_seal`` for the rows: they work ``last`` times, then nothing more, as if killed."""

    def __init__(self, last: int) -> None:
        self.left = last

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.left <= 0:
                raise _KilledError
            self.left -= 1
            return function(*args, **kwargs)

        return call

    def __getattr__(self, name: str) -> Any:
        found = getattr(os, name)
        return self.wrap(found) if name in ("open", "fsync", "close") else found


def _kill_after(patch: pytest.MonkeyPatch, last: int) -> None:
    counted = _Counted(last)
    patch.setattr(vault, "os", counted)
    patch.setattr(Path, "replace", counted.wrap(Path.replace))
    patch.setattr(secrets, "_seal", counted.wrap(secrets._seal))
    patch.setattr(secrets, "drop_old_keys", counted.wrap(secrets.drop_old_keys))
    patch.setattr(SqliteDatabase, "persist", counted.wrap(SqliteDatabase.persist))


async def test_a_rotation_that_is_cut_off_anywhere_leaves_all_readable_and_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for last in range(200):
        home = tmp_path / str(last)
        home.mkdir()
        file, database = home / "secrets.key", SqliteDatabase(home / "ionian.db")
        try:
            await migrate(database)
            ids = [await database.write(_put, file, f"s{number}", A=str(number)) for number in range(3)]
            cut = False
            with monkeypatch.context() as patch:
                _kill_after(patch, last)
                try:
                    await rotate.rotate(database, file, NOW)
                except _KilledError:
                    cut = True
        finally:
            database.close()
        again = SqliteDatabase(home / "ionian.db")
        try:
            for number, secret_id in enumerate(ids):
                assert await again.read(secrets.opened, file, [secret_id]) == {"A": str(number)}, last
            await rotate.finish(again, file, NOW)
            assert len(vault.load(file)) == 1
            for number, secret_id in enumerate(ids):
                assert await again.read(secrets.opened, file, [secret_id]) == {"A": str(number)}, last
        finally:
            again.close()
        if not cut:
            break
    assert 8 < last < 199
