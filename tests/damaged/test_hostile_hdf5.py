"""Hostile HDF5 files: each ends in a listing, a finding or a reader that was stopped, within ten seconds."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckptui.core.model import TensorScan
from ckptui.engine.process import ADDRESS_SPACE
from ckptui.errors import CkptuiError, Damaged, ReaderFailed
from ckptui.session import Session
from tests.places import CORPUS, HOSTILE, needs_corpus, needs_hostile

LIMIT_SECONDS = 10.0


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session() as made:
        yield made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    subprocess.run([sys.executable, str(HOSTILE / "make_h5.py"), str(folder)], check=True, timeout=120)
    return folder


def children() -> tuple[float, int]:
    """Processor seconds of all reader children so far, and the peak resident bytes of the largest alive."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, peak = ended.ru_utime + ended.ru_stime, 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status, stat = (folder / "status").read_text(), (folder / "stat").read_text()
        except OSError:
            continue
        if f"PPid:\t{os.getpid()}\n" in status and "VmHWM:" in status:
            fields = stat.rpartition(")")[2].split()
            seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            peak = max(peak, int(status.split("VmHWM:")[1].split()[0]) * 1024)
    return seconds, peak


def ending(session: Session, path: Path) -> str:
    """Opens and scans a file; what it ended in."""
    try:
        listing = session.open(str(path))
        found = list(listing.findings)
        for item in session.scan(listing, stats=False):
            if isinstance(item, TensorScan):
                found += item.findings
    except ReaderFailed as error:
        return type(error).__name__
    except Damaged as error:
        return f"refused: {error.code}"
    except CkptuiError as error:
        return f"refused: {type(error).__name__}"
    codes = {f.code for f in found if f.severity != "info"}
    return "finding: " + "reader-crashed" if "reader-crashed" in codes else "findings" if codes else "clean listing"


def run_all(session: Session, paths: list[Path], what: str) -> Counter[str]:
    ends: Counter[str] = Counter()
    slowest, peak = (0.0, ""), (0, "")
    for path in paths:
        begin, before = time.monotonic(), children()[0]
        ends[ending(session, path)] += 1
        # A busy machine takes longer: then it is the processor's time that counts.
        took = min(time.monotonic() - begin, children()[0] - before)
        slowest = max(slowest, (took, path.name))
        peak = max(peak, (children()[1], path.name))
        assert took < LIMIT_SECONDS, (path.name, took)
    print(f"{what}: {len(paths)} files, {dict(ends)}, slowest {slowest[0]:.2f} s ({slowest[1]}), {peak[0] >> 20} MiB")
    assert peak[0] < ADDRESS_SPACE
    assert sum(ends.values()) == len(paths)
    return ends


def alive(session: Session, path: Path) -> bool:
    """Whether the session still reads a healthy file."""
    return bool(session.open(str(path)).tensors)


@needs_hostile
def test_files_that_crash_or_hang_h5py(session: Session) -> None:
    paths = sorted((HOSTILE / "crashers").glob("h5crash_*.h5"))
    assert len(paths) == 19
    run_all(session, paths, "crashers")
    for name in ("keras_small_plain.h5", "keras_small_gzlatest.h5"):
        assert alive(session, HOSTILE / "crashers" / name)


@needs_hostile
def test_bombs_links_cycles_and_depths(session: Session, made: Path) -> None:
    paths = sorted(made.glob("*.h5"))
    assert len(paths) >= 15
    ends = run_all(session, paths, "made")
    assert ends["clean listing"] + ends["findings"] >= len(paths) - 2
    assert alive(session, made / "secret.h5")


@needs_corpus
def test_files_of_known_holes_in_hdf5(session: Session) -> None:
    paths = sorted(p for p in (CORPUS / "hdf5-cve").iterdir() if p.suffix in (".h5", ".hdf5"))
    assert len(paths) > 20
    run_all(session, paths, "hdf5-cve")
