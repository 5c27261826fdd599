"""One way to open any save: the reader of its kind, imported only when it is needed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from ckptui.core.model import Artifact, Kind, Listing, Tensor, worst_status
from ckptui.core.names import step_of
from ckptui.errors import NoSuchPath, NoSuchTensor, NotASave

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
    if kind in ("keras-h5", "keras-weights", "hdf5"):
        from ckptui.readers.keras_h5 import open_h5

        return open_h5(where)
    if kind == "tf-checkpoint-v1":
        return RecognisedReader(where, kind)
    raise NotASave(f"{where}: {kind} is not read")


class RecognisedReader:
    """A save that is recognised and not read: its files and why, no tensors."""

    def __init__(self, path: str, kind: Kind) -> None:
        """Raises NoSuchPath where no file of it is there."""
        self.path = path
        self.kind = kind
        self._files = _v1_files(path)
        if not self._files:
            raise NoSuchPath(path)

    def listing(self) -> Listing:
        """Size and time of its files, and the finding that it is not read."""
        from ckptui.readers.notices import v1_notice

        sizes = [(status.st_size, status.st_mtime) for status in map(os.stat, self._files)]
        finding = v1_notice(self.path)
        label = os.path.basename(self.path)
        artifact = Artifact(
            path=self.path,
            kind=self.kind,
            label=label,
            step=step_of(label.partition("-?????-of-")[0]),
            bytes=sum(size for size, _ in sizes),
            shards=len(sizes),
            tensors=0,
            parameters=0,
            modified=max(modified for _, modified in sizes),
            status=worst_status([finding]),
        )
        return Listing(artifact, (), (finding,))

    def chunks(self, tensor: Tensor, chunk_bytes: int = 1 << 20) -> Iterator[np.ndarray[Any, Any]]:
        """Raises NoSuchTensor."""
        raise NoSuchTensor(f"{tensor.name} in {self.path}")

    def array(self, tensor: Tensor) -> np.ndarray[Any, Any]:
        """Raises NoSuchTensor."""
        raise NoSuchTensor(f"{tensor.name} in {self.path}")

    def close(self) -> None:
        """Nothing is open."""


def _v1_files(path: str) -> list[str]:
    """The files of a V1 checkpoint: one, or all that its `PREFIX-?????-of-NNNNN` stands for."""
    if os.path.isfile(path):
        return [path]
    folder, name = os.path.split(path)
    stem, mark, total = name.partition("-?????-of-")
    if not mark:
        return []
    shard = re.compile(rf"{re.escape(stem)}-[0-9]{{5,10}}-of-{re.escape(total)}")
    try:
        return [os.path.join(folder, found) for found in os.listdir(folder or ".") if shard.fullmatch(found)]
    except OSError:
        return []
