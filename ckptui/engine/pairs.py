"""Two tensors read side by side and compared, checksums verified on the way; runs in a reader child."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ckptui.core.diff import PairAccumulator, comparable, pair_of
from ckptui.core.model import Finding, Tensor
from ckptui.engine.checked import Beat, Verdict
from ckptui.engine.facts import pack
from ckptui.engine.streams import Side, scanner_of, values_told
from ckptui.errors import CkptuiError

Array = np.ndarray[Any, Any]

__all__ = ["PairReader", "Side", "aligned"]


class PairReader:
    """Compares tensors of two saves."""

    def __init__(self, a: Side, b: Side, beat: Beat, *, check: bool) -> None:
        self._sides = a, b
        self._beat = beat
        self._check = check

    def compare(self, a: Tensor, b: Tensor, matched_by: str | None) -> dict[str, Any]:
        """The row of a diff, what the relation of the saves is judged by, and findings for damaged bytes."""
        if not comparable(a, b):
            return _document(pack(pair_of(a, b, matched_by)))
        verdicts = Verdict(), Verdict()
        tensors = a, b
        accumulator = PairAccumulator(a.dtype, b.dtype)
        findings: list[Finding] = []
        try:
            streams = [
                values_told(side, tensor, verdict, findings, self._beat, check=self._check)
                for side, tensor, verdict in zip(self._sides, tensors, verdicts, strict=True)
            ]
            for piece_a, piece_b in aligned(streams[0], streams[1]):
                accumulator.add(piece_a, piece_b)
        except CkptuiError as error:
            document = _document(pack(pair_of(a, b, matched_by, None, f"{error.title}: {error.detail}")))
            return {**document, "findings": pack(findings)}
        for side, tensor, verdict in zip(self._sides, tensors, verdicts, strict=True):
            findings += scanner_of(side, self._beat, check=self._check).mismatches(tensor, verdict)
        numbers = accumulator.result()
        document = _document(pack(pair_of(a, b, matched_by, numbers)))
        document["findings"] = pack(findings)
        for name in ("centred_cosine", "a_value", "b_value"):
            document[name] = getattr(numbers, name)
        return document


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


def _document(pair: Any) -> dict[str, Any]:
    return {"pair": pair, "centred_cosine": None, "a_value": None, "b_value": None, "findings": []}
