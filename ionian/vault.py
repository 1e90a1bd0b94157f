"""Seals what must not lie on disk in clear: AES-256-GCM with the keys of one file, bound to the name of what is sealed.

The file is private (mode 0600) and read at each use, so that a key that is gone is noticed at once. The last key of
the file seals; those before it are there only while a rotation is on its way.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ionian.errors import FailedPrecondition, IonianError

KEY_BYTES = 32
_NONCE_BYTES = 12
_FORM = 1  # of the file


class KeysMissing(FailedPrecondition):
    """There is no key file."""


class Unreadable(FailedPrecondition):
    """No key of the file opens this: it was sealed with another one, or was changed since."""


@dataclass(frozen=True, slots=True)
class Key:
    key_id: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sealed:
    """What is stored: which key opens it, and nonce and ciphertext in one."""

    key_id: str
    data: bytes = field(repr=False)


def load(path: Path) -> tuple[Key, ...]:
    """The keys, oldest first. Raises KeysMissing, FailedPrecondition saying what is wrong with the file."""
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read()
    except FileNotFoundError:
        raise KeysMissing(
            f"{path} is gone, the key of this home's secrets: restore it from a backup. When there is none, "
            "`ionian secret rotate-key --lost` begins with a new one, and each secret must be created again"
        ) from None
    except OSError as error:
        raise FailedPrecondition(f"{path}, the key of this home's secrets, cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise FailedPrecondition(
            f"{path}, the key of this home's secrets, may be read by others (mode {mode:04o}): chmod 600 {path}, "
            "then `ionian secret rotate-key`"
        )
    return _parsed(path, content)


def _parsed(path: Path, content: bytes) -> tuple[Key, ...]:
    try:
        found = json.loads(content)
        if found["form"] != _FORM:
            raise ValueError
        keys = tuple(Key(str(key["id"]), base64.b64decode(key["key"], validate=True)) for key in found["keys"])
        if not keys or any(len(key.secret) != KEY_BYTES for key in keys):
            raise ValueError
    except (ValueError, KeyError, TypeError):  # its text is not shown: it may hold half a key
        raise FailedPrecondition(
            f"{path}, the key of this home's secrets, is damaged: restore it from a backup. When there is none, "
            "`ionian secret rotate-key --lost` begins with a new one, and each secret must be created again"
        ) from None
    return keys


def store(path: Path, keys: Iterable[Key]) -> None:
    """Write the file, readable for its owner alone from its first byte; all of it, on disk, or the one before."""
    listed = [{"id": key.key_id, "key": base64.b64encode(key.secret).decode()} for key in keys]
    temporary = path.with_suffix(".key-new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps({"form": _FORM, "keys": listed}).encode())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def mint() -> Key:
    """A fresh key. Its id says nothing of it."""
    return Key("k-" + os.urandom(8).hex(), os.urandom(KEY_BYTES))


def set_aside(path: Path) -> None:
    """Keep a file that is of no use under another name. Nothing happens where there is none."""
    with contextlib.suppress(FileNotFoundError):
        path.replace(path.with_name(f"{path.name}.lost-{os.urandom(4).hex()}"))


def seal(keys: tuple[Key, ...], name: str, variables: Mapping[str, str]) -> Sealed:
    """Seal variables under a name, without which they do not open."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # heavy, and most servers start without

    key = keys[-1]
    nonce = os.urandom(_NONCE_BYTES)
    text = json.dumps(dict(variables), separators=(",", ":")).encode()
    return Sealed(key.key_id, nonce + AESGCM(key.secret).encrypt(nonce, text, _bound(name)))


def unseal(keys: tuple[Key, ...], name: str, sealed: Sealed) -> dict[str, str]:
    """The variables. Raises Unreadable; the caller knows whose they are and should say so."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key = next((key for key in keys if key.key_id == sealed.key_id), None)
    if key is None:
        raise Unreadable("it was sealed with another key than that of this home")
    nonce, text = sealed.data[:_NONCE_BYTES], sealed.data[_NONCE_BYTES:]
    try:
        found = json.loads(AESGCM(key.secret).decrypt(nonce, text, _bound(name)))
    except (InvalidTag, ValueError):
        raise Unreadable("its stored form was changed since it was sealed") from None
    if not isinstance(found, dict):
        raise IonianError("a sealed text is no dictionary: it was sealed by a newer Ionian")
    return found


def fingerprint(keys: tuple[Key, ...], variables: Mapping[str, str]) -> str:
    """The same for the same variables. Without the key it says nothing of them."""
    text = json.dumps(sorted(variables.items())).encode()
    return hmac.new(keys[-1].secret, b"fingerprint:" + text, hashlib.sha256).hexdigest()[:32]


def _bound(name: str) -> bytes:
    return b"ionian/secret/1:" + name.encode()
