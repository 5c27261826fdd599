"""Damaged HDF5 files for tests, and what a look at them gives."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ckptui.cli import run
from ckptui.core.model import Finding, Listing
from ckptui.readers.hdf5_superblock import find_superblock
from ckptui.readers.keras_h5 import open_h5
from ckptui.readers.source import Source
from tests.readers.keras_files import digits_groups, legacy_model, object_weights

Values = Mapping[str, np.ndarray]


def small_files(folder: Path) -> dict[str, Path]:
    """A Keras 2 model, Keras 3 weights, and both kinds of HDF5 that Keras does not write by itself."""
    files = {
        "legacy": legacy_model(folder / "legacy.h5"),
        "objects": folder / "objects.weights.h5",
        "latest": folder / "latest.h5",
    }
    object_weights(files["objects"], digits_groups())
    with h5py.File(files["objects"], "r") as old, h5py.File(files["latest"], "w", libver="latest") as new:
        names: list[str] = []
        old.visit(names.append)
        for name in names:
            if isinstance(old[name], h5py.Dataset):
                new.create_dataset(name, data=old[name][()])
    return files


def look(path: Path) -> tuple[Listing, Values]:
    """The listing of a file and the values of all tensors that it says are whole."""
    with open_h5(path) as opened:
        listing = opened.listing()
        values = {}
        for tensor in listing.tensors:
            if not tensor.problem:
                values[tensor.name] = opened.array(tensor)
        return listing, values


def roots(listing: Listing) -> list[Finding]:
    """Findings that name a cause and not what it cost."""
    lost = {t.name for t in listing.tensors if t.problem}
    return [f for f in listing.findings if f.severity == "error" and f.tensor not in lost]


def only(findings: Sequence[Finding]) -> Finding:
    """The one finding there must be."""
    (one,) = findings
    return one


def same(found: Values, whole: Values) -> None:
    """Every value that is given is the one that was written."""
    for name, values in found.items():
        if "unnamed@" not in name:
            assert values.tobytes() == whole[name].tobytes(), name


def end_of(path: Path) -> int:
    """The end of file its superblock declares."""
    with Source(path) as source:
        block = find_superblock(source)
    assert block is not None
    return block.end


def patched(path: Path, target: Path, at: int, data: bytes) -> Path:
    """A copy with some bytes replaced."""
    raw = bytearray(path.read_bytes())
    raw[at : at + len(data)] = data
    target.write_bytes(raw)
    return target


def flipped(path: Path, target: Path, at: int, mask: int = 4) -> Path:
    """A copy with bits of one byte turned."""
    return patched(path, target, at, bytes([path.read_bytes()[at] ^ mask]))


def h5py_says(path: Path) -> str:
    """What plain h5py says to opening the file and everything in it; empty where it says nothing."""
    code = (
        "import h5py, sys\n"
        "try:\n"
        "    with h5py.File(sys.argv[1], 'r', locking=False) as f: f.visititems(lambda n, o: None)\n"
        "except Exception as e: print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, timeout=60, text=True)
    return done.stdout.strip()


def written_by(code: str, path: Path) -> None:
    """Run a writer that may die on the way: `path` is its argv[1], h5py, numpy and os are imported."""
    head = "import sys, os, signal, resource, h5py, numpy as np\npath = sys.argv[1]\n"
    subprocess.run([sys.executable, "-c", head + code, str(path)], capture_output=True, timeout=60)


def check(*paths: Path) -> dict[str, Any]:
    """The document of `ckptui check --json`."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        run(["check", *map(str, paths), "--json"])
    document: dict[str, Any] = json.loads(out.getvalue())
    return document
