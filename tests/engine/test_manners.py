"""Manners of a long scan: taken back at once, flat in memory, nobody's pages lost, out of the way of a screen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from crc32c import crc32c

from ckptui.core.crc import combined
from ckptui.core.model import Progress, TensorScan
from ckptui.engine.pages import cached_pages
from ckptui.engine.pool import Pool
from ckptui.engine.requests import open_listing
from ckptui.engine.schedule import run_scan
from tests.places import ROOT
from tests.readers.make_bundle import entry, header, table, write_bundle

AT_ONCE = 0.5
"""Seconds within which a scan ends that was taken back."""
MEMORY = 300 << 20
"""Bytes of any process."""
MB, GB = 1 << 20, 1 << 30
FLOAT32 = 1
"""Number of the dtype in an index."""


def crc_of_zeros(count: int) -> int:
    """CRC-32C of so many zero bytes."""
    crc, unit, size = 0, crc32c(b"\0"), 1
    while count:
        if count & 1:
            crc = combined(crc, unit, size)
        unit, size, count = combined(unit, unit, size), 2 * size, count >> 1
    return crc


def sparse_bundle(prefix: Path, sizes: dict[str, int]) -> str:
    """A checkpoint of float32 zeros with the right checksums, of which the file system keeps nothing."""
    items, offset = {b"": header(1)}, 0
    for name, size in sizes.items():
        items[name.encode()] = entry(FLOAT32, (size // 4,), 0, offset, size, crc_of_zeros(size))
        offset += size
    Path(f"{prefix}.index").write_bytes(table(sorted(items.items())))
    with open(f"{prefix}.data-00000-of-00001", "wb") as file:
        file.truncate(offset)
    return str(prefix)


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """20 GB: one tensor of 12 GB, eight of 1 GB."""
    folder = tmp_path_factory.mktemp("huge")
    sizes = {"one/kernel": 12 * GB, **{f"more/{n}": GB for n in range(8)}}
    yield sparse_bundle(folder / "x", sizes)
    for file in folder.iterdir():
        file.unlink()


def chunked(folder: Path) -> str:
    """2 GB of float32 in compressed chunks of 4 MB, each the same few kilobytes."""
    import zlib

    path = str(folder / "x.h5")
    packed = zlib.compress(np.arange(MB, dtype=np.float32).tobytes(), 1)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("a", (512 * MB,), "f4", chunks=(MB,), compression="gzip")
        for number in range(512):
            data.id.write_direct_chunk((number * MB,), packed)
    return path


def peak(pid: int | str) -> int:
    """The most bytes a process has had in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    return 0


READ_AHEAD = (16 * MB) // 4096
"""Pages."""


def reader_children() -> list[int]:
    """Those of this process that are ours: other tests may have left theirs."""
    return [pid for pid in children_of(os.getpid()) if b"engine/child.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def children_of(pid: int) -> list[int]:
    """Processes started by any thread of a process."""
    found = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for children in found for child in children]


def seconds_to_stop(pool: Pool, path: str, kind: Any, after_bytes: int) -> tuple[float, int, int]:
    """How long a scan goes on when it is taken back, bytes done by then, and the largest memory of a child."""
    listing = open_listing(pool, path, kind)
    cancel = threading.Event()
    stopped = done = largest = 0.0
    for item in run_scan(pool, path, kind, listing.tensors, cancel=cancel):
        if isinstance(item, Progress) and not stopped:
            done = item.done_bytes
            if done >= after_bytes:
                largest = max(map(peak, reader_children()))
                cancel.set()
                stopped = time.monotonic()
    assert stopped
    return time.monotonic() - stopped, int(done), int(largest)


def quickest_to_stop(pool: Pool, path: str, kind: Any, after_bytes: int) -> tuple[float, int, int]:
    """The quickest of three at most: others may have the processor just then. The largest memory is that of all."""
    told = [seconds_to_stop(pool, path, kind, after_bytes)]
    while told[-1][0] >= AT_ONCE and len(told) < 3:
        told.append(seconds_to_stop(pool, path, kind, after_bytes))
    return told[-1][0], told[-1][1], max(largest for _, _, largest in told)


def test_a_scan_of_many_gigabytes_is_taken_back_at_once_and_flat_in_memory(huge: str) -> None:
    with Pool(size=2) as pool:
        seconds, done, largest = quickest_to_stop(pool, huge, "tf-checkpoint", 2 * GB)
        assert done < 18 * GB
        assert seconds < AT_ONCE
        assert largest < MEMORY
    print(f"stopped after {seconds:.3f} s at {done / GB:.1f} GB; children of {largest / MB:.0f} MB at most")


def test_compressed_chunks_are_left_at_once(tmp_path: Path) -> None:
    path = chunked(tmp_path)
    with Pool(size=2) as pool:
        seconds, done, largest = quickest_to_stop(pool, path, "hdf5", 64 * MB)
        assert done < 2 * GB
        assert seconds < AT_ONCE
        assert largest < MEMORY
    print(f"stopped after {seconds:.3f} s at {done / MB:.0f} MB; children of {largest / MB:.0f} MB at most")


@pytest.mark.parametrize("command", ["check", "stats", "filters"])
def test_ctrl_c_ends_a_command_at_once_and_its_children_with_it(command: str, huge: str) -> None:
    words = [sys.executable, "-m", "ckptui", command, huge, *(["one/kernel"] if command == "filters" else [])]
    running = subprocess.Popen(words, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 20
        children: list[int] = []
        while not any(busy(child) for child in children) and time.monotonic() < deadline:
            assert running.poll() is None
            time.sleep(0.05)
            children = children_of(running.pid)
        largest = peak(running.pid)
        os.killpg(running.pid, signal.SIGINT)
        begun = time.monotonic()
        out, err = running.communicate(timeout=10)
        seconds = time.monotonic() - begun
    finally:
        if running.poll() is None:
            running.kill()
    assert running.returncode == 130
    assert (out, err.strip()) == (b"", b"")
    # besides the scan the interpreter itself has to end
    assert seconds < AT_ONCE + 0.3
    assert largest < MEMORY
    assert children
    assert not [child for child in children if Path(f"/proc/{child}").exists() and "Z" not in state(child)]
    print(f"{command}: ended after {seconds:.3f} s; {largest / MB:.0f} MB")


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def busy(pid: int) -> bool:
    """Whether a process has used half a second of the processor."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") > 0.5


# ---------------------------------------------------------------------- pages


def pages(path: str) -> int:
    fd = os.open(path, os.O_RDONLY)
    try:
        found = cached_pages(fd)
    finally:
        os.close(fd)
    if found is None:
        pytest.skip("this kernel does not tell what is in the page cache")
    return found


def forget(path: str) -> None:
    fd = os.open(path, os.O_RDWR)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


@pytest.mark.parametrize(("nice", "before"), [(10, "absent"), (10, "there"), (10, "in part"), (0, "absent")])
def test_a_screens_readers_let_go_of_pages_they_alone_brought(nice: int, before: str, tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=(18 << 20,)).astype(np.float32)
    path = write_bundle(tmp_path / "x", {"a": values, "b": values[: 1 << 20]})
    data = path + ".data-00000-of-00001"
    total = -(-os.path.getsize(data) // 4096)
    forget(data)
    if pages(data):
        pytest.skip("this file system keeps its pages")
    if before == "there":
        Path(data).read_bytes()
    elif before == "in part":
        with open(data, "rb", buffering=0) as file:
            file.seek(40 * MB)
            file.read(4096)
    with Pool(size=2, nice=nice) as pool:
        listing = open_listing(pool, path, "tf-checkpoint")
        found = [s for s in run_scan(pool, path, "tf-checkpoint", listing.tensors) if isinstance(s, TensorScan)]
        assert [s.checksum for s in found] == ["ok", "ok"]
        assert pool.limits["no-writing"]
        assert pool.limits.get("nice", False) == (nice > 0)
    left = pages(data)
    print(f"nice {nice}, {before}: {left} of {total} pages are there afterwards")
    if (nice, before) == (10, "absent"):
        # what the kernel was still reading ahead when the last reader let go stays
        assert left <= READ_AHEAD
    else:
        assert left >= total * 0.99
