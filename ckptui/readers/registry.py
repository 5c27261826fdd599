"""Which reader opens which kind of save; each is imported only when a save of its kind is opened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from ckptui.core.model import Kind, Listing, Tensor
from ckptui.errors import NotASave

if TYPE_CHECKING:
    import numpy as np


class Reader(Protocol):
    """What every reader offers. Readers of HDF5 are opened only in a reader child."""

    def listing(self) -> Listing:
        """All the save says about itself without tensor bytes being read."""

    def chunks(self, tensor: Tensor, chunk_bytes: int = 1 << 20) -> Iterator[np.ndarray[Any, Any]]:
        """The values as 1-D arrays in C order; raises TypeError for strings and variants, Damaged for bad bytes."""

    def array(self, tensor: Tensor) -> np.ndarray[Any, Any]:
        """The values in their shape; strings and variants as objects of bytes."""

    def close(self) -> None:
        """Let go of the files."""


def open_reader(path: str, kind: Kind) -> Reader:
    """Open the save at `path` as `kind`.

    Raises:
        NotASave: no reader knows this kind.
        CkptuiError: the save can't be opened at all.
    """
    if kind == "tf-checkpoint":
        from ckptui.readers.bundle import open_bundle

        return open_bundle(path)
    if kind == "saved-model":
        from ckptui.readers.saved_model import open_saved_model

        return open_saved_model(path)
    if kind in ("keras-h5", "keras-weights", "hdf5"):
        from ckptui.readers.keras_h5 import open_h5

        return open_h5(path)
    if kind == "keras-archive":
        from ckptui.readers.keras_archive import open_archive

        return open_archive(path)
    raise NotASave(f"{path} is a {kind}", "This kind is recognised, but not read yet")
