"""The tensors of a bundle as a sequence that decodes what is looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import overload

from ckptui.core.dtypes import ITEMSIZE, dtype_name
from ckptui.core.model import Role, Segment, Slice, Storage, Tensor
from ckptui.core.names import is_weight, layer_of, role_of
from ckptui.readers.bundle_entry import Entry
from ckptui.readers.bundle_index import BundleIndex
from ckptui.readers.object_graph import ObjectGraph
from ckptui.readers.sstable_block import unmask

_NO_GRAPH = ObjectGraph()


class BundleTensors(Sequence[Tensor]):
    """Tensors in index order; indexing decodes one."""

    def __init__(self, index: BundleIndex, graph: Callable[[], ObjectGraph | None]) -> None:
        """`graph` is asked once, when the first tensor is looked at."""
        self._index = index
        self._ask = graph
        self._graph: ObjectGraph | None = None
        self._places: dict[str, int] | None = None
        self._built: dict[int, Tensor] = {}

    @property
    def names(self) -> list[str]:
        """All names, without decoding anything."""
        return self._index.names

    def __len__(self) -> int:
        return len(self._index.names)

    @overload
    def __getitem__(self, number: int) -> Tensor: ...

    @overload
    def __getitem__(self, number: slice) -> list[Tensor]: ...

    def __getitem__(self, number: int | slice) -> Tensor | list[Tensor]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        if number < 0:
            number += len(self)
        if not 0 <= number < len(self):
            raise IndexError(number)
        tensor = self._built.get(number)
        if tensor is None:
            tensor = self._built[number] = self._build(number)
        return tensor

    def find(self, name: str) -> Tensor | None:
        """The tensor of that name."""
        if self._places is None:
            self._places = {known: place for place, known in reversed(list(enumerate(self.names)))}
        place = self._places.get(name)
        return None if place is None else self[place]

    def parameters(self) -> int:
        """Elements of all weights, a weight stored twice counted once; decodes every record."""
        index, graph = self._index, self.graph
        invalid = index.verdicts.invalid
        total = 0
        for position, name in zip(index.positions, index.names, strict=True):
            entry = index.entries[position]
            dtype = dtype_name(entry.dtype)
            if position not in invalid and is_weight(self._role(name, dtype, entry.shape, graph), dtype):
                total += prod(entry.shape)
        return total - self._stored_twice(graph)

    @property
    def graph(self) -> ObjectGraph:
        """The object graph; an empty one where the bundle has none."""
        if self._graph is None:
            self._graph = self._ask() or _NO_GRAPH
        return self._graph

    def _stored_twice(self, graph: ObjectGraph) -> int:
        """Elements that `model.export` stores under `_all_variables/` and again under `variables/`."""
        again = 0
        exported: set[tuple[str, tuple[int, ...], int]] = set()
        copies: list[tuple[str, tuple[int, ...], int]] = []
        for position, name in zip(self._index.positions, self._index.names, strict=True):
            kept = name.startswith("variables/")
            if not kept and not name.startswith("_all_variables/"):
                continue
            entry = self._index.entries[position]
            full_name = graph.names.get(name, "")
            dtype = dtype_name(entry.dtype)
            if full_name and is_weight(self._role(name, dtype, entry.shape, graph), dtype):
                identity = (full_name, entry.shape, entry.dtype)
                if kept:
                    exported.add(identity)
                else:
                    copies.append(identity)
        for identity in copies:
            if identity in exported:
                again += prod(identity[1])
        return again

    # ------------------------------------------------------------------ building

    def _build(self, number: int) -> Tensor:
        index, graph = self._index, self.graph
        position, name = index.positions[number], index.names[number]
        entry = index.entry(position)
        dtype = dtype_name(entry.dtype)
        problem = index.problem(position)
        if entry.slices:
            storage, trouble = self._tiled(name, entry)
            problem = problem or trouble
            stored = sum(tile.segment.bytes for tile in storage.slices)
        else:
            storage, stored = self._plain(entry, dtype), max(entry.size, 0)
        return Tensor(
            name=name,
            dtype=dtype,
            shape=entry.shape,
            bytes=stored,
            layer=_layer(name, graph),
            role=self._role(name, dtype, entry.shape, graph),
            object_path=graph.names.get(name, ""),
            storage=storage,
            problem=problem,
        )

    @staticmethod
    def _role(name: str, dtype: str, shape: tuple[int, ...], graph: ObjectGraph) -> Role:
        return graph.roles.get(name) or role_of(name, dtype, shape, graph.names.get(name, ""))

    def _plain(self, entry: Entry, dtype: str) -> Storage:
        if entry.fault or entry.offset < 0 or entry.size < 0:
            return Storage("none")
        segment = Segment(self._index.shards.path(entry.shard), entry.offset, entry.size)
        crc = None if entry.crc is None else unmask(entry.crc)
        if dtype == "string":
            return Storage("strings", segment, crc)
        if dtype == "variant":
            return Storage("variant", segment, crc)
        return Storage("plain", segment, crc, self._swapped(dtype))

    def _swapped(self, dtype: str) -> bool:
        return self._index.header.big_endian and ITEMSIZE.get(dtype, 1) > 1

    def _tiled(self, name: str, entry: Entry) -> tuple[Storage, str]:
        """Where the tiles of a partitioned tensor lie, and why it can't be put together."""
        index = self._index
        placed, problem = index.tiles_of(name, entry)
        slices = []
        for tile in placed:
            record = index.entry(tile.position)
            trouble = index.problem(tile.position)
            if trouble and not problem:
                problem = f"its tile at {tile.start}: {trouble}"
            segment = Segment(index.shards.path(record.shard), max(record.offset, 0), max(record.size, 0))
            crc = None if record.crc is None else unmask(record.crc)
            slices.append(Slice(tile.start, tile.shape, segment, crc))
        dtype = dtype_name(entry.dtype)
        if dtype not in ITEMSIZE:
            problem = problem or "only dtypes of a fixed size can be cut into tiles"
        return Storage("slices", big_endian=self._swapped(dtype), slices=tuple(slices)), problem


def _layer(name: str, graph: ObjectGraph) -> str:
    """The layer, by the variable's own name without the model's; of a slot, the layer of the weight it serves."""
    full_name = graph.originals.get(name) or graph.names.get(name, "")
    if graph.model_name:
        full_name = full_name.removeprefix(graph.model_name + "/")
    return layer_of(name, full_name if "/" in full_name else "")
