"""The vocabulary as JSON data and back, on the pipe between a reader child and its parent.

A child may have been taken over by the file it reads: `unpack` makes only the classes listed here, and checks every
field against its annotation. Tensors travel by columns, so 100,000 of them stay cheap, and are made when indexed.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, overload

from ckptui.core import model, shard_facts
from ckptui.core.model import Segment, Slice, Storage, Tensor, jsonable
from ckptui.errors import ReaderFailed

CLASSES: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        model.Segment,
        model.Slice,
        model.Storage,
        model.Tensor,
        model.Artifact,
        model.Finding,
        model.Stats,
        model.Endpoint,
        model.Signature,
        model.ArchitectureRow,
        model.Operation,
        model.Listing,
        model.Pair,
        model.Filter,
        model.Layer,
        model.TensorScan,
        model.Histogram,
        shard_facts.Partner,
        shard_facts.CountedValue,
        shard_facts.ShardFacts,
    )
}
"""Everything that may come out of a child."""

T = TypeVar("T")


def _refuse(what: str) -> ReaderFailed:
    return ReaderFailed(f"it answered with {what}")


# ---------------------------------------------------------------------- packing


def pack(value: Any) -> Any:
    """JSON data for a dataclass of the vocabulary, for sequences and mappings of them, and for plain values."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    kind: Any = type(value)
    names = _fields(kind)
    if names is not None and not isinstance(value, model.Listing):
        parts = [getattr(value, name) for name in names]
        return [kind.__name__, *[part if type(part) in _AS_THEY_ARE else pack(part) for part in parts]]
    if isinstance(value, model.Listing):
        rest = (pack(getattr(value, f.name)) for f in dataclasses.fields(value)[2:])
        return ["Listing", pack(value.artifact), pack_tensors(value.tensors), *rest]
    if isinstance(value, Mapping):
        return jsonable(value)
    if isinstance(value, (tuple, list)):
        if value and type(value[0]) is model.Filter:
            return pack_filters(value)
        return [pack(item) for item in value]
    return jsonable(value)


_FILTER_FIELDS = tuple(field.name for field in dataclasses.fields(model.Filter))
MOST_FILTERS = 1 << 16
"""Filters of a layer that are taken from a child."""


def pack_filters(filters: Sequence[model.Filter]) -> dict[str, Any]:
    """A layer has thousands, most of them alike in most fields: columns for them."""
    columns = {}
    for name in _FILTER_FIELDS:
        values = [getattr(one, name) for one in filters]
        same = values.count(values[0]) == len(values)
        columns[name] = {"same": values[0]} if same else {"each": values}
    return {"count": len(filters), "columns": columns}


def _unpack_filters(doc: Any) -> tuple[model.Filter, ...]:
    count, columns = (doc.get("count"), doc.get("columns")) if isinstance(doc, dict) else (None, None)
    if type(count) is not int or not 0 < count <= MOST_FILTERS or not isinstance(columns, dict):
        raise _refuse("something in place of filters")
    cells = []
    for name, check in zip(_FILTER_FIELDS, _checks("Filter"), strict=True):
        column = columns.get(name)
        if not isinstance(column, dict):
            raise _refuse(f"filters without {name}")
        if "same" in column:
            cells.append([check(column["same"])] * count)
        elif isinstance(column.get("each"), list) and len(column["each"]) == count:
            # fields of filters are scalars, of which a check looks at the type alone
            kinds = {type(value): value for value in column["each"]}
            for value in kinds.values():
                check(value)
            cells.append(column["each"])
        else:
            raise _refuse(f"too many or too few {name} of filters")
    return tuple(itertools.starmap(model.Filter, zip(*cells, strict=True)))


_AS_THEY_ARE = frozenset({type(None), str, bool, int, float})


@functools.cache
def _fields(kind: Any) -> tuple[str, ...] | None:
    """The names of a dataclass's fields; None for other types. Asked for every value of a long scan."""
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


_COLUMNS = ("name", "dtype", "shape", "bytes", "layer", "role", "object_path", "problem", "initializer", "layer_class")
_STORAGE_COLUMNS = ("encoding", "crc32c", "big_endian", "slices", "npy_dtype")
_SEGMENT_COLUMNS = ("file", "offset", "length")


def _column(values: list[Any]) -> dict[str, Any]:
    first = values[0] if values else None
    if all(value == first and type(value) is type(first) for value in values):
        return {"same": pack(first)}
    return {"each": values if type(first) in (str, int) else [pack(value) for value in values]}


_NOT_FOR_READING = ("layer", "role", "object_path", "initializer", "layer_class")


def pack_tensors(tensors: Sequence[Tensor], *, to_read: bool = False) -> dict[str, Any]:
    """Columns for many tensors; a column of equal values takes one.

    `to_read`: without what is said about them, for a child that reads their values.
    """
    rows = list(tensors)
    stores = [row.storage for row in rows]
    segments = [store.segment for store in stores]
    files = sorted({segment.file for segment in segments if segment is not None})
    number = {file: n for n, file in enumerate(files)}
    left_out = {name: {"same": None if name == "initializer" else ""} for name in _NOT_FOR_READING if to_read}
    if to_read:
        left_out["role"] = {"same": "other"}
    told = (name for name in _COLUMNS if name not in left_out)
    columns = left_out | {name: _column([getattr(row, name) for row in rows]) for name in told}
    columns |= {name: _column([getattr(store, name) for store in stores]) for name in _STORAGE_COLUMNS}
    columns["file"] = _column([-1 if s is None else number[s.file] for s in segments])
    columns["offset"] = _column([0 if s is None else s.offset for s in segments])
    columns["length"] = _column([0 if s is None else s.bytes for s in segments])
    return {"count": len(rows), "files": files, "columns": columns}


# ---------------------------------------------------------------------- unpacking


@overload
def unpack(doc: Any, kind: type[T]) -> T: ...
@overload
def unpack(doc: Any, kind: None = None) -> Any: ...
def unpack(doc: Any, kind: type[Any] | None = None) -> Any:
    """The dataclass that `pack` took, which must be a `kind` if one is given.

    Raises:
        ReaderFailed: the class is not in the list, a field is missing, or is not what its annotation says.
    """
    if not (isinstance(doc, list) and doc and isinstance(doc[0], str) and doc[0] in CLASSES):
        raise _refuse(f"no known fact: {str(doc)[:80]}")
    found = CLASSES[doc[0]]
    if kind is not None and found is not kind:
        raise _refuse(f"a {doc[0]} in place of a {kind.__name__}")
    checks = _checks(doc[0])
    if len(doc) - 1 != len(checks):
        raise _refuse(f"a {doc[0]} of {len(doc) - 1} fields")
    return found(*(check(value) for check, value in zip(checks, doc[1:], strict=True)))


Check = Callable[[Any], Any]


@functools.cache
def _checks(name: str) -> tuple[Check, ...]:
    kind = CLASSES[name]
    hints = typing.get_type_hints(kind)
    return tuple(_check_for(hints[field.name]) for field in dataclasses.fields(kind))


def _check_for(hint: Any) -> Check:
    """A function that returns a value as `hint` wants it, or raises ReaderFailed."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return lambda value: value
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return lambda value: unpack(value, hint)
    if origin is Literal:
        return functools.partial(_one_of, frozenset(arguments))
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin is tuple:
        return _tuple(arguments)
    if origin is not None and issubclass(origin, Mapping):
        return functools.partial(_mapping, _check_for(arguments[1]))
    if origin is not None and issubclass(origin, Sequence):
        # the only sequence in the vocabulary: the tensors of a listing
        return TensorColumns
    if hint is float:
        return _one_type_of((float, int))
    if hint in (str, int, bool):
        return _one_type_of((hint,))
    raise TypeError(f"no check for {hint}")


def _plain(kinds: tuple[type[Any], ...], value: Any) -> Any:
    if type(value) not in kinds:
        raise _refuse(f"{str(value)[:80]!r} in place of {kinds[0].__name__}")
    return value


def _one_type_of(kinds: tuple[type[Any], ...]) -> Check:
    """`_plain` as one call, for what is asked of every field of every result."""
    allowed = frozenset(kinds)

    def check(value: Any) -> Any:
        return value if type(value) in allowed else _plain(kinds, value)

    return check


def _one_of(known: frozenset[Any], value: Any) -> Any:
    if not isinstance(value, str) or value not in known:
        raise _refuse(f"the unknown word {str(value)[:80]!r}")
    return value


def _mapping(check: Check, value: Any) -> Any:
    if not isinstance(value, dict):
        raise _refuse("something in place of a mapping")
    return {key: check(item) for key, item in value.items()}


def _union(arguments: tuple[Any, ...]) -> Check:
    optional = type(None) in arguments
    rest = [a for a in arguments if a is not type(None)]
    if all(a in (str, int, bool, float) for a in rest):
        kinds = (float, int) if rest == [float] else tuple(rest)
        return _one_type_of((*kinds, type(None)) if optional else kinds)
    inner = _check_for(rest[0]) if len(rest) == 1 else functools.partial(_plain, tuple(rest))

    def check(value: Any) -> Any:
        return None if value is None and optional else inner(value)

    return check


def _tuple(arguments: tuple[Any, ...]) -> Check:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        inner = _check_for(arguments[0])
        filters = arguments[0] is model.Filter

        def check(value: Any) -> Any:
            if filters and isinstance(value, dict):
                return _unpack_filters(value)
            if not isinstance(value, list):
                raise _refuse("something in place of a list")
            return tuple([inner(item) for item in value])

        return check
    raise TypeError(f"no check for tuples of {arguments}")


class TensorColumns(Sequence[Tensor]):
    """The tensors of a listing as they came over the pipe; each is made when it is asked for."""

    def __init__(self, doc: Any) -> None:
        """Check what `pack_tensors` made. Raises ReaderFailed."""
        wanted = {*_COLUMNS, *_STORAGE_COLUMNS, *_SEGMENT_COLUMNS}
        if not isinstance(doc, dict) or doc.keys() != {"count", "files", "columns"}:
            raise _refuse("something in place of tensors")
        self._count: int = _plain((int,), doc["count"])
        self._files: list[str] = [_plain((str,), file) for file in _plain((list,), doc["files"])]
        columns = _plain((dict,), doc["columns"])
        if columns.keys() != wanted or self._count < 0:
            raise _refuse("other columns than those of tensors")
        checks = _column_checks()
        self._columns = {name: self._checked(columns[name], checks[name]) for name in wanted}
        if any(not -1 <= n < len(self._files) for n in set(self._values("file"))):
            raise _refuse("a file that is not listed")
        self._places: dict[str, int] | None = None

    def _checked(self, column: Any, check: Check) -> dict[str, Any]:
        if not isinstance(column, dict) or len(column) != 1:
            raise _refuse("something in place of a column")
        if "same" in column:
            return {"same": check(column["same"]) if self._count else None}
        each = column.get("each")
        if not isinstance(each, list) or len(each) != self._count:
            raise _refuse("a column of another length")
        return {"each": [check(value) for value in each]}

    def _values(self, name: str) -> list[Any]:
        column = self._columns[name]
        each: list[Any] | None = column.get("each")
        return [column["same"]] * self._count if each is None else each

    @property
    def names(self) -> list[str]:
        """All names in order, without making a tensor."""
        return list(self._values("name"))

    def plain_rows(self) -> list[tuple[str, int, Segment, int | None] | None]:
        """(dtype, elements, segment, checksum) of what lies plainly, little-endian and whole; None for others."""
        wanted = (
            "encoding",
            "big_endian",
            "npy_dtype",
            "problem",
            "file",
            "dtype",
            "shape",
            "offset",
            "length",
            "crc32c",
        )
        rows = zip(*(self._values(name) for name in wanted), strict=True)
        return [
            (dtype, math.prod(shape), Segment(self._files[file], offset, length), crc)
            if encoding == "plain" and file >= 0 and not (big or npy or problem)
            else None
            for encoding, big, npy, problem, file, dtype, shape, offset, length, crc in rows
        ]

    def find(self, name: str) -> Tensor | None:
        """The tensor of that name; None where there is none."""
        if self._places is None:
            self._places = {n: place for place, n in reversed(list(enumerate(self._values("name"))))}
        place = self._places.get(name)
        return None if place is None else self[place]

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> Tensor: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Tensor]: ...
    def __getitem__(self, place: int | slice) -> Tensor | Sequence[Tensor]:
        if isinstance(place, slice):
            return [self[n] for n in range(*place.indices(self._count))]
        if not -self._count <= place < self._count:
            raise IndexError(place)

        def at(name: str) -> Any:
            column = self._columns[name]
            return column["same"] if "same" in column else column["each"][place]

        file = at("file")
        segment = None if file < 0 else Segment(self._files[file], at("offset"), at("length"))
        storage = Storage(at("encoding"), segment, at("crc32c"), at("big_endian"), at("slices"), at("npy_dtype"))
        return Tensor(
            name=at("name"),
            dtype=at("dtype"),
            shape=at("shape"),
            bytes=at("bytes"),
            layer=at("layer"),
            role=at("role"),
            object_path=at("object_path"),
            storage=storage,
            problem=at("problem"),
            initializer=at("initializer"),
            layer_class=at("layer_class"),
        )


@functools.cache
def _column_checks() -> dict[str, Check]:
    tensor, storage = typing.get_type_hints(Tensor), typing.get_type_hints(Storage)
    checks = {name: _check_for(tensor[name]) for name in _COLUMNS}
    checks |= {name: _check_for(storage[name]) for name in _STORAGE_COLUMNS}
    checks["slices"] = _check_for(tuple[Slice, ...])
    return checks | dict.fromkeys(_SEGMENT_COLUMNS, functools.partial(_plain, (int,)))
