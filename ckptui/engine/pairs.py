"""Two tensors read side by side and compared, checksums verified on the way; runs in a reader child."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ckptui.core import dtypes
from ckptui.core.diff import PairAccumulator, PairNumbers, comparable, pair_of
from ckptui.core.model import Finding, Pair, Tensor
from ckptui.core.ratios import LogRatios
from ckptui.engine.checked import Beat, Verdict
from ckptui.engine.facts import pack
from ckptui.engine.streams import Side, scanner_of, values_told
from ckptui.errors import ChangedWhileReading, CkptuiError, Damaged

Array = np.ndarray[Any, Any]

__all__ = ["CHUNK", "PairReader", "Side", "accumulator_for", "aligned", "row_document"]

CHUNK = 1 << 18
"""Bytes read of each side at a time: both, and what is worked out of them, stay in the second-level cache."""


@dataclass(slots=True)
class _Told:
    """One side of a pair while it is read."""

    letter: str
    side: Side
    tensor: Tensor
    beat: Beat
    check: bool
    verdict: Verdict = field(default_factory=Verdict)
    trouble: list[Finding] = field(default_factory=list)
    failed: CkptuiError | None = None

    def values(self) -> Iterator[Array]:
        """The values as pieces. Ends early where they can't be read: the other side is still read to its end."""
        try:
            yield from values_told(
                self.side, self.tensor, self.verdict, self.trouble, self.beat, check=self.check, at_a_time=CHUNK
            )
        except CkptuiError as error:
            self.failed = error

    @property
    def problem(self) -> str:
        """Why it can't be compared; empty where it can."""
        if self.failed is None:
            return ""
        if self.tensor.problem and not isinstance(self.failed, ChangedWhileReading):
            return f"{self.letter}: {self.tensor.problem}"
        return f"{self.letter}: {self.failed.title}: {self.failed.detail}"

    @property
    def remark(self) -> str:
        """What the row says of its checksums."""
        return f"{self.letter}'s checksum fails" if self.verdict.mismatches else ""

    def findings(self) -> list[Finding]:
        """About its bytes. Who asked leaves out what the directory of the save had told before."""
        wrong = scanner_of(self.side, self.beat, check=self.check).mismatches(self.tensor, self.verdict)
        # bytes that fail their checksum need make no sense: that is not a second kind of damage
        explained = wrong and isinstance(self.failed, Damaged)
        return wrong if explained else [*self.trouble, *wrong]


class PairReader:
    """Compares tensors of two saves."""

    def __init__(self, a: Side, b: Side, beat: Beat, *, check: bool) -> None:
        self._sides = a, b
        self._beat = beat
        self._check = check

    def answer(self, a: Tensor, b: Tensor, rest: Sequence[Any]) -> dict[str, Any]:
        """`compare` for [matched by]; what a piece gives for [matched by, first element, elements]."""
        if len(rest) == 1:
            return self.compare(a, b, rest[0])
        from ckptui.engine.pair_pieces import read_piece

        return read_piece(self._sides, (a, b), rest[1], rest[2], self._beat)

    def compare(self, a: Tensor, b: Tensor, matched_by: str | None) -> dict[str, Any]:
        """The row of a diff, what the relation of the saves is judged by, and findings for damaged bytes.

        Tensors that can't be held against each other (another shape) are read for their checksums alone.
        """
        told = [
            _Told(letter, side, tensor, self._beat, self._check)
            for letter, side, tensor in zip("AB", self._sides, (a, b), strict=True)
        ]
        numbers: PairNumbers | None = None
        problem = ""
        if comparable(a, b):
            accumulator = accumulator_for(a, b)
            for piece_a, piece_b in aligned(told[0].values(), told[1].values()):
                accumulator.add(piece_a, piece_b)
            numbers = accumulator.result()
            if not any(one.failed for one in told) and numbers.count != a.count:
                problem = f"{numbers.count} of {a.count} values are there on both sides"
        else:
            for one in told:
                for _ in one.values():
                    pass
        if any(one.failed for one in told):
            problem = ", ".join(one.problem for one in told if one.failed)
        remarks = [one.remark for one in told if one.remark]
        shown = None if problem else numbers
        document = row_document(pair_of(a, b, matched_by, shown, problem, remarks), shown)
        return {**document, "findings": pack([finding for one in told for finding in one.findings()])}


def accumulator_for(a: Tensor, b: Tensor, start: int = 0) -> PairAccumulator:
    """What takes the values of a pair from element `start` on; of floats of an optimizer's slots more is asked."""
    slots = a.role == b.role == "slot" and dtypes.is_float(a.dtype) and dtypes.is_float(b.dtype) and a.count > 1
    return PairAccumulator(a.dtype, b.dtype, ratios=LogRatios(a.count, start) if slots else None)


def aligned(a: Iterator[Array], b: Iterator[Array]) -> Iterator[tuple[Array, Array]]:
    """Both streams of 1-D arrays cut to equal lengths; what one has more than the other is left out.

    Both are run to their ends, so that their checksums are compared.
    """
    left = right = np.empty(0)
    while True:
        if not left.size:
            left = next((chunk for chunk in a if chunk.size), left)
        if not right.size:
            right = next((chunk for chunk in b if chunk.size), right)
        count = min(left.size, right.size)
        if not count:
            break
        yield left[:count], right[:count]
        left, right = left[count:], right[count:]
    for rest in (a, b):
        for _ in rest:
            pass


def row_document(pair: Pair, numbers: PairNumbers | None) -> dict[str, Any]:
    """A row with the evidence that does not go into it, as JSON data, without findings."""
    document: dict[str, Any] = {"pair": pack(pair), "findings": []}
    for name in ("centred_cosine", "a_value", "b_value", "log_ratio"):
        value = getattr(numbers, name) if numbers is not None else None
        document[name] = dict(value) if name == "log_ratio" and value is not None else value
    return document
