"""Serialized Examples as a material: their numbers are probed and their pictures flipped, then built anew."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ckptui.errors import Damaged
from ckptui.predict.answers import Feed
from ckptui.predict.encoded import EncodedMaterial
from ckptui.predict.examples import LISTS, feature, features, field
from ckptui.predict.given_probes import probe
from ckptui.predict.material import FLIPS, PROBES, Material
from ckptui.predict.recipe import extent
from ckptui.readers.wire import LENGTH, Value, fields, signed, varints

Array = np.ndarray[Any, Any]
Values = Array | list[bytes]
Plain = dict[str, Values]
"""Features by key: float32 or int64 [n], or strings."""

MOST_MESSAGES = 256
MOST_BYTES = 16 << 20
"""Of all messages: more are left as they are."""
KINDS = {number: dtype for dtype, number in LISTS.items()}


def features_of(message: bytes) -> Plain | None:
    """The features of a serialized Example; None for what is none, or has more than features.

    Messages: tensorflow/core/example/example.proto and feature.proto. The last of several features of one key counts,
    as in any map of protocol buffers.
    """
    found: Plain = {}
    try:
        for number, kind, body in fields(message):
            if (number, kind) != (1, LENGTH):
                return None
            for entry_number, entry_kind, entry in fields(_bytes(body)):
                if (entry_number, entry_kind) != (1, LENGTH):
                    return None
                parts = {part: value for part, _, value in fields(_bytes(entry))}
                if not set(parts) <= {1, 2}:
                    return None
                key = _bytes(parts.get(1, b"")).decode("utf-8", "surrogateescape")
                found[key] = _values(_bytes(parts.get(2, b"")))
    except (Damaged, ValueError, TypeError):
        return None
    return found


def _bytes(value: Value) -> bytes:
    if isinstance(value, int):
        raise TypeError("a number where a message belongs")
    return bytes(value)


def _values(body: bytes) -> Values:
    """The list of a Feature; an empty one has no strings."""
    made: Values = []
    for number, _, value in fields(body):
        dtype, items = KINDS.get(number, ""), list(fields(_bytes(value)))
        if dtype == "string":
            made = [_bytes(item) for part, _, item in items if part == 1]
        elif dtype == "float32":
            packed = [_packed(item) for part, _, item in items if part == 1]
            made = np.frombuffer(b"".join(packed), "<f4").astype(np.float32)
        elif dtype == "int64":
            numbers = [signed(one) for part, _, item in items if part == 1 for one in varints(item)]
            made = np.array(numbers, np.int64)
        else:
            raise ValueError("a list of another kind")
    return made


def _packed(value: Value) -> bytes:
    """Packed floats; one that stands alone is a number on the wire."""
    return value.to_bytes(4, "little") if isinstance(value, int) else bytes(value)


def message_of(plain: Plain) -> bytes:
    """The Example of these features."""
    made = {}
    for key, values in plain.items():
        dtype = "string" if isinstance(values, list) else str(values.dtype)
        made[key] = feature(dtype, values if isinstance(values, list) else values.tolist())
    return field(1, features(made))


class ExampleMaterial(Material):
    """Examples in one input. Pictures in them are flipped, numbers and pictures probed, other text stays."""

    def __init__(self, values: Array, rows: Sequence[Plain], images: Mapping[tuple[int, str], EncodedMaterial]) -> None:
        """`values` are the messages, `rows` their features, `images` the pictures in them by message and key."""
        self.path, self.words = "", ""
        self._values, self._rows, self._images = values, tuple(rows), dict(images)
        self.pictured = bool(images)
        for image in self._images.values():
            self.preview, self.preview_size = image.preview, image.preview_size
            break

    @property
    def untried(self) -> bool:
        texts = ((place, key) for place, row in enumerate(self._rows) for key, v in row.items() if isinstance(v, list))
        return any(place not in self._images and self._rows[place[0]][place[1]] for place in texts)

    def original(self) -> Feed:
        return Feed.of(self._values)

    def changed(self, name: str) -> Feed | None:
        if name not in FLIPS + PROBES or (name in FLIPS and not self.pictured):
            return None
        rows = [dict(row) for row in self._rows]
        for (place, key), image in self._images.items():
            feed = image.changed(name)
            if feed is not None:
                rows[place][key] = [feed.first.reshape(-1)[0]]
        if name in PROBES:
            self._probe(rows, name)
        made = np.empty(len(rows), dtype=object)
        # what does not change keeps the very bytes it came in
        for place, (row, old, message) in enumerate(zip(rows, self._rows, self._values.reshape(-1), strict=True)):
            made[place] = message if all(_same(row[key], old[key]) for key in old) else message_of(row)
        return Feed.of(made.reshape(self._values.shape))

    def _probe(self, rows: Sequence[Plain], name: str) -> None:
        """Other numbers for every feature, over all messages where they have as many of them."""
        for key in dict.fromkeys(key for row in rows for key in row):
            there = [(row, values) for row in rows if isinstance(values := row.get(key), np.ndarray) and values.size]
            if len({(values.shape, values.dtype) for _, values in there}) == 1:
                other = probe(np.stack([values for _, values in there]), name)
                for place, (row, _) in enumerate(there if other is not None else ()):
                    assert other is not None
                    row[key] = other[place]
            else:
                for row, values in there:
                    other = probe(values, name)
                    row[key] = values if other is None else other

    def among(self, others: Sequence[Material]) -> Feed | None:
        return None

    @property
    def mirrored(self) -> Mapping[str, bool]:
        images = self._images.values()
        return {name: all(image.mirrored[name] for image in images) for name in FLIPS} if images else {}

    def range(self) -> tuple[tuple[int, ...], float, float]:
        """Shape of the messages; smallest and largest of the pictures' pixels, else of the numbers."""
        if self._images:
            return (tuple(self._values.shape), *next(iter(self._images.values())).range()[1:])
        numbers = [extent(v) for row in self._rows for v in row.values() if isinstance(v, np.ndarray) and v.size]
        low, high = min((low for low, _ in numbers), default=0.0), max((high for _, high in numbers), default=0.0)
        return tuple(self._values.shape), low, high


def _same(one: Values, other: Values) -> bool:
    if isinstance(one, list) or isinstance(other, list):
        return one is other or one == other
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


def readable(values: Array) -> list[Plain] | None:
    """The features of each message in an array of strings; None where there are too many, or one is no Example."""
    messages = values.reshape(-1).tolist()
    if not 0 < len(messages) <= MOST_MESSAGES or sum(map(len, messages)) > MOST_BYTES or math.prod(values.shape) < 1:
        return None
    rows = [features_of(message) for message in messages]
    return [row for row in rows if row is not None] if None not in rows else None
