"""Groups nested deeper than anybody nests them: every name right, in little memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from ckptui.readers.hdf5_walk import NAMED_DEPTH
from tests.damaged.hdf5_faults import look
from tests.places import ROOT

LEVELS = 8000
MEMORY = 120 << 20
"""With the path of every open group kept it takes twice that."""
MEASURE = """
import re, sys
from ckptui.readers.keras_h5 import open_h5
with open_h5(sys.argv[1]) as opened:
    listing = opened.listing()
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
print(peak, len(listing.tensors), len(listing.findings))
"""


def nested(path: Path, levels: int, at: set[int], userblock: int = 0) -> None:
    """Groups `g` in each other, with a dataset `w` at some depths."""
    with h5py.File(path, "w", userblock_size=userblock) as file:
        group = file.id
        for level in range(levels + 1):
            if level in at:
                h5py.Group(group)["w"] = np.full(3, level, "f4")
            group = h5py.h5g.create(group, b"g")


@pytest.mark.parametrize("userblock", [0, 512])
def test_names_and_values_at_every_depth(tmp_path: Path, userblock: int) -> None:
    depths = {0, NAMED_DEPTH - 1, NAMED_DEPTH, NAMED_DEPTH + 1, NAMED_DEPTH + 2, 300}
    nested(tmp_path / "deep.h5", 300, depths, userblock)
    listing, values = look(tmp_path / "deep.h5")
    assert listing.findings == ()
    assert {name: value.tolist() for name, value in values.items()} == {
        "g/" * depth + "w": [depth] * 3 for depth in depths
    }


def test_depth_costs_no_memory_by_its_square(tmp_path: Path) -> None:
    nested(tmp_path / "deep.h5", LEVELS, {5})
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "deep.h5")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    peak, tensors, findings = (int(word) for word in done.stdout.split())
    print(f"\n{LEVELS} levels: {peak >> 20} MB")
    assert (tensors, findings) == (1, 0)
    assert peak < MEMORY
