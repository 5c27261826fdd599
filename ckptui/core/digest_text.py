"""A digest's JSON read back. It comes from strangers: its size, depth and the type of every field are checked."""

from __future__ import annotations

import json
import math
import typing
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from ckptui.core.digest import MOST_SAMPLES, SCHEMA, Digest, TensorDigest
from ckptui.core.model import (
    ArchitectureRow,
    Artifact,
    Certainty,
    Finding,
    Kind,
    Operation,
    Role,
    Segment,
    Severity,
    Status,
    Storage,
    Tensor,
)
from ckptui.errors import UsageError

MAX_BYTES = 256 << 20
MAX_PARTS = 12_000_000
"""Values in a document, counted by its commas and brackets: what Python makes of them stays within a gigabyte."""
MAX_AXES = 64
_LARGEST = 1 << 63
_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_AGAIN = "Make it again with `ckptui digest`."

T = TypeVar("T")


class _Refused(Exception):
    """A field that is not what it has to be; its own words say which."""


def read_digest(content: str | bytes, name: str = "the digest") -> Digest:
    """The digest in a JSON document; `name` is what messages call it.

    Raises:
        UsageError: cut off, no JSON, another document, made by a newer ckptui, or a field that is none.
    """
    doc = _parsed(content, name)
    schema = doc.get("schema") if isinstance(doc, dict) else None
    if schema != SCHEMA:
        _other(schema, name)
    try:
        made = Digest(
            artifact=_field(doc, "artifact", lambda value: _artifact(_mapping(value))),
            tensors=tuple(_each(doc, "tensors", _tensor_digest)),
            architecture=tuple(_each(doc, "architecture", _architecture_row)),
            findings=tuple(_each(doc, "findings", _finding)),
            operations=tuple(_each(doc, "operations", _operation)),
        )
        counts = Counter(one.tensor.name for one in made.tensors)
        if len(counts) < len(made.tensors):
            raise _Refused(f"tensors: {counts.most_common(1)[0][0][:80]!r} is there twice")
        return made
    except _Refused as refused:
        raise UsageError(f"{name}: {refused}", _AGAIN, title="The digest is damaged") from None


def _parsed(content: str | bytes, name: str) -> Any:
    if len(content) > MAX_BYTES:
        raise UsageError(f"{name}: {len(content)} bytes, more than a digest may have", _AGAIN)
    try:
        if isinstance(content, bytes):
            content = content.decode(json.detect_encoding(content), "surrogatepass").removeprefix("\ufeff")
        if sum(content.count(sign) for sign in ",[{") > MAX_PARTS:
            raise UsageError(f"{name}: more values than a digest may have", _AGAIN)
        return json.loads(content, parse_int=_integer, object_pairs_hook=_object)
    except _Refused as refused:
        raise UsageError(f"{name}: {refused}", _AGAIN, title="The digest is damaged") from None
    except RecursionError:
        raise UsageError(f"{name}: nested too deep to be one", _AGAIN, title="The digest is damaged") from None
    except (ValueError, MemoryError) as error:
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        cut = isinstance(error, json.JSONDecodeError) and _ends_early(error)
        what = f"it breaks off{where}, as if it had not been copied whole" if cut else f"it is no JSON{where}"
        raise UsageError(f"{name}: {what}", _AGAIN, title="The digest is damaged") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Readers differ in which of two values they take for one key: such a document says nothing for sure."""
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise _Refused(f"{twice[:40]!r} is there twice")
    return made


def _integer(digits: str) -> int:
    """Numbers no field can hold are refused before they are worked out: that takes ever longer."""
    if len(digits) > 40:
        raise ValueError("a number too long")
    return int(digits)


def _ends_early(error: json.JSONDecodeError) -> bool:
    """Whether the text ends where more was to come: cut off, not garbled."""
    return "Unterminated" in error.msg or not error.doc[error.pos :].strip() or len(error.doc) - error.pos < 6


def _other(schema: Any, name: str) -> NoReturn:
    if isinstance(schema, str) and schema.startswith("ckptui/digest/"):
        raise UsageError(
            f"{name}: its form is {schema[:40]}, this ckptui reads {SCHEMA}",
            "Update ckptui, or make the digest with this version.",
            title="The digest was made by a newer ckptui",
        )
    if isinstance(schema, str) and schema.startswith("ckptui/"):
        raise UsageError(f"{name}: a {schema[:40]} document, no digest", "Make one with `ckptui digest`.")
    raise UsageError(f"{name}: JSON, but no digest", "Make one with `ckptui digest`.")


# ---------------------------------------------------------------------- fields


def _field(doc: Mapping[str, Any], name: str, kind: Callable[[Any], T]) -> T:
    if name not in doc:
        raise _Refused(f"{name} is missing")
    try:
        return kind(doc[name])
    except _Refused as refused:
        raise _Refused(f"{name}: {refused}") from None


def _each(doc: Mapping[str, Any], name: str, kind: Callable[[Mapping[str, Any]], T]) -> list[T]:
    out = []
    for place, item in enumerate(_field(doc, name, _list)):
        try:
            out.append(kind(_mapping(item)))
        except _Refused as refused:
            raise _Refused(f"{name}[{place}]: {refused}") from None
    return out


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else _refuse("an object", value)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else _refuse("a list", value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _refuse("a string", value)


def _whole(value: Any) -> int:
    """A number of things or bytes."""
    return value if type(value) is int and 0 <= value < _LARGEST else _refuse("a whole number from 0 on", value)


def _signed(value: Any) -> int:
    return value if type(value) is int and abs(value) <= 2 * _LARGEST else _refuse("an integer", value)


def _crc(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 1 << 32 else _refuse("a checksum of 32 bits", value)


def _number(value: Any) -> float | int:
    if isinstance(value, str) and value in _WORDS:
        return _WORDS[value]
    if type(value) is int:
        return _signed(value)
    return value if type(value) is float else _refuse("a number", value)


def _float(value: Any) -> float:
    return float(_number(value))


def _boolean(value: Any) -> bool:
    return value if isinstance(value, bool) else _refuse("true or false", value)


def _shape(value: Any) -> tuple[int, ...]:
    if len(_list(value)) > MAX_AXES:
        raise _Refused(f"{len(value)} axes")
    return tuple(_whole(extent) for extent in value)


def _open_shape(value: Any) -> tuple[int | None, ...]:
    if len(_list(value)) > MAX_AXES:
        raise _Refused(f"{len(value)} axes")
    return tuple(None if extent is None else _whole(extent) for extent in value)


def _names(value: Any) -> tuple[str, ...]:
    return tuple(_text(name) for name in _list(value))


def _hash(value: Any) -> str:
    name, _, digits = _text(value).partition(":")
    if name != "sha256" or len(digits) != 64 or set(digits) - set("0123456789abcdef"):
        _refuse("a SHA-256", value)
    return digits


def _or_none(kind: Callable[[Any], T]) -> Callable[[Any], T | None]:
    return lambda value: None if value is None else kind(value)


def _word(kinds: Any) -> Callable[[Any], Any]:
    known = frozenset(typing.get_args(kinds))
    return lambda value: value if isinstance(value, str) and value in known else _refuse("a word known here", value)


def _refuse(wanted: str, found: Any) -> NoReturn:
    shown = repr(found) if isinstance(found, (str, int, float, bool, type(None))) else type(found).__name__
    raise _Refused(f"{shown[:40]} in place of {wanted}")


# ---------------------------------------------------------------------- what they make up


def _artifact(doc: Mapping[str, Any]) -> Artifact:
    return Artifact(
        path=_field(doc, "path", _text),
        kind=_field(doc, "kind", _word(Kind)),
        label=_field(doc, "label", _text),
        step=_field(doc, "step", _or_none(_signed)),
        bytes=_field(doc, "bytes", _whole),
        shards=_field(doc, "shards", _whole),
        tensors=_field(doc, "tensors", _whole),
        parameters=_field(doc, "parameters", _whole),
        modified=_field(doc, "modified", _float),
        writer=_field(doc, "writer", _mapping),
        status=_field(doc, "status", _word(Status)),
    )


def _tensor_digest(doc: Mapping[str, Any]) -> TensorDigest:
    location = _field(doc, "location", _mapping)
    file = _field(location, "file", _or_none(_text))
    segment = None
    if file is not None:
        segment = Segment(file, _field(location, "offset", _whole), _field(location, "bytes", _whole))
    problem = _field(doc, "problem", _text)
    tensor = Tensor(
        name=_field(doc, "name", _text),
        dtype=_field(doc, "dtype", _text),
        shape=_field(doc, "shape", _shape),
        bytes=_field(doc, "bytes", _whole),
        layer=_field(doc, "layer", _text),
        role=_field(doc, "role", _word(Role)),
        object_path=_field(doc, "object_path", _text),
        storage=Storage("none", segment, _field(location, "crc32c", _or_none(_crc))),
        problem=problem,
        layer_class=_field(doc, "layer_class", _text),
    )
    samples = tuple(_number(value) for value in _field(doc, "samples", _list))
    most = min(tensor.count, MOST_SAMPLES)
    if len(samples) > most or (0 < len(samples) < tensor.count and len(samples) & (len(samples) - 1)):
        raise _Refused(f"{len(samples)} samples of {tensor.count} values")
    return TensorDigest(
        tensor=tensor,
        hash=_field(doc, "hash", _or_none(_hash)),
        crc32c=_field(doc, "crc32c", _or_none(_crc)),
        l2=_field(doc, "l2", _or_none(_float)),
        nonfinite=_field(doc, "nonfinite", _or_none(_whole)),
        samples=samples,
        problem=problem,
    )


def _architecture_row(doc: Mapping[str, Any]) -> ArchitectureRow:
    return ArchitectureRow(
        name=_field(doc, "layer", _text),
        class_name=_field(doc, "class", _text),
        depth=_field(doc, "depth", _whole),
        output_shape=_field(doc, "output_shape", _or_none(_open_shape)),
        parameters=_field(doc, "parameters", _whole),
        weights=_field(doc, "weights", _names),
        config=_field(doc, "config", _mapping),
        trainable=_field(doc, "trainable", _or_none(_boolean)),
        inbound=tuple(_names(call) for call in _field(doc, "inbound", _list)),
    )


def _operation(doc: Mapping[str, Any]) -> Operation:
    return Operation(_field(doc, "name", _text), _field(doc, "op", _text), _field(doc, "attributes", _mapping))


def _finding(doc: Mapping[str, Any]) -> Finding:
    return Finding(
        code=_field(doc, "code", _text),
        severity=_field(doc, "severity", _word(Severity)),
        title=_field(doc, "title", _text),
        artifact=_field(doc, "artifact", _text),
        tensor=_field(doc, "tensor", _or_none(_text)),
        certainty=_field(doc, "certainty", _word(Certainty)),
        detail=_field(doc, "detail", _text),
        evidence=_field(doc, "evidence", _mapping),
        advice=_field(doc, "advice", _text),
    )
