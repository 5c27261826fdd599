"""Answers once recorded, read from a file: of a server, of the training box, of an earlier prediction.

Forms: the document of `ckptui predict --json`; replies of TensorFlow Serving's REST interface (`predictions` by row,
`outputs` by column, tensorflow.org/tfx/serving/api_rest); lists and objects of numbers; `.npy`, `.npz`; tables of text.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptui.errors import NoSuchPath, UsageError
from ckptui.predict import given_files

Array = np.ndarray[Any, Any]

MAX_TEXT = 16 << 20
"""Bytes of a file of text: every number of it is kept with its digits."""
MAX_DEPTH = 32
FORMS = "It takes ckptui predict --json, Serving's predictions or outputs, .npy, .npz, CSV or plain numbers"
WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "infinity": math.inf, "-infinity": -math.inf}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
MAIN = ""
"""The name of values that are recorded without one."""


class Number(float):
    """A number with the text it was written as."""

    text = ""

    @classmethod
    def of(cls, text: str) -> Number:
        """It, out of its text."""
        made = cls(text)
        made.text = text
        return made


@dataclass(frozen=True, slots=True)
class Row:
    """What was recorded for one image."""

    values: Mapping[str, Array]
    """Output name, `MAIN` where none is given: values in C order, float64 out of text, else as stored."""
    path: str = ""
    label: str = ""
    """A class alone, as its name."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """All rows of a file, and how finely it writes its numbers."""

    path: str
    rows: tuple[Row, ...]
    decimals: int | None = None
    """Most digits after the point; None for binary files, and where every number has an exponent."""
    significant: int | None = None
    """Most significant digits; None for binary files."""

    def row_for(self, place: int, path: str, images: int, rows: int = 1) -> Row | None:
        """The row of an image: by its path, else its file name where that is the only such, else by its place.

        Of `rows` given together as one all of them, joined.
        """
        plain = not any(row.path or row.label for row in self.rows)
        if rows > 1 and images <= 1 and plain and len(self.rows) == rows:
            return _joined(self.rows)
        if any(row.path for row in self.rows):
            same = [row for row in self.rows if row.path == path]
            same = same or [row for row in self.rows if _base(row.path) == _base(path)]
            return same[0] if len(same) == 1 else None
        if images > 1 and len(self.rows) == 1 and not self.rows[0].label:
            return _one_of(self.rows[0], place, images)
        return self.rows[place] if place < len(self.rows) else None

    def unit(self, values: Array) -> Array:
        """Half a unit of the last recorded digit of each value; 0 for what was stored in binary.

        A writer that drops zeros at the end (`0.5`) is known by the other numbers of the file.
        """
        unit = np.zeros(values.shape)
        if self.decimals is not None:
            unit[...] = 10.0**-self.decimals
        if self.significant is not None:
            size = np.abs(values.astype(np.float64))
            known = np.isfinite(size) & (size > 0)
            exponent = np.floor(np.log10(np.where(known, size, 1.0))) - self.significant + 1
            unit = np.maximum(unit, np.where(known, 10.0 ** np.clip(exponent, -300, 300), 0.0))
        half: Array = unit / 2
        return half


def _joined(rows: Sequence[Row]) -> Row:
    names = [name for name in rows[0].values if all(name in row.values for row in rows)]
    return Row({name: np.concatenate([row.values[name].reshape(-1) for row in rows]) for name in names})


def _base(path: str) -> str:
    return os.path.basename(path.rstrip("/"))


def _one_of(row: Row, place: int, images: int) -> Row | None:
    """A single list of as many numbers as there are images holds one for each."""
    fits = all(values.size == images for values in row.values.values())
    return Row({name: values.reshape(-1)[place : place + 1] for name, values in row.values.items()}) if fits else None


def read_recorded(path: str) -> Recorded:
    """The answers in a file.

    Raises NoSuchPath, UsageError: there is no such file, it is too large, or holds no answers in a known form.
    """
    if not os.path.exists(path):
        raise NoSuchPath(path)
    kind = given_files.kind_of(path)
    if kind == "npy":
        return Recorded(path, _filled(path, _split({MAIN: given_files.read_npy(path)})))
    if kind == "npz":
        found = given_files.read_npz(path)
        named = {MAIN if len(found) == 1 else name: values for name, values in found.items()}
        return Recorded(path, _filled(path, _split(named)))
    data = given_files.read_bytes(path, MAX_TEXT)
    if b"\0" in data:
        raise UsageError(f"{path} holds no text and no array", FORMS)
    text = data.decode("utf-8-sig", "replace")
    rows = _filled(path, _of_json(text, path) if kind == "json" else _of_table(text, path))
    numbers = [n.text for n in _numbers(rows)]
    plain = [len(n.partition(".")[2]) for n in numbers if "e" not in n.lower()]
    digits = [len(re.sub(r"[eE].*|\D", "", n).lstrip("0")) for n in numbers]
    kept = tuple(Row({k: v.astype(np.float64) for k, v in row.values.items()}, row.path, row.label) for row in rows)
    return Recorded(path, kept, max(plain, default=None), max(digits, default=None))


def _filled(path: str, found: Iterator[Row]) -> tuple[Row, ...]:
    """All rows. Raises UsageError where not one holds anything."""
    rows = tuple(found)
    if not any(row.label or any(values.size for values in row.values.values()) for row in rows):
        raise UsageError(f"{path} holds no recorded answer", FORMS)
    return rows


def _numbers(rows: Sequence[Row]) -> Iterator[Number]:
    for row in rows:
        for values in row.values.values():
            yield from (item for item in values.reshape(-1).tolist() if isinstance(item, Number) and item.text)


def _split(named: Mapping[str, Array]) -> Iterator[Row]:
    """Rows of arrays whose first axis counts the images; a single axis may be one row: that is left to `_one_of`."""
    for name, values in named.items():
        if values.dtype.kind not in "biuf":
            raise UsageError(f"{name or 'the array'} holds no real numbers", FORMS)
    counts = {values.shape[0] for values in named.values() if values.ndim > 1}
    if len(counts) != 1 or any(values.ndim < 2 for values in named.values()):
        yield Row({name: values.reshape(-1) for name, values in named.items()})
        return
    for place in range(counts.pop()):
        yield Row({name: values[place].reshape(-1) for name, values in named.items()})


def _of_json(text: str, path: str) -> Iterator[Row]:
    try:
        made = json.loads(text, parse_float=Number.of, parse_int=Number.of)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON: {str(error)[:200]}", FORMS) from None
    if isinstance(made, dict) and str(made.get("schema", "")).startswith("ckptui/predict/"):
        yield from _of_own(made)
    elif isinstance(made, dict) and "predictions" in made:
        yield from _of_rows(made["predictions"])
    elif isinstance(made, dict) and "outputs" in made:
        columns = made["outputs"] if isinstance(made["outputs"], dict) else {MAIN: made["outputs"]}
        yield from _split_objects({str(name): _array(values) for name, values in columns.items()})
    elif isinstance(made, dict):
        for key, values in made.items():
            yield from (Row(row.values, str(key), row.label) for row in _of_rows([values]))
    else:
        yield from _of_rows(made if isinstance(made, list) else [made])


def _split_objects(named: Mapping[str, Array]) -> Iterator[Row]:
    """As `_split`; a column of single numbers has one for each image."""
    counts = {values.shape[0] if values.ndim else 1 for values in named.values()}
    if len(counts) != 1:
        raise UsageError("the recorded outputs have different numbers of rows", FORMS)
    for place in range(counts.pop()):
        yield Row(
            {n: (values[place : place + 1] if values.ndim else values).reshape(-1) for n, values in named.items()}
        )


def _of_own(document: Mapping[str, Any]) -> Iterator[Row]:
    """The original run of every image of a predict document."""
    images = document.get("images")
    for image in images if isinstance(images, list) else []:
        runs = image.get("runs") if isinstance(image, dict) else None
        for run in runs if isinstance(runs, list) else []:
            if isinstance(run, dict) and run.get("name") == "original" and run.get("output"):
                yield Row({MAIN: _array(run["output"])}, str(image.get("path", "")))


def _of_rows(rows: Any) -> Iterator[Row]:
    """A list of answers: each a number, a list, an object of outputs, or the name of a class."""
    if not isinstance(rows, list):
        raise UsageError("the recorded answers are no list", FORMS)
    if rows and all(isinstance(row, Number) for row in rows):
        yield Row({MAIN: _array(rows)})
        return
    for row in rows:
        if isinstance(row, dict):
            yield Row({str(name): _array(values).reshape(-1) for name, values in row.items()})
        elif isinstance(row, str) and row.lower() not in WORDS:
            yield Row({}, "", row)
        else:
            yield Row({MAIN: _array(row).reshape(-1)})


def _array(made: Any) -> Array:
    """Nested lists of numbers as an array of `Number`; raises UsageError where they are uneven or hold others."""
    shape: list[int] = []
    level = [made]
    while level and isinstance(level[0], list):
        sizes = {len(item) if isinstance(item, list) else -1 for item in level}
        if len(sizes) != 1 or -1 in sizes or len(shape) == MAX_DEPTH:
            raise UsageError("the lists of recorded numbers are uneven or nested too deeply", FORMS)
        shape.append(sizes.pop())
        level = [inner for item in level for inner in item]
    if any(isinstance(item, list) for item in level):
        raise UsageError("the lists of recorded numbers are uneven or nested too deeply", FORMS)
    flat = np.empty(len(level), dtype=object)
    for place, item in enumerate(level):
        flat[place] = _number(item)
    return flat.reshape(shape)


def _number(item: Any) -> float:
    if isinstance(item, (Number, bool)):
        return item if isinstance(item, Number) else float(item)
    if isinstance(item, float):
        return item
    if isinstance(item, str) and item.lower() in WORDS:
        return WORDS[item.lower()]
    raise UsageError(f"a recorded answer holds {str(item)[:40]!r}, which is no number", FORMS)


def _of_table(text: str, path: str) -> Iterator[Row]:
    """CSV, TSV or plain numbers: a line an image, a header and a first column of paths where there are."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    mark = next((mark for mark in (",", ";", "\t") if lines and all(mark in line for line in lines)), None)
    table = [[cell.strip().strip('"') for cell in line.split(mark)] for line in lines]
    if len(table) > 1 and not any(map(_is_number, table[0])) and any(map(_is_number, table[1])):
        table = table[1:]
    if mark is None and table and all(len(row) == 1 and _is_number(row[0]) for row in table):
        yield Row({MAIN: _array([_read(row[0]) for row in table])})
        return
    for cells in table:
        named = len(cells) > 1 and not _is_number(cells[0])
        rest = cells[1:] if named else cells
        if len(rest) == 1 and not _is_number(rest[0]):
            yield Row({}, cells[0] if named else "", rest[0])
            continue
        odd = next((cell for cell in rest if not _is_number(cell)), None)
        if odd is not None:
            raise UsageError(f"{path} holds {odd[:40]!r}, which is no number", FORMS)
        yield Row({MAIN: _array([_read(cell) for cell in rest])}, cells[0] if named else "")


def _is_number(cell: str) -> bool:
    return NUMBER.fullmatch(cell) is not None or cell.lower() in WORDS


def _read(cell: str) -> float:
    return WORDS[cell.lower()] if cell.lower() in WORDS else Number.of(cell)
