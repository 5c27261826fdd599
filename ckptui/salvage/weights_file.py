"""The HDF5 side of writing a `.weights.h5`: datasets filled as their bytes arrive. Runs in the writer child only."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from ckptui.engine.frames import Frame, read_frame

if TYPE_CHECKING:
    import h5py


class Broken(Exception):
    """The stream ended, or is not what it should be."""


def write_file(path: str, requests: int) -> None:
    """Write the file from the frames on descriptor `requests`; see `weights_child`.

    Raises:
        Broken: the frames end early.
        OSError: the disk refuses.
    """
    import h5py

    with h5py.File(path, "w", locking=False) as file:
        last = ""
        while True:
            frame = read_frame(requests)
            if frame is None:
                raise Broken("the stream ended before the file was complete")
            if "dataset" in frame.header:
                last = str(frame.header["dataset"])
                _dataset(file, frame, requests)
            elif frame.header.get("drop") and last in file:
                del file[last]
            elif frame.header.get("end"):
                return


def _dataset(file: h5py.File, frame: Frame, requests: int) -> None:
    """Create a dataset and fill it in one write where it is small, row by row where it is large."""
    import numpy as np

    header = frame.header
    shape = tuple(int(n) for n in header["shape"])
    dtype = np.dtype(header["numpy"])
    made = file.create_dataset(header["dataset"], shape, dtype)
    if header["tag"]:
        made.attrs["dtype"] = header["tag"]
    total = prod(shape) * dtype.itemsize
    row = max(1, prod(shape[1:]) * dtype.itemsize) if shape else dtype.itemsize
    held = bytearray()
    first = received = 0
    while received < total:
        piece = read_frame(requests)
        if piece is None or not piece.header.get("data"):
            if piece is not None and piece.header.get("drop"):
                del file[header["dataset"]]
                return
            raise Broken(f"{header['dataset']}: {received} of {total} bytes came")
        for blob in piece.blobs:
            held += blob
            received += len(blob)
        if not shape:
            continue
        rows = len(held) // row
        if rows:
            made[first : first + rows] = _values(held[: rows * row], dtype, (rows, *shape[1:]))
            first += rows
            del held[: rows * row]
    if not shape:
        made[()] = _values(held, dtype, ())


def _values(raw: bytearray, dtype: Any, shape: tuple[int, ...]) -> Any:
    import numpy as np

    return np.frombuffer(bytes(raw), dtype).reshape(shape)
