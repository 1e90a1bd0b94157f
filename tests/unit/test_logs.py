"""Log segments: order, cursors, tails, torn lines, rotation."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ionian import logs
from ionian.logs import Cursor, Record, Writer
from tests.disk import files_up_to


def write(directory: Path, segment_bytes: int, records: list[Record]) -> None:
    """One append per record, by a writer of its own."""
    with closing(Writer(directory, segment_bytes)) as writer:
        for one in records:
            writer.append([one])


def record(n: int, text: str = "") -> Record:
    return Record(1_700_000_000_000_000_000 + n, "ta-1", "fu-1", logs.STDOUT, text or f"line {n}\n")


def test_reads_what_was_written_in_order(tmp_path: Path) -> None:
    write(tmp_path / "ap-1", 500, [record(n) for n in range(50)])
    assert len(logs.segments(tmp_path / "ap-1")) > 3
    found, cursor = logs.read(tmp_path / "ap-1", Cursor())
    assert [r.text for r in found] == [f"line {n}\n" for n in range(50)]
    write(tmp_path / "ap-1", 500, [record(50)])
    more, _ = logs.read(tmp_path / "ap-1", Cursor.decode(cursor.encode()))
    assert [r.text for r in more] == ["line 50\n"]


def test_limit_and_resume(tmp_path: Path) -> None:
    write(tmp_path, 300, [record(n) for n in range(20)])
    seen: list[str] = []
    cursor = Cursor()
    while True:
        found, cursor = logs.read(tmp_path, cursor, limit=3)
        if not found:
            break
        seen += [r.text for r in found]
    assert seen == [f"line {n}\n" for n in range(20)]


def test_what_a_full_disk_does_not_take_is_counted(tmp_path: Path) -> None:
    writer = logs.Writer(tmp_path, 10_000_000)
    writer.append([record(0)])
    size = (tmp_path / logs.segments(tmp_path)[0]).stat().st_size
    with files_up_to(size + 10):
        writer.append([record(1)])  # fits in part
        writer.append([record(2), record(3)])
    writer.append([record(4)])
    writer.append([record(5)])
    writer.close()
    texts = [found.text for found in logs.read(tmp_path, logs.Cursor())[0]]
    notice = "3 lines of output were not kept: there was no room on the disk\n"
    assert texts == ["line 0\n", notice, "line 4\n", "line 5\n"]


def test_tail_and_since(tmp_path: Path) -> None:
    write(tmp_path, 200, [record(n) for n in range(20)])
    assert [r.text for r in logs.tail(tmp_path, 3)[0]] == ["line 17\n", "line 18\n", "line 19\n"]
    found, _ = logs.read(tmp_path, logs.since(tmp_path, record(10).time_ns))
    assert record(10) in found
    assert len(found) < 20


def test_torn_line_is_not_returned_and_a_new_writer_goes_on(tmp_path: Path) -> None:
    write(tmp_path, 1000, [record(1)])
    (segment,) = logs.segments(tmp_path)
    with open(tmp_path / segment, "ab") as file:
        file.write(b'[17,"ta-1","fu-1",1,"half')
    found, cursor = logs.read(tmp_path, Cursor())
    assert len(found) == 1
    write(tmp_path, 1000, [record(2)])
    more, _ = logs.read(tmp_path, cursor)
    assert [r.text for r in more] == ["line 2\n"]
    assert [r.text for r in logs.tail(tmp_path, 5)[0]] == ["line 1\n", "line 2\n"]


def test_no_directory_is_no_logs(tmp_path: Path) -> None:
    assert logs.read(tmp_path / "none", Cursor()) == ([], Cursor())
    assert logs.tail(tmp_path / "none", 5)[0] == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=20))
def test_any_text_survives(tmp_path_factory: object, texts: list[str]) -> None:
    directory = Path(str(tmp_path_factory.mktemp("logs")))  # type: ignore[attr-defined]
    expected = [record(n, text) for n, text in enumerate(texts)]
    write(directory, 100, expected)
    assert logs.read(directory, Cursor())[0] == expected
