"""Values of one HDF5 dataset in bounded memory, chunk-aligned so that nothing is decompressed twice.

Runs in the reader child only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ckptui.core.dtypes import ITEMSIZE, np_dtype

if TYPE_CHECKING:
    import numpy as np

SLAB_BYTES = 128 << 20
"""Most that is decompressed at a time to keep C order, as long as one row of chunks fits."""
STRINGS_BYTES = 256 << 20
"""Most that variable-length strings may take at a time."""
MAX_STRINGS = 65_536
REFERENCES_STEP = 1 << 20
_REFERENCE_BYTES = 16
"""Length, heap address and index of one variable-length string."""

Slices = tuple[slice | int, ...]


def dataset_chunks(dataset: Any, dtype: str, chunk_bytes: int, file_bytes: int) -> Iterator[np.ndarray]:
    """The dataset's values in C order as 1-D native-order arrays of at most `chunk_bytes` (strings: as objects).

    `dtype` is TensorFlow's name as the listing has it; `file_bytes` bounds what one string can take. Raises what
    h5py raises.
    """
    import h5py

    opened = h5py.Dataset(dataset)
    if not opened.size:
        return
    for where in _plan(opened, dtype, chunk_bytes, file_bytes):
        values = native(opened[where], dtype)
        step = max(1, chunk_bytes // max(1, values.itemsize))
        for at in range(0, values.size, step):
            yield values[at : at + step]


def longest_string(dataset: Any, raw: Callable[[int, int], bytes]) -> int:
    """The largest length a contiguous dataset of variable-length strings declares; 0 for any other dataset.

    HDF5 allocates what a reference declares before it looks at the heap. `raw` reads the file.
    """
    import h5py
    import numpy as np

    kind = dataset.get_type()
    contiguous = dataset.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
    stored = int(dataset.get_storage_size())
    variable = isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()
    count = dataset.get_space().get_simple_extent_npoints()
    if not (contiguous and stored and variable) or stored != count * _REFERENCE_BYTES:
        return 0
    offset, longest = int(dataset.get_offset()), 0
    for at in range(0, stored, REFERENCES_STEP):
        piece = raw(offset + at, min(REFERENCES_STEP, stored - at))
        whole = len(piece) // _REFERENCE_BYTES * _REFERENCE_BYTES
        lengths = np.frombuffer(piece[:whole], dtype="<u4").reshape(-1, 4)[:, 0]
        longest = max(longest, int(lengths.max(initial=0)))
    return longest


def native(values: Any, dtype: str) -> np.ndarray:
    """What h5py gave, flat and in native byte order; strings as an object array of bytes."""
    import numpy as np

    if dtype == "string":
        flat = np.asarray(values, dtype=object).reshape(-1)
        return np.array([one.encode() if isinstance(one, str) else one for one in flat], dtype=object)
    array = np.asarray(values)
    if array.dtype.kind == "V" and array.dtype.names is None and dtype in ITEMSIZE:
        return np.frombuffer(array.tobytes(), dtype=np_dtype(dtype))
    order = array.dtype.newbyteorder("=")
    return array.astype(order, copy=False).reshape(-1)


def _plan(opened: Any, dtype: str, chunk_bytes: int, file_bytes: int) -> Iterator[Slices]:
    shape = tuple(int(d) for d in opened.shape)
    size = max(1, opened.dtype.itemsize)
    if dtype == "string" and opened.dtype.kind == "O":
        count = max(1, min(MAX_STRINGS, STRINGS_BYTES // max(1, file_bytes)))
        return slabs(shape, None, 1, count)
    return slabs(shape, opened.chunks, size, max(chunk_bytes, size))


def slabs(shape: tuple[int, ...], chunk: tuple[int, ...] | None, size: int, target: int) -> Iterator[Slices]:
    """Selections that together are the array in C order, each about `target` bytes of `size` per element.

    With a chunk shape they end on chunk borders and may grow to SLAB_BYTES for it; beyond that single rows are
    taken, and chunks are decompressed again for each.
    """
    if not shape:
        yield ()
        return
    row = math.prod(shape[1:]) * size
    deep = chunk[0] if chunk else 1
    limit = max(target, SLAB_BYTES) if chunk else target
    if deep * row > limit and len(shape) > 1:
        inner = chunk[1:] if chunk else None
        for index in range(shape[0]):
            for rest in slabs(shape[1:], inner, size, target):
                yield (index, *rest)
        return
    step = deep * max(1, target // max(1, deep * row))
    for start in range(0, shape[0], step):
        yield (slice(start, min(start + step, shape[0])),)
