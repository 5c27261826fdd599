"""The files a user names for a model's inputs, as the arrays it takes. Runs in the image child."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ckptui.errors import UsageError
from ckptui.predict.fitting import fitted, listed
from ckptui.predict.given_files import MAX_JSON, kind_of, read_bytes, read_npy, read_npz
from ckptui.predict.serving_json import Target, array_of, arrays_of, from_columns, parse, rows, text_array

Array = np.ndarray[Any, Any]


@dataclass(slots=True)
class Given:
    """What the files came to."""

    arrays: dict[str, Array] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    images: list[tuple[str, str]] = field(default_factory=list)
    """(input, path) of the files that are left to be decoded as images."""

    def add(self, name: str, values: Array, target: Target, what: str, *, typed: bool = True) -> None:
        """Keep an array for an input; raises UsageError where it does not fit, or the input has one already."""
        entry = target.entry(name)
        if entry is None:
            raise UsageError(f"{what}: no input is called {name}", f"The model's inputs: {listed(target.inputs)}")
        if name in self.arrays:
            raise UsageError(f"the input {name} is given twice")
        self.arrays[name], notes = fitted(values, entry, what)
        # The numbers of JSON have no dtype that could be told to change.
        self.notes += [note for note in notes if typed or " made " not in note]


def given(files: Sequence[tuple[str | None, str]], target: Target, encoded: Collection[str]) -> Given:
    """Every file as what it is, for the input it is named for, or the only one; `encoded` inputs take images as bytes.

    Raises UsageError for what is damaged, hostile or does not fit, with what is there and what the model takes.
    """
    found = Given()
    for name, path in files:
        kind = kind_of(path)
        if name is not None and target.entry(name) is None:
            raise UsageError(f"no input is called {name}", f"The model's inputs: {listed(target.inputs)}")
        if kind == "json":
            for key, values in _json(name, path, target, found.notes).items():
                found.add(key, values, target, path, typed=False)
        elif kind == "npz":
            for key, values in _npz(name, path, target).items():
                found.add(key, values, target, path)
        else:
            entry = target.only(path) if name is None else target.entry(name)
            assert entry is not None
            key = str(entry["name"])
            if kind == "npy":
                found.add(key, read_npy(path), target, path)
            elif entry.get("dtype") == "string" and key not in encoded:
                found.add(key, text_array([read_bytes(path)], path), target, path)
                found.notes.append(f"{key}: the bytes of {path} as one string")
            else:
                found.images.append((key, path))
    return found


def _json(name: str | None, path: str, target: Target, notes: list[str]) -> dict[str, Array]:
    """A request for the whole model; of a file named for one input, a request for that or the plain value."""
    document = parse(read_bytes(path, MAX_JSON), path)
    if name is None:
        arrays, said = arrays_of(document, target, path)
        notes += said
        return arrays
    entry = target.entry(name)
    assert entry is not None
    alone = Target((entry,), target.parsing, target.signature)
    if isinstance(document, dict) and {"instances", "inputs", "examples"} & set(document):
        return arrays_of(document, alone, path)[0]
    several = document if isinstance(document, list) else [document]
    if target.parsing.get(name) and all(isinstance(row, dict) for row in several) and several:
        return rows(several, alone, path)
    return {name: array_of(document, entry, path)}


def _npz(name: str | None, path: str, target: Target) -> dict[str, Array]:
    """Members by the inputs' names, the only member for the only input, or fields of Examples."""
    members = read_npz(path)
    names = [str(entry["name"]) for entry in target.inputs] if name is None else [name]
    if set(members) <= set(names) and members:
        return dict(members)
    if name is not None and name in members:
        return {name: members[name]}
    if len(names) == 1:
        specs: Sequence[Mapping[str, Any]] = target.parsing.get(names[0]) or ()
        if specs and set(members) & {str(spec["key"]) for spec in specs}:
            fields = {key: values.tolist() for key, values in members.items()}
            messages = from_columns(fields, specs, path)
            made = np.empty(len(messages), dtype=object)
            made[:] = messages
            return {names[0]: made}
        if len(members) == 1:
            return {names[0]: next(iter(members.values()))}
    listing = ", ".join(list(members)[:20]) or "nothing"
    raise UsageError(f"{path} holds {listing}", f"The model's inputs: {listed(target.inputs)}")
