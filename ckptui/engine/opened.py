"""Readers a child keeps open from one request to the next, as long as the files stay as they were."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from ckptui.core.model import Kind, Listing, Tensor
from ckptui.core.names import clean
from ckptui.errors import NoSuchTensor

if TYPE_CHECKING:
    from ckptui.readers.registry import Reader

UNDERSCORED = "/_kernel"
"""What Keras 3 calls the kernel of a plain convolution or dense layer in a checkpoint's keys."""
KEPT = 4
"""Readers open at a time: both sides of a diff, and what was looked at before."""

Identity = tuple[tuple[int, int, int, int] | None, ...]


Tick = Callable[[], None]


class _Slow(Protocol):
    """A reader whose listing may take long, and that says so while it does."""

    def listing(self, tick: Tick) -> Listing: ...


SLOW_KINDS = frozenset({"keras-h5", "keras-weights", "hdf5", "keras-archive"})
TICK_SECONDS = 0.5


class OpenReader:
    """A reader, its listing, and its tensors by name."""

    def __init__(self, reader: Reader, kind: Kind, tick: Tick) -> None:
        self.reader = reader
        self.listing = cast(_Slow, reader).listing(tick) if kind in SLOW_KINDS else reader.listing()
        self._places: dict[str, int] = {}
        self._neighbours: dict[str, list[Tensor]] | None = None
        self._underscored: bool | None = None

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name, decoded only now. Raises NoSuchTensor."""
        tensors: Sequence[Tensor] = self.listing.tensors
        if not self._places:
            names = getattr(tensors, "names", None)
            listed = [t.name for t in tensors] if names is None else list(names)
            self._places = {known: place for place, known in reversed(list(enumerate(listed)))}
        if name not in self._places:
            raise NoSuchTensor(f"{name} in {self.listing.artifact.path}")
        return tensors[self._places[name]]

    def neighbours(self, tensor: Tensor) -> list[Tensor]:
        """The other tensors of its layer; none for a tensor without one."""
        if self._neighbours is None:
            self._neighbours = {}
            for other in self.listing.tensors:
                if other.layer:
                    self._neighbours.setdefault(other.layer, []).append(other)
        return [t for t in self._neighbours.get(tensor.layer, ()) if t.name != tensor.name]

    def axes(self, tensor: Tensor) -> str:
        """How the axes of a kernel are meant, see `layout.axes_of`; empty for what is no kernel of three axes or more.

        The layer's class tells, else the outputs its bias has, else names.
        """
        if tensor.role != "kernel" or len(tensor.shape) < 3:
            return ""
        from ckptui.core.layout import axes_of

        biases = {other.shape for other in self.neighbours(tensor) if other.role == "bias"}
        if self._underscored is None:
            names = getattr(self.listing.tensors, "names", ())
            self._underscored = any(clean(name).endswith(UNDERSCORED) for name in names)
        return axes_of(
            tensor.shape,
            tensor.name,
            tensor.layer,
            tensor.object_path,
            layer_class=tensor.layer_class,
            bias=biases.pop() if len(biases) == 1 else None,
            underscored=self._underscored,
        )


class OpenReaders:
    """The last few readers, by path and kind."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[str, str], tuple[Identity, OpenReader]] = OrderedDict()

    def get(self, path: str, kind: Kind, alive: Tick) -> OpenReader:
        """The reader of a save, opened anew if its files are others by now; calls `alive` now and then.

        Raises CkptuiError.
        """
        key = (path, kind)
        now = identity(path)
        known = self._open.get(key)
        if known is not None and known[0] == now:
            self._open.move_to_end(key)
            return known[1]
        self.forget(path)
        from ckptui.readers.registry import open_reader

        reader = open_reader(path, kind)
        try:
            opened = OpenReader(reader, kind, _throttled(alive))
        except BaseException:
            reader.close()
            raise
        self._open[key] = now, opened
        while len(self._open) > KEPT:
            self._open.popitem(last=False)[1][1].reader.close()
        return opened

    def forget(self, path: str) -> None:
        """Close the readers of a path: its files changed, or one of them failed."""
        for key in [key for key in self._open if key[0] == path]:
            self._open.pop(key)[1].reader.close()


def _throttled(alive: Tick) -> Tick:
    last = time.monotonic()

    def tick() -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= TICK_SECONDS:
            last = now
            alive()

    return tick


def identity(path: str) -> Identity:
    """Device, inode, size and time of the files that hold a save's directory; None for each that is not there."""
    ends = ("", ".index", "/.index", "/saved_model.pb", "/saved_model.pbtxt", "/variables/variables.index")
    first = path.replace("-?????-of-", "-00000-of-")
    from ckptui.readers.keras_shard_map import more_files

    more = (*((first,) if first != path else ()), *more_files(path))
    return tuple(_stamp(end) for end in (*(path + end for end in ends), *more))


def _stamp(path: str) -> tuple[int, int, int, int] | None:
    try:
        found: Any = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
