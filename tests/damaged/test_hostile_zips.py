"""Hostile archives made by the shared maker: a finding or a clean listing, soon, and in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ckptui.errors import Damaged
from ckptui.readers.discover import resolve
from ckptui.session import Session, checked_listing
from tests.places import HOSTILE, needs_hostile

pytestmark = needs_hostile

SECONDS = 10.0
MEMORY = 300 << 20
"""Resident bytes a reader may come to."""
EXPECTED = {
    "trav": {"name-hostile", "zip-damaged", "weights-missing"},
    "bomb": {"zip-damaged", "weights-missing"},
    "liar": {"zip-damaged", "weights-missing"},
    "enc": {"zip-damaged", "weights-missing"},
    "dup": {"zip-damaged", "weights-missing"},
    "many": {"zip-damaged", "weights-missing", "not-a-model"},
    "ov": {"zip-damaged", "weights-missing"},
    "lzma": {"unsupported-format", "zip-damaged", "weights-missing"},
    "m99": {"zip-damaged", "weights-missing"},
    "prefix": {"zip-damaged", "weights-missing"},
}
"""Every code that may be told."""
READER = """
import json, re, sys
from ckptui.errors import CkptuiError
from ckptui.readers.keras_archive import open_archive
codes = []
try:
    with open_archive(sys.argv[1]) as opened:
        codes = [f.code for f in (*opened.listing().findings, *opened.verify())]
except CkptuiError as error:
    codes = [getattr(error, "code", "")]
# the peak of this program alone: what getrusage tells begins with that of the process which started it
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
print(json.dumps([codes, peak]))
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zips")
    done = subprocess.run(
        [sys.executable, str(HOSTILE / "make_zips.py"), str(folder)], capture_output=True, timeout=200
    )
    assert done.returncode == 0, done.stderr.decode()
    assert {path.stem for path in folder.glob("*.keras")} == set(EXPECTED)
    return folder


@pytest.fixture(scope="module")
def session() -> Any:
    with Session() as shared:
        yield shared


def looked_at(session: Session, path: str) -> tuple[set[str], float]:
    """The codes of a full check, and the seconds it took."""
    start = time.monotonic()
    found = resolve(path)
    try:
        listing = session.open(found.path, found=found)
        checked = checked_listing(listing, session.verify(listing))
        codes = {f.code for f in checked.findings}
    except Damaged as error:
        codes = {error.code, *(f.code for f in found.findings)}
    return codes, time.monotonic() - start


@pytest.mark.parametrize("name", EXPECTED)
def test_it_ends_soon_with_a_finding(hostile: Path, session: Session, name: str) -> None:
    path = str(hostile / f"{name}.keras")
    codes, seconds = looked_at(session, path)
    if seconds >= SECONDS:
        # once more, for the neighbours of a busy machine
        session.forget(path)
        codes, seconds = looked_at(session, path)
    print(f"\n{name}: {sorted(codes)} in {seconds:.2f} s")
    assert codes
    assert codes <= EXPECTED[name]
    assert seconds < SECONDS


@pytest.mark.parametrize("name", EXPECTED)
def test_it_costs_little_memory(hostile: Path, name: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", READER, str(hostile / f"{name}.keras")]
    done = subprocess.run(command, capture_output=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    codes, memory = json.loads(done.stdout)
    print(f"\n{name}: {memory >> 20} MB, {len(codes)} findings")
    assert memory < MEMORY
