"""TensorFlow Serving's REST requests: rows (`instances`), columns (`inputs`) and `examples`, as named arrays.

Format: tensorflow.org/tfx/serving/api_rest. A string given as `{"b64": "..."}` is bytes in base64.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptui.core.text import counted
from ckptui.errors import UsageError
from ckptui.predict.examples import MAX_DEPTH, example
from ckptui.predict.fitting import described, listed

Array = np.ndarray[Any, Any]
Inputs = Sequence[Mapping[str, Any]]

TITLE = "No such request"
FORMS = 'It takes {"instances": [...]} or {"inputs": ...}, as TensorFlow Serving does'


@dataclass(frozen=True, slots=True)
class Target:
    """What a model takes, from the worker's facts."""

    inputs: Inputs
    parsing: Mapping[str, Sequence[Mapping[str, Any]]]
    """Input name: the fields its graph parses out of a serialized Example."""
    signature: str | None = None

    def entry(self, name: str) -> Mapping[str, Any] | None:
        """The input of that name."""
        return next((entry for entry in self.inputs if entry["name"] == name), None)

    def only(self, what: str) -> Mapping[str, Any]:
        """The only input; raises UsageError where there are several."""
        if len(self.inputs) != 1:
            raise UsageError(
                f"{what} names no input, the model has {len(self.inputs)}: {listed(self.inputs)}",
                "Name a file for each: --input NAME=FILE",
            )
        return self.inputs[0]


def parse(data: bytes, what: str) -> Any:
    """The JSON in `data`; NaN and Infinity are numbers, as TensorFlow Serving takes them. Raises UsageError."""
    try:
        return json.loads(data.decode("utf-8-sig"))
    except RecursionError:
        raise UsageError(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise UsageError(f"{what} is no JSON: {str(error)[:200]}") from None


def signature_name(document: Any) -> str | None:
    """The signature a request names."""
    name = document.get("signature_name") if isinstance(document, dict) else None
    return name if isinstance(name, str) and name else None


def arrays_of(document: Any, target: Target, what: str) -> tuple[dict[str, Array], list[str]]:
    """The arrays of a request by input, and words for what it was; raises UsageError for what does not fit."""
    if not isinstance(document, dict):
        raise UsageError(f"{what} is no request", FORMS, title=TITLE)
    wanted = signature_name(document)
    if wanted is not None and target.signature and wanted != target.signature:
        raise UsageError(f"{what} is for the signature {wanted}, loaded is {target.signature}", f"--signature {wanted}")
    there = [key for key in ("instances", "inputs", "examples") if key in document]
    if len(there) != 1:
        told = " and ".join(there) or ", ".join(list(document)[:5]) or "nothing"
        raise UsageError(f"{what} has {told}", FORMS, title=TITLE)
    if there[0] == "inputs":
        return columns(document["inputs"], target, what), ["Serving JSON, inputs"]
    given = document[there[0]]
    if not isinstance(given, list) or not given:
        raise UsageError(f"{there[0]} of {what} is no list with something in it", FORMS, title=TITLE)
    if there[0] == "examples":
        context = document.get("context") or {}
        if not isinstance(context, dict) or not all(isinstance(row, dict) for row in given):
            raise UsageError(f"examples of {what} are no objects", title=TITLE)
        given = [{**context, **row} for row in given]
    return rows(given, target, what), [f"Serving JSON, {counted(len(given), there[0].removesuffix('s'))}"]


def rows(found: Sequence[Any], target: Target, what: str) -> dict[str, Array]:
    """Row format: each row a value of the only input, an object of all inputs, or the fields of an Example."""
    names = [str(entry["name"]) for entry in target.inputs]
    objects = [isinstance(row, dict) and not is_b64(row) for row in found]
    if not any(objects):
        entry = target.only(f"an instance of {what}")
        return {str(entry["name"]): _stacked(list(found), entry, what)}
    if not all(objects):
        raise UsageError(f"instance {objects.index(False)} of {what} is no object, others are")
    specs = target.parsing.get(names[0]) if len(names) == 1 else None
    if specs and not all(list(row) == names for row in found):
        made = [example(decoded(row), specs, f"instance {place} of {what}") for place, row in enumerate(found)]
        return {names[0]: _batch(made, target.inputs[0])}
    # An input that no row names is left to the model: it may have a default.
    used = [name for name in names if any(name in row for row in found)]
    for place, row in enumerate(found):
        lacking, extra = [n for n in used if n not in row], [key for key in row if key not in names]
        if lacking or extra or not row:
            said = [f"lacks {', '.join(lacking)}"] * bool(lacking) + [f"has {', '.join(extra[:5])}"] * bool(extra)
            hint = f"The model's inputs: {listed(target.inputs)}"
            raise UsageError(f"instance {place} of {what} {' and '.join(said) or 'is empty'}", hint)
    inputs = [(name, entry) for name, entry in zip(names, target.inputs, strict=True) if name in used]
    return {name: _stacked([row[name] for row in found], entry, what) for name, entry in inputs}


def _stacked(values: list[Any], entry: Mapping[str, Any], what: str) -> Array:
    """Rows on top of each other; the single row itself for an input without a batch axis."""
    if entry.get("shape") == [] and len(values) == 1:
        return array_of(values[0], entry, what)
    return array_of(values, entry, what)


def columns(found: Any, target: Target, what: str) -> dict[str, Array]:
    """Column format: the whole value of the only input, or an object of inputs (of fields of Examples)."""
    if not isinstance(found, dict) or is_b64(found):
        only = target.only(f"inputs of {what}")
        return {str(only["name"]): array_of(found, only, what)}
    names = [str(entry["name"]) for entry in target.inputs]
    specs = target.parsing.get(names[0]) if len(names) == 1 else None
    if specs and not set(found) & set(names):
        return {names[0]: _batch(from_columns(found, specs, what), target.inputs[0])}
    made = {}
    for name, value in found.items():
        entry = target.entry(name)
        if entry is None:
            raise UsageError(f"{what}: no input is called {name}", f"The model's inputs: {listed(target.inputs)}")
        made[name] = array_of(value, entry, what)
    return made


def from_columns(found: Mapping[str, Any], specs: Sequence[Mapping[str, Any]], what: str) -> list[bytes]:
    """Serialized Examples from fields that each hold one entry a row."""
    lengths = {key: len(value) if isinstance(value, list) else -1 for key, value in found.items()}
    if len(set(lengths.values())) != 1 or -1 in lengths.values():
        told = ", ".join(f"{key} {length if length >= 0 else 'no list'}" for key, length in list(lengths.items())[:10])
        raise UsageError(f"the fields of {what} have no common number of rows: {told}")
    count = next(iter(lengths.values()))
    made = [decoded({key: value[place] for key, value in found.items()}) for place in range(count)]
    return [example(row, specs, f"row {place} of {what}") for place, row in enumerate(made)]


def _batch(messages: Sequence[bytes], entry: Mapping[str, Any]) -> Array:
    """Serialized messages as the input takes them: in a row, or the one alone."""
    array = np.empty(len(messages), dtype=object)
    array[:] = messages
    return array.reshape(()) if entry.get("shape") == [] and len(messages) == 1 else array


def array_of(value: Any, entry: Mapping[str, Any], what: str) -> Array:
    """A JSON value as an array: bytes objects for a string input, numbers for any other. Raises UsageError."""
    name = str(entry["name"])
    if entry.get("dtype") == "string":
        return text_array(value, f"{what}, for {name},")
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError, RecursionError):
        raise UsageError(f"{what}: {name} has rows of different lengths, the model takes {described(entry)}") from None
    if array.dtype.kind in "US":
        raise UsageError(f"{what}: {name} holds text, the model takes {described(entry)}")
    if array.dtype.kind not in "biuf":
        raise UsageError(f"{what}: {name} holds what is no number (null, an object, or too large)")
    return array


def text_array(value: Any, what: str) -> Array:
    """Nested lists of strings and `{"b64": ...}` as an array of bytes objects."""
    shape: list[int] = []
    level = [value]
    while isinstance(level[0] if level else None, list):
        lengths = {len(row) if isinstance(row, list) else -1 for row in level}
        if len(lengths) != 1:
            raise UsageError(f"{what} has rows of different lengths")
        if len(shape) == MAX_DEPTH:
            raise UsageError(f"{what} is nested more than {MAX_DEPTH} levels deep")
        shape.append(lengths.pop())
        level = [item for row in level for item in row]
    flat = np.empty(len(level), dtype=object)
    for place, item in enumerate(level):
        plain = decoded(item)
        if not isinstance(plain, (str, bytes)):
            raise UsageError(f"{what} holds {json.dumps(item)[:40]}, the model takes strings")
        flat[place] = plain.encode("utf-8", "surrogatepass") if isinstance(plain, str) else plain
    return flat.reshape(shape)


def is_b64(value: Any) -> bool:
    """Whether it stands for bytes."""
    return isinstance(value, dict) and list(value) == ["b64"]


def decoded(value: Any, depth: int = 0) -> Any:
    """The value with every `{"b64": ...}` in it as bytes; raises UsageError for what is no base64."""
    if is_b64(value):
        given = value["b64"]
        try:
            return base64.b64decode(given if isinstance(given, str) else b"?", validate=True)
        except (binascii.Error, ValueError):
            raise UsageError('a "b64" is no base64') from None
    if depth > MAX_DEPTH:
        raise UsageError(f"a value is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, list):
        return [decoded(item, depth + 1) for item in value]
    if isinstance(value, dict) and depth == 0:
        return {key: decoded(item, depth + 1) for key, item in value.items()}
    return value
