"""What goes into a call and what comes out: named arrays, compared as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ckptui.core.model import Output
from ckptui.core.text import safe

Array = np.ndarray[Any, Any]

MAX_OUTPUT = 1 << 20
"""Values of an output that are kept for display and JSON; comparisons use all."""
MAX_TEXTS = 1000
MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class Feed:
    """What one call of a model takes."""

    parts: tuple[tuple[str | None, Array], ...]
    """(input, values) of each; None: the model's only input, or its first. Strings are arrays of bytes objects."""

    @classmethod
    def of(cls, batch: Array, name: str | None = None) -> Feed:
        """A single batch."""
        return cls(((name, batch),))

    @property
    def first(self) -> Array:
        """The values of the first part."""
        return self.parts[0][1]

    @property
    def rows(self) -> int:
        """Extent of the batch axis; 0 where there is none."""
        shape = self.first.shape
        return int(shape[0]) if shape else 0


@dataclass(frozen=True, slots=True)
class Answer:
    """The outputs of one call, in the model's order; the one called `chosen` is shown, all are compared."""

    named: tuple[tuple[str, Array], ...]
    chosen: int = 0
    alone: bool = False
    """The one on show was asked for by its name: it alone is compared."""
    rows: int = 1
    """Rows of the call where the output on show has as many: each is an answer of its own, the first is shown."""

    @classmethod
    def of(cls, named: Sequence[tuple[str, Array]], wanted: str | None = None) -> Answer:
        """Shown is the wanted output, else the first of floating numbers, of numbers, of all."""
        kinds = [(place, values.dtype.kind) for place, (_, values) in enumerate(named)]
        floating = [place for place, kind in kinds if kind not in "OSUiub"]
        numeric = [place for place, kind in kinds if kind not in "OSU"]
        asked = [place for place, (name, _) in enumerate(named) if wanted == name]
        return cls(tuple(named), (asked or floating or numeric or [0])[0], bool(asked))

    @property
    def main(self) -> Array:
        """The output on show; no values where it is text."""
        values = self.named[self.chosen][1]
        return values if values.dtype.kind not in "OSU" else np.zeros(0, np.float32)

    @property
    def shown(self) -> Array:
        """The output on show, of several rows the first."""
        return self.main[:1] if self.rows > 1 else self.main

    def in_rows(self, feed: Feed, batched: bool) -> Answer:
        """With the rows told apart that went into the call together.

        `batched`: the input's first axis is known to be the batch; else an output of one axis is a single answer.
        """
        rows, main = feed.rows, self.main
        together = rows > 1 and all(values.ndim and values.shape[0] == rows for _, values in feed.parts)
        fits = together and main.size > 0 and main.ndim > (0 if batched else 1) and main.shape[0] == rows
        return replace(self, rows=rows) if fits else self

    @property
    def scale(self) -> float:
        """Largest finite magnitude over all outputs that are compared; 1 where there is none."""
        return (
            max((_magnitude(values) for _, values in self._compared() if values.dtype.kind not in "OSU"), default=0.0)
            or 1.0
        )

    @property
    def finite(self) -> bool:
        """Not one value of the output on show is NaN or infinite; text and an empty output hold none."""
        return bool(np.isfinite(self.main.astype(np.float64)).all())

    @property
    def kind(self) -> str:
        """`float`, `integer` or `text`: what the output on show holds."""
        kind = self.named[self.chosen][1].dtype.kind if self.named else "O"
        return "text" if kind in "OSU" else "integer" if kind in "iub" else "float"

    def _compared(self) -> tuple[tuple[str, Array], ...]:
        return self.named[self.chosen : self.chosen + 1] if self.alone else self.named

    def same_bits(self, other: Answer) -> bool:
        """Every output compared has the same name, dtype, shape and bytes; so a NaN equals the same NaN."""
        ours, theirs = self._compared(), other._compared()
        pairs = zip(ours, theirs, strict=False)
        return len(ours) == len(theirs) and all(a[0] == b[0] and same_bits(a[1], b[1]) for a, b in pairs)

    def apart(self, other: Answer) -> float:
        """Largest difference in float64 over all outputs compared; inf where names, shapes or strings differ."""
        ours, theirs = self._compared(), other._compared()
        if [name for name, _ in ours] != [name for name, _ in theirs]:
            return largest_difference(self.main, other.main)
        found = [largest_difference(a, b) for (_, a), (_, b) in zip(ours, theirs, strict=True)]
        return float(np.max(found)) if found else 0.0

    def relative(self, other: Answer, *, alone: bool | None = None) -> float:
        """Largest difference of any output compared, each over its own largest magnitude.

        `alone`: of the one on show; False: of all of them, also where one was asked for.
        """
        alone = self.alone if alone is None else alone
        if [name for name, _ in self.named] != [name for name, _ in other.named]:
            return largest_difference(self.main, other.main) / (_magnitude(self.main) or 1.0)
        found = []
        for place, ((_, a), (_, b)) in enumerate(zip(self.named, other.named, strict=True)):
            if not alone or place == self.chosen:
                found.append(largest_difference(a, b) / (_magnitude(a) or _magnitude(b) or 1.0))
        return float(np.max(found)) if found else 0.0

    def row(self, place: int, rows: int) -> Answer:
        """One row of a batch of `rows`, as if it had been alone; outputs without that axis stay whole."""
        cut = [
            (name, values[place : place + 1] if values.ndim and values.shape[0] == rows else values)
            for name, values in self.named
        ]
        return replace(self, named=tuple(cut), rows=1)

    def outputs(self) -> tuple[Output, ...]:
        """All of them for a report; the values of the one on show stand in the run itself."""
        found = []
        for place, (name, values) in enumerate(self.named):
            plain: tuple[float, ...] = ()
            texts: tuple[str, ...] = ()
            if values.dtype.kind in "OSU":
                texts = tuple(text_of(item) for item in values.reshape(-1)[:MAX_TEXTS].tolist())
            elif place != self.chosen:
                plain = kept(values)
            dtype = "string" if values.dtype.kind in "OSU" else values.dtype.name
            found.append(Output(safe(name), dtype, tuple(values.shape), plain, texts))
        return tuple(found)


def _magnitude(values: Array) -> float:
    """Largest finite magnitude; 0 for text."""
    if values.dtype.kind in "OSU":
        return 0.0
    wide = np.abs(values.astype(np.float64))
    return float(wide[np.isfinite(wide)].max(initial=0.0))


def kept(values: Array) -> tuple[float, ...]:
    """The values for a report, in C order; none where there are more than are kept."""
    return tuple(values.astype(np.float64).reshape(-1).tolist()) if values.size <= MAX_OUTPUT else ()


def text_of(item: Any) -> str:
    """A string of an output, made harmless."""
    return safe(item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item), MAX_TEXT)


def same_bits(a: Array, b: Array) -> bool:
    """Same dtype, shape and bytes."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return a.tolist() == b.tolist() if a.dtype.kind == "O" else a.tobytes() == b.tobytes()


def largest_difference(a: Array, b: Array) -> float:
    """max |a - b| in float64; nan where only one of them is, inf where shapes or strings differ."""
    if a.shape != b.shape:
        return float("inf")
    if same_bits(a, b) or not a.size:
        return 0.0
    if a.dtype.kind == "O" or b.dtype.kind == "O":
        return float("inf")
    x, y = a.astype(np.float64).reshape(-1), b.astype(np.float64).reshape(-1)
    with np.errstate(invalid="ignore"):
        apart = np.abs(x - y)
    apart[(x == y) | (np.isnan(x) & np.isnan(y))] = 0.0
    return float(apart.max())
