"""Serialized tf.train.Example messages from plain fields, checked against the spec the graph itself parses by.

Messages: tensorflow/core/example/example.proto and feature.proto. Features { map<string, Feature> feature = 1 },
Feature { oneof: BytesList = 1, FloatList = 2, Int64List = 3 }, each a list in field 1, numbers packed.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from ckptui.core.text import counted, shape_text
from ckptui.errors import UsageError
from ckptui.readers.wire import encode_uvarint

KINDS = ("dense", "sparse", "ragged")
LISTS = {"string": 1, "float32": 2, "int64": 3}
"""Field of Feature by the dtype of the spec."""
MAX_DEPTH = 16
TOLD = 20


def field(number: int, body: bytes) -> bytes:
    """A length-delimited field: a message, bytes, or packed numbers."""
    return encode_uvarint(number << 3 | 2) + encode_uvarint(len(body)) + body


def feature(dtype: str, values: Sequence[Any]) -> bytes:
    """A Feature of `string` (bytes), `float32` or `int64` values."""
    if dtype == "string":
        body = b"".join(field(1, item) for item in values)
    elif dtype == "float32":
        body = field(1, struct.pack(f"<{len(values)}f", *values))
    else:
        body = field(1, b"".join(encode_uvarint(int(value) & (1 << 64) - 1) for value in values))
    return field(LISTS[dtype], body)


def features(made: Mapping[str, bytes]) -> bytes:
    """A map of names and messages as repeated entries: Features, and FeatureLists alike."""
    entries = (field(1, name.encode("utf-8", "surrogatepass")) + field(2, body) for name, body in made.items())
    return b"".join(field(1, entry) for entry in entries)


def told(spec: Mapping[str, Any]) -> str:
    """`age int64 [1]`: a field as the graph wants it."""
    shape = spec.get("shape")
    size = f" {shape_text(shape) or 'one value'}" if shape is not None else ""
    return f"{spec['key']} {spec['dtype']}{size}" + ("" if spec.get("required") else ", may be left out")


def example(fields: Mapping[str, Any], specs: Sequence[Mapping[str, Any]], what: str) -> bytes:
    """A serialized Example (a SequenceExample where the spec has sequences) of `fields`.

    `specs` are `{"key", "dtype", "shape", "kind", "required"}`; one with `sequence` is a list of steps. `what` names
    the instance in errors. Raises UsageError that names every wrong, missing and extra field with what is wanted.
    """
    supported(specs)
    known = {str(spec["key"]): spec for spec in specs}
    wrong: list[str] = [f"{key} is no field the graph parses" for key in fields if key not in known][:TOLD]
    made: dict[str, bytes] = {}
    steps: dict[str, bytes] = {}
    for key, spec in known.items():
        if fields.get(key) is None:
            if spec.get("required"):
                wrong.append(f"{told(spec)} is missing")
            continue
        try:
            if spec.get("sequence"):
                steps[key] = _sequence(fields[key], spec)
            else:
                made[key] = _feature(fields[key], spec)
        except ValueError as error:
            wrong.append(f"{key} {error}; the graph wants {told(spec)}")
    if wrong:
        more = f" and {len(wrong) - TOLD} more" if len(wrong) > TOLD else ""
        hint = "The graph parses: " + "; ".join(told(spec) for spec in specs[:TOLD])
        hint += f"; and {len(specs) - TOLD} more" if len(specs) > TOLD else ""
        raise UsageError(f"{what}: {'; '.join(wrong[:TOLD])}{more}", hint, title="The fields do not fit")
    message = field(1, features(made)) if made or not any(spec.get("sequence") for spec in specs) else b""
    return message + (field(2, features(steps)) if steps else b"")


def supported(specs: Sequence[Mapping[str, Any]]) -> None:
    """Raises UsageError for a spec of a kind or dtype that can't be written."""
    for spec in specs:
        if spec.get("kind") not in KINDS or spec.get("dtype") not in LISTS:
            raise UsageError(
                f"the graph parses {spec.get('key')} as {spec.get('kind')} {spec.get('dtype')}: not supported",
                "Give the serialized message itself: --input NAME=FILE with its bytes",
            )


def _feature(value: Any, spec: Mapping[str, Any]) -> bytes:
    """One field; ValueError says what is wrong with it."""
    dtype = str(spec["dtype"])
    values = [_item(item, dtype) for item in flat(value)]
    shape = spec.get("shape")
    if spec.get("kind") == "dense" and shape is not None:
        each = math.prod(extent for extent in shape if extent is not None)
        if None in shape:
            if each and len(values) % each:
                raise ValueError(f"has {counted(len(values), 'value')}, no multiple of {each}")
        elif len(values) != each:
            raise ValueError(f"has {counted(len(values), 'value')}, not {each}")
    return feature(dtype, values)


def _sequence(value: Any, spec: Mapping[str, Any]) -> bytes:
    """A FeatureList: one Feature a step."""
    if not isinstance(value, (list, tuple)):
        raise ValueError("is no list of steps")
    shape = spec.get("shape")
    single = {**spec, "shape": None if shape is None or None in shape else shape}
    return b"".join(field(1, _feature(step, single)) for step in value)


def flat(value: Any) -> list[Any]:
    """The items of nested lists in order; ValueError beyond MAX_DEPTH levels."""
    rows = [value]
    for _ in range(MAX_DEPTH):
        if not any(isinstance(row, (list, tuple)) for row in rows):
            return rows
        rows = [item for row in rows for item in (row if isinstance(row, (list, tuple)) else [row])]
    raise ValueError(f"is nested more than {MAX_DEPTH} levels deep")


def _item(item: Any, dtype: str) -> Any:
    """One value as the message takes it; ValueError for another type, or beyond its range."""
    if dtype == "string":
        if isinstance(item, str):
            return item.encode("utf-8", "surrogatepass")
        if isinstance(item, bytes):
            return item
        raise ValueError(f"holds {_shown(item)}")
    if isinstance(item, (str, bytes)) or not isinstance(item, (int, float)):
        raise ValueError(f"holds {_shown(item)}")
    if dtype == "float32":
        try:
            struct.pack("<f", item)
        except (OverflowError, struct.error):
            raise ValueError(f"holds {_shown(item)}") from None
        return item
    if isinstance(item, float) and not (math.isfinite(item) and item == int(item)):
        raise ValueError(f"holds {item}")
    if not -(1 << 63) <= item < 1 << 63:
        raise ValueError(f"holds {_shown(item)}")
    return int(item)


def _shown(item: Any) -> str:
    """A value in few characters."""
    if isinstance(item, (str, bytes)):
        return "text " + repr(item[:30])
    if item is None:
        return "null"
    text = repr(item) if not isinstance(item, int) or item.bit_length() < 100 else "a number too large"
    return text if len(text) <= 40 else text[:40] + "…"
