"""Two tensors read side by side and compared, checksums verified on the way; runs in a reader child."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptui.core.diff import PairAccumulator, comparable, pair_of
from ckptui.core.dtypes import ITEMSIZE
from ckptui.core.model import Finding, Tensor
from ckptui.engine import checked
from ckptui.engine.checked import Beat, Files, Verdict
from ckptui.engine.facts import pack
from ckptui.engine.scan import READER_CHUNK, Scanner, stored_dtype
from ckptui.errors import CkptuiError
from ckptui.readers.registry import Reader

Array = np.ndarray[Any, Any]


@dataclass(slots=True)
class Side:
    """One of the two saves."""

    path: str
    reader: Reader
    files: Files


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
                self._told(side, tensor, verdict, findings)
                for side, tensor, verdict in zip(self._sides, tensors, verdicts, strict=True)
            ]
            for piece_a, piece_b in aligned(streams[0], streams[1]):
                accumulator.add(piece_a, piece_b)
        except CkptuiError as error:
            document = _document(pack(pair_of(a, b, matched_by, None, f"{error.title}: {error.detail}")))
            return {**document, "findings": pack(findings)}
        for side, tensor, verdict in zip(self._sides, tensors, verdicts, strict=True):
            findings += self._scanner(side).mismatches(tensor, verdict)
        numbers = accumulator.result()
        document = _document(pack(pair_of(a, b, matched_by, numbers)))
        document["findings"] = pack(findings)
        for name in ("centred_cosine", "a_value", "b_value"):
            document[name] = getattr(numbers, name)
        return document

    def _scanner(self, side: Side) -> Scanner:
        return Scanner(side.path, side.reader, side.files, self._beat, stats=False, check=self._check)

    def _told(self, side: Side, tensor: Tensor, verdict: Verdict, findings: list[Finding]) -> Iterator[Array]:
        """The values of one side, fence held; what keeps them from being read becomes a finding too."""
        try:
            for chunk in self._values(side, tensor, verdict):
                yield chunk if chunk.dtype.isnative else chunk.astype(chunk.dtype.newbyteorder("="))
            side.files.fence(tensor.storage)
        except CkptuiError as error:
            findings.append(self._scanner(side).trouble(tensor, error))
            raise

    def _values(self, side: Side, tensor: Tensor, verdict: Verdict) -> Iterator[Array]:
        storage = tensor.storage
        dtype = stored_dtype(tensor)
        segment = storage.segment
        whole = dtype is not None and segment is not None and tensor.count * dtype.itemsize == segment.bytes
        if storage.encoding == "plain" and segment is not None and whole:
            expected = storage.crc32c if self._check else None
            for view in checked.plain(side.files, segment, expected, verdict, self._beat):
                yield np.frombuffer(view, dtype)
            return
        if self._check and storage.encoding in ("strings", "variant", "slices"):
            checked.check_bytes(side.files, storage, tensor.count, verdict, self._beat)
        if self._check and storage.encoding == "v1":
            checked.check_blocks(side.reader, tensor, verdict, self._beat)
        if tensor.dtype not in ITEMSIZE:
            yield side.reader.array(tensor).reshape(-1)
            return
        for chunk in side.reader.chunks(tensor, READER_CHUNK):
            yield chunk
            self._beat(chunk.nbytes)


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
