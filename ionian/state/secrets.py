"""Secrets: variables for containers, sealed in their rows. Sealing and opening happen within the transaction.

So a rotation of the key, which is a transaction of its own, can never pass one by. A secret that was deleted keeps its
row without its values: a function that needs it can say so, and one of the same name that is created later takes its
place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from ionian import vault
from ionian.errors import AlreadyExists, FailedPrecondition, InvalidRequest, NotFound
from ionian.model import new_id
from ionian.state import apps, environments, functions
from ionian.state.database import Database, Row, Tx
from ionian.state.labels import MAIN

LONGEST_KEY, LONGEST_VALUE = 16_384, 32_768  # characters
LARGEST = 1024 * 1024  # bytes of one secret's names and values: a program's whole environment has about two MiB
OWNERLESS_S = 24 * 3600.0  # how long one is kept that has neither a name nor an app
_NOTED_S = 10.0  # how exact the time of last use is


def checked(variables: Mapping[str, str]) -> dict[str, str]:
    """Raises InvalidRequest for what cannot be a program's environment. Never says a value."""
    for name, value in variables.items():
        if not name or "=" in name or "\0" in name:
            raise InvalidRequest(f"{name!r} cannot be the name of a variable: it is empty or has '=' or NUL in it")
        if len(name) > LONGEST_KEY:
            raise InvalidRequest(f"a secret's key has {len(name)} characters; the limit is {LONGEST_KEY}")
        if "\0" in value:
            raise InvalidRequest(f"the value of {name!r} has a NUL character in it, which no variable can have")
        if len(value) > LONGEST_VALUE:
            raise InvalidRequest(f"the value of {name!r} has {len(value)} characters; the limit is {LONGEST_VALUE}")
    size = sum(len(name.encode()) + len(value.encode()) for name, value in variables.items())
    if size > LARGEST:
        raise InvalidRequest(f"the secret has {size} bytes in all; the limit is {LARGEST}: make several of it")
    return dict(variables)


def how_to_make(name: str, environment: str, keys: Iterable[str] = (), force: bool = False) -> str:
    """The command that creates a secret."""
    words = ["modal secret create", name, *(f"{key}=value" for key in list(keys) or ["NAME"])]
    words += ["--env", environment] if environment != MAIN else []
    return " ".join([*words, "--force"] if force else words)


def put(
    tx: Tx, key_file: Path, environment: str, name: str, variables: Mapping[str, str], by: str, kind: str, now: float
) -> Row:
    """Create a named secret. ``kind`` says what happens to one that exists: ``keep``, ``fail`` or ``overwrite`` it."""
    environment = environments.get(tx, environment, now)["name"]
    row = _named(tx, environment, name)
    alive = row is not None and not row["deleted_at"]
    if alive and kind == "keep":
        assert row is not None
        return row
    if alive and kind == "fail":
        raise AlreadyExists(
            f"secret {name!r} exists already in environment {environment!r}; --force (in Python: .update()) changes it"
        )
    variables = checked(variables)
    if row is None:
        return _insert(tx, key_file, environment, name, "", variables, by, now)
    if not alive:
        tx.execute(
            "UPDATE secrets SET created_at = ?, created_by = ?, last_used_at = 0, deleted_at = 0 WHERE secret_id = ?",
            now,
            by,
            row["secret_id"],
        )
    return _seal(tx, _keys(tx, key_file), row["secret_id"], variables, now)


def put_anonymous(
    tx: Tx, key_file: Path, environment: str, app_id: str, variables: Mapping[str, str], by: str, now: float
) -> Row:
    """The secret of an app with these variables: equal ones are one. Without an app it is nobody's and a new one."""
    if app_id:
        app = apps.get(tx, app_id)
        if app["state"] == apps.STOPPED:
            raise FailedPrecondition(f"app {app_id} is stopped: a secret of its own would be of no use")
        environment = app["environment"]
        row = tx.one(
            "SELECT * FROM secrets WHERE name = '' AND app_id = ? AND fingerprint = ?",
            app_id,
            vault.fingerprint(_keys(tx, key_file), variables),
        )
        if row is not None:
            return row
    environment = environments.get(tx, environment, now)["name"]
    return _insert(tx, key_file, environment, "", app_id, checked(variables), by, now)


def _insert(
    tx: Tx,
    key_file: Path,
    environment: str,
    name: str,
    app_id: str,
    variables: dict[str, str],
    by: str,
    now: float,
) -> Row:
    secret_id, keys = new_id("st"), _keys(tx, key_file)
    tx.execute(
        "INSERT INTO secrets (secret_id, environment, name, app_id, keys, key_id, sealed, fingerprint, created_at, "
        "created_by, updated_at, last_used_at, deleted_at) VALUES (?, ?, ?, ?, '[]', '', ?, '', ?, ?, ?, 0, 0)",
        secret_id,
        environment,
        name,
        app_id,
        b"",
        now,
        by,
        now,
    )
    return _seal(tx, keys, secret_id, variables, now)


def _seal(tx: Tx, keys: tuple[vault.Key, ...], secret_id: str, variables: Mapping[str, str], now: float) -> Row:
    sealed = vault.seal(keys, secret_id, variables)
    tx.execute(
        "UPDATE secrets SET keys = ?, key_id = ?, sealed = ?, fingerprint = ?, updated_at = ? WHERE secret_id = ?",
        json.dumps(sorted(variables)),
        sealed.key_id,
        sealed.data,
        vault.fingerprint(keys, variables),
        now,
        secret_id,
    )
    return get(tx, secret_id)


def _keys(tx: Tx, key_file: Path) -> tuple[vault.Key, ...]:
    """The keys to seal with; made when nothing was ever sealed. Raises KeysMissing when they are gone."""
    try:
        return vault.load(key_file)
    except vault.KeysMissing:
        if tx.one("SELECT 1 AS one FROM secrets WHERE sealed <> ? LIMIT 1", b"") is not None:
            raise
    vault.store(key_file, [vault.mint()])
    return vault.load(key_file)


def _named(tx: Tx, environment: str, name: str) -> Row | None:
    return tx.one("SELECT * FROM secrets WHERE environment = ? AND name = ? AND name <> ''", environment, name)


def find(tx: Tx, environment: str, name: str, required: Iterable[str], now: float) -> Row:
    """A secret by its name, with at least these keys. Raises NotFound saying how to make it so."""
    environment = environments.get(tx, environment, now)["name"]
    row = _named(tx, environment, name)
    if row is None or row["deleted_at"]:
        command = how_to_make(name, environment, required)
        raise NotFound(f"secret {name!r} not found in environment {environment!r}; create it with: {command}")
    have = json.loads(row["keys"])
    missing = sorted(set(required) - set(have))
    if missing:
        command = how_to_make(name, environment, [*have, *missing], force=True)
        raise NotFound(
            f"secret {name!r} in environment {environment!r} has no {', '.join(missing)} (it has "
            f"{', '.join(have) or 'nothing'}); set all of it with: {command}"
        )
    return row


def get(tx: Tx, secret_id: str) -> Row:
    """The secret's row, also of a deleted one. Raises NotFound."""
    row = tx.one("SELECT * FROM secrets WHERE secret_id = ?", secret_id)
    if row is None:
        raise NotFound(f"secret {secret_id} not found: it went with the app or run that it was made for; run it again")
    return row


def alive(tx: Tx, secret_id: str) -> Row:
    """The row of a secret that is there. Raises NotFound, also for one that was deleted."""
    row = get(tx, secret_id)
    if row["deleted_at"]:
        raise NotFound(f"{called(row)} was deleted; create it again with: {_again(row)}")
    return row


def called(row: Row) -> str:
    """A secret in words."""
    if not row["name"]:
        return f"the secret with {', '.join(json.loads(row['keys'])) or 'no variables'} ({row['secret_id']})"
    return f"secret {row['name']!r} in environment {row['environment']!r}"


def _again(row: Row, force: bool = False) -> str:
    return how_to_make(row["name"], row["environment"], json.loads(row["keys"]), force)


def listed(tx: Tx, environment: str, before: float, most: int, now: float) -> list[Row]:
    """Secrets with a name, newest first. ``before``: only those made earlier (0: all); ``most``: so many (0: all)."""
    environment = environments.get(tx, environment, now)["name"]
    sql = "SELECT * FROM secrets WHERE environment = ? AND name <> '' AND deleted_at = 0"
    sql += " AND (? = 0 OR created_at < ?) ORDER BY created_at DESC, name"
    rows = tx.all(sql, environment, before, before)
    return rows[:most] if most else rows


def update(tx: Tx, key_file: Path, secret_id: str, changes: Mapping[str, str | None], now: float) -> None:
    """Set some variables, or take them out (None); the others stay. Raises NotFound, FailedPrecondition."""
    row = alive(tx, secret_id)
    found = _opened(_keys(tx, key_file), row)
    found.update({name: value for name, value in changes.items() if value is not None})
    for name in (name for name, value in changes.items() if value is None):
        found.pop(name, None)
    _seal(tx, _keys(tx, key_file), secret_id, checked(found), now)


def delete(tx: Tx, secret_id: str, now: float) -> None:
    """Its values are gone at once; who needs it is told so. Raises NotFound."""
    alive(tx, secret_id)
    _empty(tx, "secret_id = ?", secret_id, now)


def delete_of(tx: Tx, environment: str, now: float) -> None:
    """Delete every secret of an environment."""
    _empty(tx, "environment = ? AND deleted_at = 0", environment, now)


def _empty(tx: Tx, which: str, subject: str, now: float) -> None:
    tx.execute(f"UPDATE secrets SET sealed = ?, key_id = '', deleted_at = ? WHERE {which}", b"", now, subject)


def identity(tx: Tx, secret_ids: Iterable[str]) -> str:
    """The same for the same secrets, and for ones without a name that have the same variables. Raises NotFound."""
    rows = [alive(tx, secret_id) for secret_id in secret_ids]
    return " ".join(row["secret_id"] if row["name"] else f"={row['fingerprint']}" for row in rows)


def opened(tx: Tx, key_file: Path, secret_ids: Iterable[str]) -> dict[str, str]:
    """The variables of these secrets, later ones win. Raises NotFound, FailedPrecondition naming the secret."""
    rows = [alive(tx, secret_id) for secret_id in secret_ids]
    keys = vault.load(key_file) if rows else ()
    found: dict[str, str] = {}
    for row in rows:
        found.update(_opened(keys, row))
    return found


def _opened(keys: tuple[vault.Key, ...], row: Row) -> dict[str, str]:
    try:
        return vault.unseal(keys, row["secret_id"], vault.Sealed(row["key_id"], row["sealed"]))
    except vault.Unreadable as error:
        what = f"{called(row)} cannot be read: {error}"
        raise FailedPrecondition(
            f"{what}; create it again with: {_again(row, force=True)}"
            if row["name"]
            else f"{what}; deploy or run again"
        ) from None


async def variables(database: Database, key_file: Path, secret_ids: Iterable[str], now: float) -> dict[str, str]:
    """What ``opened`` gives, and note that they were used. For the environment of a program, and nothing else."""
    ids = tuple(dict.fromkeys(secret_ids))
    if not ids:
        return {}
    found = await database.read(opened, key_file, tuple(secret_ids))
    if await database.read(_last_used, ids) < now - _NOTED_S:
        await database.write(_use, ids, now)
    return found


def _last_used(tx: Tx, secret_ids: tuple[str, ...]) -> float:
    return min(float(get(tx, secret_id)["last_used_at"]) for secret_id in secret_ids)


def _use(tx: Tx, secret_ids: tuple[str, ...], now: float) -> None:
    tx.many("UPDATE secrets SET last_used_at = ? WHERE secret_id = ?", [(now, secret_id) for secret_id in secret_ids])


def expire(tx: Tx, now: float) -> None:
    """Forget those without a name whose app has stopped, and those of nobody after a day unless a function has them."""
    tx.execute(
        "DELETE FROM secrets WHERE name = '' AND app_id IN (SELECT app_id FROM apps WHERE state = ?)", apps.STOPPED
    )
    rows = tx.all("SELECT secret_id FROM secrets WHERE name = '' AND app_id = '' AND created_at < ?", now - OWNERLESS_S)
    if rows:
        needed = {secret_id for spec in functions.live(tx) for secret_id in spec.secret_ids}
        gone = [(row["secret_id"],) for row in rows if row["secret_id"] not in needed]
        tx.many("DELETE FROM secrets WHERE secret_id = ?", gone)


# -- rotation of the key; see ``rotate``


def reseal(tx: Tx, key_file: Path, now: float) -> tuple[int, list[str]]:
    """Seal everything with the newest key. How many now are, and in words those that no key opens: they stay as is."""
    keys = vault.load(key_file)
    done, lost = 0, []
    for row in tx.all("SELECT * FROM secrets WHERE sealed <> ? ORDER BY created_at", b""):
        try:
            _seal(tx, keys, row["secret_id"], _opened(keys, row), row["updated_at"])
            done += 1
        except FailedPrecondition:
            lost.append(called(row))
    return done, lost


def drop_old_keys(tx: Tx, key_file: Path) -> None:
    """Keep the newest key, and those that a secret still needs."""
    keys = vault.load(key_file)
    needed = {row["key_id"] for row in tx.all("SELECT DISTINCT key_id FROM secrets WHERE sealed <> ?", b"")}
    kept = [key for key in keys[:-1] if key.key_id in needed] + [keys[-1]]
    if len(kept) < len(keys):
        vault.store(key_file, kept)
