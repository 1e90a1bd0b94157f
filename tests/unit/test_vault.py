"""Sealing: what opens, what does not, and what is said of a key file that is of no use."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ionian import vault
from ionian.errors import FailedPrecondition

VARIABLES = {"A": "a-value", "Ü": "", "LONG": "x" * 5000}
text = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "secrets.key"


def _made(file: Path, count: int = 1) -> tuple[vault.Key, ...]:
    vault.store(file, [vault.mint() for _ in range(count)])
    return vault.load(file)


def test_the_file_is_private_and_holds_what_was_stored(file: Path) -> None:
    keys = _made(file, 2)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert vault.load(file) == keys
    assert [p.name for p in file.parent.iterdir()] == ["secrets.key"]
    assert keys[0].secret.hex() not in repr(keys)
    assert repr(keys[0].secret) not in repr(keys)


@given(st.dictionaries(text, text))
def test_what_was_sealed_opens_again(variables: dict[str, str]) -> None:
    keys = (vault.mint(),)
    assert vault.unseal(keys, "st-1", vault.seal(keys, "st-1", variables)) == variables


def test_the_same_variables_never_look_the_same() -> None:
    keys = (vault.mint(),)
    one, two = (vault.seal(keys, "st-1", VARIABLES) for _ in range(2))
    assert one.data != two.data
    assert b"a-value" not in one.data


def test_only_the_same_name_and_key_open_it_and_only_unchanged() -> None:
    keys, others = (vault.mint(),), (vault.mint(),)
    sealed = vault.seal(keys, "st-1", VARIABLES)
    with pytest.raises(vault.Unreadable, match="another key"):
        vault.unseal(others, "st-1", sealed)
    with pytest.raises(vault.Unreadable, match="changed"):
        vault.unseal(keys, "st-2", sealed)
    for position in (0, 11, 12, len(sealed.data) - 1):
        changed = bytearray(sealed.data)
        changed[position] ^= 1
        with pytest.raises(vault.Unreadable, match="changed"):
            vault.unseal(keys, "st-1", vault.Sealed(sealed.key_id, bytes(changed)))
    with pytest.raises(vault.Unreadable, match="changed"):
        vault.unseal(keys, "st-1", vault.Sealed(sealed.key_id, b""))


def test_the_last_key_seals_and_those_before_it_open() -> None:
    old, new = vault.mint(), vault.mint()
    sealed = vault.seal((old,), "st-1", VARIABLES)
    assert vault.unseal((old, new), "st-1", sealed) == VARIABLES
    assert vault.seal((old, new), "st-1", VARIABLES).key_id == new.key_id


def test_a_fingerprint_is_of_content_and_key() -> None:
    keys = (vault.mint(),)
    assert vault.fingerprint(keys, {"A": "1", "B": "2"}) == vault.fingerprint(keys, {"B": "2", "A": "1"})
    assert vault.fingerprint(keys, {"A": "1"}) != vault.fingerprint(keys, {"A": "2"})
    assert vault.fingerprint(keys, {"A": "1"}) != vault.fingerprint((vault.mint(),), {"A": "1"})


def test_a_missing_file_is_named(file: Path) -> None:
    with pytest.raises(vault.KeysMissing, match=r"secrets\.key is gone.*restore it.*rotate-key --lost"):
        vault.load(file)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"form": 1, "keys": []}',
        b'{"form": 9, "keys": [{"id": "k", "key": ""}]}',
        b'{"form": 1, "keys": [{"id": "k", "key": "c2hvcnQ="}]}',
        b'{"form": 1, "keys": [{"id": "k", "key": "no base64!"}]}',
        b'{"form": 1, "keys": [{"id": "k"}]}',
    ],
)
def test_a_damaged_file_is_named_and_not_shown(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(FailedPrecondition, match=r"secrets\.key.* is damaged: restore it") as raised:
        vault.load(file)
    assert raised.value.__cause__ is None
    assert "c2hvcnQ" not in str(raised.value)


def test_a_file_that_others_may_read_is_refused(file: Path) -> None:
    _made(file)
    file.chmod(0o640)
    with pytest.raises(FailedPrecondition, match=r"may be read by others \(mode 0640\): chmod 600"):
        vault.load(file)
