"""Positioned reads, and noticing that somebody else writes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ckptui.errors import ChangedWhileReading, Damaged, NoSuchPath, Unreadable
from ckptui.readers.source import Source, read_whole


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    path = tmp_path / "ten"
    path.write_bytes(b"0123456789")
    return path


def test_reads_exactly_what_is_asked(ten: Path) -> None:
    with Source(ten) as source:
        assert source.size == 10
        assert source.pread(3, 4) == b"3456"
        assert source.pread(10, 0) == b""
        buffer = bytearray(5)
        source.read_into(5, memoryview(buffer))
        assert buffer == b"56789"


def test_streams_in_pieces_on_one_buffer(ten: Path) -> None:
    with Source(ten) as source:
        assert [bytes(view) for view in source.stream(1, 9, 4)] == [b"1234", b"5678", b"9"]
        assert list(source.stream(0, 0)) == []


def test_bytes_beyond_the_end_are_named_and_counted(ten: Path) -> None:
    with Source(ten) as source, pytest.raises(Damaged) as caught:
        source.pread(8, 5)
    assert caught.value.code == "shard-truncated"
    assert caught.value.evidence == {"file": str(ten), "expected": 13, "found": 10, "bytes_missing": 3}
    with Source(ten) as source, pytest.raises(Damaged):
        list(source.stream(1 << 62, 5))
    with Source(ten) as source, pytest.raises(Damaged):
        source.pread(-1, 2)


def test_only_regular_files_open_and_nothing_hangs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "absent", tmp_path / "fifo", tmp_path, Path("/dev/zero"), tmp_path / "absent/deeper"):
        with pytest.raises(NoSuchPath):
            Source(path)


def test_names_the_system_refuses_are_unreadable() -> None:
    with pytest.raises(Unreadable):
        Source("a\0b")


def test_the_fence_holds_for_an_untouched_file(ten: Path) -> None:
    with Source(ten) as source:
        source.fence()


@pytest.mark.parametrize("how", ["append", "shorten", "replace", "remove", "rewrite", "move-away"])
def test_the_fence_notices_every_kind_of_change(ten: Path, how: str) -> None:
    os.utime(ten, ns=(1, 1))
    with Source(ten) as source:
        if how == "append":
            with open(ten, "ab") as file:
                file.write(b"x")
        elif how == "shorten":
            os.truncate(ten, 4)
        elif how == "rewrite":
            ten.write_bytes(b"9876543210")
        elif how == "remove":
            ten.unlink()
        else:
            other = ten.with_name("other")
            if how == "move-away":
                ten.rename(ten.with_name("old"))
            other.write_bytes(b"0123456789")
            other.rename(ten)
        with pytest.raises(ChangedWhileReading):
            source.fence()


def test_bytes_that_vanish_while_reading_are_no_damage(ten: Path) -> None:
    with Source(ten) as source:
        os.truncate(ten, 4)
        with pytest.raises(ChangedWhileReading):
            source.pread(0, 10)
        with pytest.raises(ChangedWhileReading):
            list(source.stream(0, 10, 3))


@pytest.mark.parametrize(
    ("number", "error"), [(errno.EIO, Unreadable), (errno.ESTALE, ChangedWhileReading), (errno.EACCES, Unreadable)]
)
def test_system_errors_become_named_ones(
    ten: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(number, os.strerror(number))

    with Source(ten) as source:
        monkeypatch.setattr(os, "pread", fail)
        monkeypatch.setattr(os, "preadv", fail)
        with pytest.raises(error):
            source.pread(0, 4)
        with pytest.raises(error):
            list(source.stream(0, 4))


def test_a_short_read_is_continued(ten: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, count, offset: whole(fd, min(count, 3), offset))
    with Source(ten) as source:
        assert source.pread(0, 10) == b"0123456789"


def test_no_file_stays_open(ten: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        source = Source(ten)
        source.drop_cache()
        source.close()
        source.close()
    with pytest.raises(NoSuchPath):
        Source(ten.parent)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_whole_file_is_read_up_to_a_cap(ten: Path) -> None:
    assert read_whole(ten, 10) == b"0123456789"
    with pytest.raises(Damaged):
        read_whole(ten, 9)
