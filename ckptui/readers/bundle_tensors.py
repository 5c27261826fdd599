"""The tensors of a bundle as a sequence that decodes what is looked at."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from math import prod
from typing import overload

from ckptui.core.dtypes import ITEMSIZE, dtype_name
from ckptui.core.model import Role, Segment, Slice, Storage, Tensor
from ckptui.core.names import WEIGHT_ROLES, is_weight, layer_of, role_of
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

    def __iter__(self) -> Iterator[Tensor]:
        built = self._built
        for number in range(len(self)):
            yield built.get(number) or self[number]

    def find(self, name: str) -> Tensor | None:
        """The tensor of that name."""
        if self._places is None:
            self._places = {known: place for place, known in reversed(list(enumerate(self.names)))}
        place = self._places.get(name)
        return None if place is None else self[place]

    def parameters(self) -> int:
        """Elements of all weights, a weight stored twice counted once; decodes every record."""
        index = self._index
        invalid = index.verdicts.invalid
        entries, total = index.entries, 0
        roles = self.roles
        for number, position in enumerate(index.positions):
            entry = entries[position]
            role = roles(number, entry)
            if role != "other":
                if role in WEIGHT_ROLES and position not in invalid:
                    total += prod(entry.shape)
            elif position not in invalid and is_weight(role, dtype_name(entry.dtype)):
                total += prod(entry.shape)
        return total - self._stored_twice()

    @property
    def graph(self) -> ObjectGraph:
        """The object graph; an empty one where the bundle has none."""
        if self._graph is None:
            self._graph = self._ask() or _NO_GRAPH
        return self._graph

    @cached_property
    def roles(self) -> Callable[[int, Entry], Role]:
        """The role of a tensor by number and record; names that differ in digits alone are judged once."""
        index, graph = self._index, self.graph
        keys, positions, names = index.table.keys, index.positions, index.names
        decided, full_names = graph.roles, graph.names
        known: dict[tuple[bytes, int, int], Role] = {}

        def role(number: int, entry: Entry) -> Role:
            name = names[number]
            full_name = ""
            if decided or full_names:
                if name in decided:
                    return decided[name]
                full_name = full_names.get(name, "")
            pattern = keys[positions[number]]
            if full_name:
                pattern += b"\0" + full_name.encode("utf-8", "replace")
            key = (pattern.translate(None, b"0123456789"), entry.dtype, min(len(entry.shape), 2))
            found = known.get(key)
            if found is None:
                found = known[key] = role_of(name, dtype_name(entry.dtype), entry.shape, full_name)
            return found

        return role

    def _stored_twice(self) -> int:
        """Elements that `model.export` stores under `_all_variables/` and again under `variables/`."""
        names, full_names = self.names, self.graph.names
        kept = self._elements(bisect_left(names, "variables/"), bisect_left(names, "variables0"))
        start, stop = bisect_left(names, "_all_variables/"), bisect_left(names, "_all_variables0")
        again = self._elements(start, stop) if kept and full_names else {}
        return sum(
            prod(shape) * min(count, kept.get((full_name, shape, dtype), 0))
            for (full_name, shape, dtype), count in again.items()
        )

    def _elements(self, start: int, stop: int) -> dict[tuple[str, tuple[int, ...], int], int]:
        """How often each weight, by own name, shape and dtype number, stands among these tensors."""
        index = self._index
        found: dict[tuple[str, tuple[int, ...], int], int] = {}
        for number in range(start, stop):
            position = index.positions[number]
            entry = index.entries[position]
            full_name = self.graph.names.get(index.names[number], "")
            role = self.roles(number, entry)
            if full_name and position not in index.verdicts.invalid and is_weight(role, dtype_name(entry.dtype)):
                identity = (full_name, entry.shape, entry.dtype)
                found[identity] = found.get(identity, 0) + 1
        return found

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
            role=self.roles(number, entry),
            object_path=graph.names.get(name, ""),
            storage=storage,
            problem=problem,
        )

    def _plain(self, entry: Entry, dtype: str) -> Storage:
        if entry.fault or entry.offset < 0 or entry.size < 0 or self._index.is_foreign(entry.shard):
            return Storage("none")
        segment = Segment(self._index.shards.path(entry.shard), entry.offset, entry.size)
        crc = None if entry.crc is None else unmask(entry.crc)
        if dtype == "string":
            return Storage("strings", segment, crc, self._index.header.big_endian)
        if dtype == "variant":
            return Storage("variant", segment, crc, self._index.header.big_endian)
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
            if index.is_foreign(record.shard):
                return Storage("none"), problem
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
