"""What every BlobStore keeps: whole or absent, content-addressed, damage is noticed."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ionian.blobs.files import FileBlobStore
from ionian.blobs.store import BlobStore
from ionian.errors import InvalidRequest, NotFound, ResourceExhausted
from tests.disk import files_up_to


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return FileBlobStore(tmp_path / "blobs")


async def _pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def _files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()]


async def test_what_is_put_is_got_by_its_digest(store: BlobStore) -> None:
    sha256 = await store.put(b"hello")
    assert sha256 == hashlib.sha256(b"hello").hexdigest()
    assert store.has(sha256)
    assert await store.get(sha256) == b"hello"
    assert store.path(sha256).read_bytes() == b"hello"
    assert await store.put(b"hello") == sha256


async def test_a_stream_is_stored_like_its_bytes(store: BlobStore) -> None:
    assert await store.put_stream(_pieces(b"hel", b"", b"lo")) == (hashlib.sha256(b"hello").hexdigest(), 5)
    assert await store.put_stream(_pieces()) == (hashlib.sha256(b"").hexdigest(), 0)


async def test_a_stream_that_fails_leaves_nothing(store: BlobStore, tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await store.put_stream(broken())
    assert _files(tmp_path) == []


async def test_a_full_disk_is_said_and_leaves_nothing(store: BlobStore, tmp_path: Path) -> None:
    data = b"x" * 1_000_000
    with files_up_to(100_000):
        with pytest.raises(ResourceExhausted, match="make room"):
            await store.put(data)
        with pytest.raises(ResourceExhausted, match="make room"):
            await store.put_stream(_pieces(data, data))
    assert _files(tmp_path) == []
    assert await store.get(await store.put(data)) == data


@pytest.mark.parametrize("whole", [False, True])
async def test_a_damaged_blob_is_named_and_can_be_stored_again(store: BlobStore, whole: bool) -> None:
    sha256 = await store.put(b"hello")
    assert store.verified(sha256) == store.path(sha256)
    store.path(sha256).chmod(0o644)
    store.path(sha256).write_bytes(b"hellO")
    with pytest.raises(NotFound, match=f"blob {sha256} was damaged"):
        await store.get(sha256) if whole else store.verified(sha256)
    assert not store.has(sha256)
    assert await store.put(b"hello") == sha256
    assert await store.get(sha256) == b"hello"


async def test_absent_and_deleted(store: BlobStore) -> None:
    sha256 = await store.put(b"hello")
    await store.delete(sha256)
    await store.delete(sha256)
    assert not store.has(sha256)
    with pytest.raises(NotFound, match=sha256):
        await store.get(sha256)
    with pytest.raises(NotFound, match=sha256):
        store.path(sha256)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 65])
def test_a_name_that_is_no_digest_is_refused(store: BlobStore, name: str) -> None:
    with pytest.raises(InvalidRequest):
        store.has(name)


async def test_blobs_are_read_only_files(store: BlobStore) -> None:
    assert store.path(await store.put(b"x")).stat().st_mode & 0o777 == 0o444
