"""Lists and reads HDF5 files and .keras archives in a process that may die, and holds them against plain h5py.

Run by path: `python hdf5_child.py FILE...` prints `start FILE`, `mine FILE` and `done FILE JSON` for each.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ckptui.core.model import Tensor
from ckptui.errors import CkptuiError
from ckptui.readers.keras_archive import KerasArchive, open_archive
from ckptui.readers.keras_folder import KerasFolder
from ckptui.readers.keras_h5 import H5File, open_h5

Opened = H5File | KerasArchive | KerasFolder
MAX_BYTES = 64 << 20


def main(paths: list[str]) -> None:
    """Handle each file in turn; whatever dies here is seen by the parent."""
    for path in paths:
        say("start", path)
        outcome = look(path)
        say("mine", path)
        if path.endswith((".h5", ".hdf5")) or b"HDF" in Path(path).read_bytes()[:8]:
            outcome["differs"] = against_h5py(path, outcome.pop("values"))
        outcome.pop("values", None)
        say("done", path, json.dumps(outcome, default=str))


def say(*words: str) -> None:
    sys.stdout.write(" ".join(words).replace("\n", " ") + "\n")
    sys.stdout.flush()


def look(path: str) -> dict[str, Any]:
    """What our reader makes of the file: names, dtypes, shapes, findings, values of what can be read."""
    try:
        opened: Opened = open_archive(path) if path.endswith(".keras") else open_h5(path)
    except CkptuiError as error:
        return {"refused": str(error), "values": {}}
    with opened:
        listing = opened.listing()
        values = {t.name: value(opened, t) for t in listing.tensors}
        return {
            "kind": listing.artifact.kind,
            "tensors": len(listing.tensors),
            "readable": sum(not t.problem for t in listing.tensors),
            "codes": sorted({f.code for f in listing.findings}),
            "values": values,
        }


def value(opened: Opened, tensor: Tensor) -> tuple[Tensor, Any]:
    if tensor.problem:
        return tensor, None
    if tensor.count * 8 > MAX_BYTES:
        return tensor, next(iter(opened.chunks(tensor, 1 << 20)))
    try:
        return tensor, opened.array(tensor)
    except CkptuiError as error:
        return tensor, str(error)


def against_h5py(path: str, mine: dict[str, tuple[Tensor, Any]]) -> list[str]:
    """What plain h5py reads differently: every dataset `visititems` meets, its shape and its bytes."""
    import h5py

    differs: list[str] = []
    try:
        file = h5py.File(path, "r", locking=False)
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    except (OSError, RuntimeError, KeyError, TypeError, ValueError):
        return differs
    with file:
        for name in names:
            text = name if isinstance(name, str) else bytes(name).decode("utf-8", "surrogateescape")
            if text not in mine:
                differs.append(f"{text!a}: not listed")
                continue
            differs += compare(file, name, *mine[text])
    return differs


def compare(file: Any, name: Any, tensor: Tensor, got: Any) -> list[str]:
    import h5py

    try:
        dataset = file[name]
        if dataset.is_virtual or dataset.external or dataset.nbytes > MAX_BYTES:
            return []
        wanted = dataset[()]
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, MemoryError):
        return []
    if isinstance(wanted, h5py.Empty):
        return [] if tensor.shape == (0,) else [f"{name!a}: empty"]
    wanted = np.asarray(wanted)
    if got is None:
        lists = wanted.dtype.hasobject and tensor.dtype != "string"
        return [] if lists else [f"{name!a}: refused, {tensor.problem}"]
    if isinstance(got, str):
        return [f"{name!a}: {got}"]
    if tensor.shape != wanted.shape:
        return [f"{name!a}: shape {tensor.shape} against {wanted.shape}"]
    if tensor.dtype == "string":
        same = [bytes(one) for one in got.reshape(-1)] == [bytes(one) for one in wanted.reshape(-1).tolist()]
    else:
        native = wanted.astype(wanted.dtype.newbyteorder("="))
        same = got.tobytes() == native.tobytes()
    return [] if same else [f"{name!a}: other bytes"]


if __name__ == "__main__":
    main(sys.argv[1:])
