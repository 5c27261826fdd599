"""One way to open any save: the reader of its kind, imported only when it is needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from ckptui.core.model import Kind, Listing, Tensor
from ckptui.errors import NotASave

if TYPE_CHECKING:
    import numpy as np


class Reader(Protocol):
    """What every format's reader offers."""

    @property
    def path(self) -> str: ...

    @property
    def kind(self) -> Kind: ...

    def listing(self) -> Listing:
        """Everything the save says about itself without one value being read."""
        ...

    def chunks(self, tensor: Tensor, chunk_bytes: int = ...) -> Iterator[np.ndarray[Any, Any]]:
        """The values in C order as 1-D arrays in native byte order, about `chunk_bytes` each, on a buffer that the
        next step may overwrite; strings and variants as object arrays of bytes."""
        ...

    def array(self, tensor: Tensor) -> np.ndarray[Any, Any]:
        """All values in the tensor's shape; strings and variants as an object array of bytes."""
        ...

    def close(self) -> None:
        """Let go of the files; doing it twice is harmless."""
        ...


def open_reader(path: str | os.PathLike[str], kind: Kind) -> Reader:
    """The reader of a save of this kind. HDF5 kinds and archives may be opened in a reader child only.

    Raises:
        NoSuchPath, NotASave: nothing of that kind is there.
        Damaged, ChangedWhileReading: not even a listing can be had.
    """
    where = os.fspath(path)
    if kind == "tf-checkpoint":
        from ckptui.readers.bundle import open_bundle

        return open_bundle(where)
    if kind == "saved-model":
        from ckptui.readers.saved_model import open_saved_model

        return open_saved_model(where)
    if kind == "keras-archive":
        from ckptui.readers.keras_archive import open_archive

        return open_archive(where)
    if kind == "keras-weights" and where.endswith(".weights.json"):
        from ckptui.readers.keras_shards import open_shards

        return open_shards(where)
    if kind in ("keras-h5", "keras-weights", "hdf5"):
        from ckptui.readers.keras_h5 import open_h5

        return open_h5(where)
    if kind == "tf-checkpoint-v1":
        from ckptui.readers.bundle_v1 import open_v1

        return open_v1(where)
    if kind == "meta-graph":
        from ckptui.readers.meta_graph import open_meta_graph

        return open_meta_graph(where)
    raise NotASave(f"{where}: {kind} is not read")
