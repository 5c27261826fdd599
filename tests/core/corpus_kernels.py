"""Run by path: the verdict on every kernel of the HDF5 and .keras files named, as JSON lines."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py

from ckptui.core.filters import analyse


def main(paths: list[str]) -> None:
    """Print {"file", "name", "shape", "initializer", "counts", "flagged"} for each."""
    for path in paths:
        source: Any = path
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                source = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(source, "r") as file:
            file.visititems(lambda name, item, path=path: show(path, name, item))


def show(path: str, name: str, item: Any) -> None:
    """One line for a kernel, nothing for the rest."""
    if not isinstance(item, h5py.Dataset) or item.ndim < 2 or item.dtype.kind != "f" or "optimizer" in name:
        return
    layer = analyse(item[()], name)
    if layer is not None:
        facts = {"initializer": layer.initializer, "counts": layer.counts, "flagged": layer.flagged_symmetric}
        print(json.dumps({"file": Path(path).name, "name": name, "shape": item.shape, **facts}))


if __name__ == "__main__":
    main(sys.argv[1:])
