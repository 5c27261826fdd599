"""Every cut of a small `.keras` and one flipped bit of every byte: found, named, and never silently wrong."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.errors import CkptuiError, Damaged
from ckptui.readers.keras_members import MemberCheck, settle_members
from ckptui.readers.window import Memory
from ckptui.readers.zip_damage import what_broke
from ckptui.readers.zip_directory import ZIP_ERRORS, Directory, read_directory
from tests.readers.keras_files import archive, layer, sequential

PARSED = 1_000
"""Damaged archives whose inner HDF5 file is parsed too, in a child."""
CHILD = Path(__file__).with_name("keras_matrix_child.py")
SECONDS = 10.0


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole archive of about 12 kB."""
    config = sequential(
        layer("InputLayer", "in", batch_input_shape=[None, 4]),
        layer("Dense", "d", units=5),
        layer("Dense", "e", units=3),
    )
    rng = np.random.default_rng(5)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype("f4")

    groups = {"layers/dense": ("d", [draw(4, 5), draw(5)]), "layers/dense_1": ("e", [draw(5, 3), draw(3)])}
    return archive(tmp_path_factory.mktemp("small") / "small.keras", groups, config)


def looked(data: bytes) -> tuple[Directory, list[Any]]:
    """The zip side of a listing and a full check, without HDF5. Raises CkptuiError."""
    memory = Memory("m.keras", data)
    directory = read_directory(memory)
    check = MemberCheck("m.keras", memory, lambda: ())
    broken = None if directory.complete else what_broke(memory, directory)
    findings: list[Any] = [] if broken is None else [broken]
    for one in settle_members(memory, directory):
        if one.error is not None:
            findings.append(check.unlocated(one.error))
        elif broken is None or one.member.available == one.member.stored:
            findings += check.headers(one.member) or check.content(one.member)
    return directory, findings


def test_every_cut_is_told_with_the_bytes_that_are_missing(small: Path) -> None:
    data = small.read_bytes()
    counts = {"refused": 0, "cut": 0}
    for keep in range(1, len(data)):
        try:
            directory, findings = looked(data[:keep])
        except Damaged:
            counts["refused"] += 1
            continue
        assert not directory.complete
        assert [f.cause for f in findings[:1]] == ["cut"], (keep, findings)
        facts = findings[0].evidence
        assert facts["found"] == keep
        assert facts["expected"] <= len(data)
        assert facts["bytes_missing"] == facts["expected"] - keep > 0
        if keep >= data.find(b"model.weights.h5") + 16:
            assert facts["expected"] == len(data)
        counts["cut"] += 1
    print(f"\n{len(data) - 1} cuts of {len(data)} bytes: {counts}")
    assert counts["refused"] <= 45


def python_reads(data: bytes) -> dict[str, bytes] | None:
    """What the standard library makes of the members Keras needs; None where it refuses one of them."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            return {name: opened.read(name) for name in ("config.json", "model.weights.h5")}
    except ZIP_ERRORS:
        return None


def covered(data: bytes) -> dict[int, str]:
    """Every byte that a CRC-32 covers, with its member."""
    places: dict[int, str] = {}
    for member in read_directory(Memory("m", data)).members:
        located = settle_members(Memory("m", data), Directory([member]))[0].member
        places.update(dict.fromkeys(range(located.data, located.data + located.stored), member.name))
    return places


def test_one_flipped_bit_of_every_byte_is_noticed_or_harmless(small: Path) -> None:
    data = small.read_bytes()
    whole = python_reads(data)
    inside = covered(data)
    rng = random.Random(11)
    counts = dict.fromkeys(("covered", "placed", "structure", "noticed", "harmless", "refused by Keras"), 0)
    for at in range(len(data)):
        bit = rng.randrange(8)
        changed = bytearray(data)
        changed[at] ^= 1 << bit
        _, findings = looked(bytes(changed))
        if at in inside:
            counts["covered"] += 1
            (found,) = findings
            assert (found.code, found.evidence["member"]) == ("zip-damaged", inside[at]), at
            flipped = found.evidence["flipped_bit"]
            assert (flipped["file_offset"], flipped["bit"]) == (at, bit)
            counts["placed"] += 1
            continue
        counts["structure"] += 1
        read = python_reads(bytes(changed))
        if read != whole:
            counts["refused by Keras"] += 1
            assert findings, (at, bit, data[max(0, at - 20) : at + 4])
            assert any(getattr(f, "severity", "error") == "error" for f in findings), (at, bit, findings)
        counts["noticed" if findings else "harmless"] += 1
    print(f"\n{len(data)} flips: {counts}")
    assert counts["placed"] == counts["covered"] == len(inside)


def damaged(data: bytes) -> list[tuple[str, bytes]]:
    """PARSED seeded cuts and flips."""
    rng = random.Random(23)
    made = []
    for number in range(PARSED):
        at = rng.randrange(1, len(data))
        if number % 4 == 0:
            made.append((f"cut {at}", data[:at]))
            continue
        changed = bytearray(data)
        bit = rng.randrange(8)
        changed[at] ^= 1 << bit
        made.append((f"flip {at} {bit}", bytes(changed)))
    return made


def test_inner_files_of_damaged_archives_give_right_values_or_findings(small: Path, tmp_path: Path) -> None:
    data = small.read_bytes()
    cases = damaged(data)
    listing = [[what, zlib.compress(raw, 1).hex()] for what, raw in cases]
    (tmp_path / "cases.json").write_text(json.dumps(listing))
    environment = {**os.environ, "PYTHONPATH": str(CHILD.parents[2])}
    counts = {"right": 0, "told": 0, "refused": 0, "crashed": 0}
    begin, slowest = 0, 0.0
    while begin < len(cases):
        command = [sys.executable, str(CHILD), str(small), str(tmp_path / "cases.json"), str(begin), str(tmp_path)]
        done = subprocess.run(command, capture_output=True, timeout=240, env=environment, text=True)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        for line in lines:
            counts[line["end"]] += 1
            slowest = max(slowest, line["seconds"])
            assert not line["wrong"], (cases[begin], line)
            begin += 1
        if begin < len(cases):
            assert done.returncode < 0, done.stderr[-2000:]
            counts["crashed"] += 1
            begin += 1
    print(f"\n{len(cases)} archives with their inner file parsed: {counts}, slowest {slowest:.2f} s")
    assert slowest < SECONDS
    assert counts["crashed"] <= 2


def test_no_archive_raises_anything_but_our_errors(small: Path) -> None:
    rng = random.Random(7)
    data = small.read_bytes()
    whole = python_reads(data)
    for _ in range(1_500):
        changed = bytearray(data)
        for _ in range(rng.randrange(2, 40)):
            place = rng.choice(
                (rng.randrange(len(data)), rng.randrange(len(data) - 260, len(data)), rng.randrange(120))
            )
            changed[place] = rng.randrange(256)
        try:
            _, findings = looked(bytes(changed))
        except CkptuiError:
            continue
        assert findings or python_reads(bytes(changed)) == whole
