"""Opening an HDF5 object by the address of its header, where no link leads to it any more.

HDF5 opens an object by an object reference, and a stored reference is the header's address (HDF5 File Format
Specification, IV.A.2.d, reference datatype). h5py makes references only of objects it can open, so one is read from
a small file image in memory whose eight bytes are replaced. Runs in the reader child only.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any


def open_at(file_id: Any, address: int) -> Any:
    """The low-level h5py id of the object at an address of an open file; raises one of HDF5_ERRORS."""
    import h5py

    return h5py.h5r.dereference(_reference(address), file_id)


def _reference(address: int) -> Any:
    import h5py
    import numpy as np

    image, offset = _template()
    patched = image[:offset] + address.to_bytes(8, "little") + image[offset + 8 :]
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fapl_core(backing_store=False)
    access.set_file_image(patched)
    file_id = h5py.h5f.open(b"reference", h5py.h5f.ACC_RDONLY, fapl=access)
    try:
        dataset = h5py.h5d.open(file_id, b"r")
        found = np.empty(1, dtype=h5py.ref_dtype)
        dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, found)
        return found[0]
    finally:
        file_id.close()


@lru_cache
def _template() -> tuple[bytes, int]:
    """A file with one reference in it, and where its eight bytes lie."""
    import h5py

    with h5py.File("template", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("r", (1,), dtype=h5py.ref_dtype)
        dataset[0] = file.ref
        file.flush()
        return bytes(file.id.get_file_image()), int(dataset.id.get_offset())
