"""Tensors hashed, and a few of their values kept, in one pass; runs in a reader child."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from crc32c import crc32c

from ckptui.core import dtypes
from ckptui.core.digest import sample_places
from ckptui.core.model import Finding, Tensor, jsonable
from ckptui.core.stats import StatsAccumulator
from ckptui.engine.checked import Files, Verdict
from ckptui.engine.facts import pack
from ckptui.engine.opened import OpenReader
from ckptui.engine.streams import Side, scanner_of, values_told
from ckptui.errors import CkptuiError

if TYPE_CHECKING:
    from ckptui.engine.ops import Args, Items

Array = np.ndarray[Any, Any]

HEAVY_BYTES = 4 << 20
"""A tensor from this size on is announced before it is read."""
_STRINGS_AT_ONCE = 4096


class Fingerprint:
    """SHA-256 and CRC-32C of elements that come in pieces, in the form that `core.digest` says.

    With the instructions that processors have for it SHA-256 is the fastest of the hashes beyond 64 bits that come
    with Python, and `hashlib.sha256(array.tobytes())` gives the same anywhere. It leaves nothing to chance; the
    CRC-32C costs a tenth of it, and is what checkpoints and timelines know a tensor's content by.
    """

    def __init__(self) -> None:
        self._sha = hashlib.sha256()
        self.crc32c = 0

    def add(self, chunk: Array) -> None:
        """Take the next elements: 1-D, numbers of any dtype and byte order, or objects (bytes or str)."""
        for piece in _canonical(chunk):
            self._sha.update(piece)
            self.crc32c = crc32c(piece, self.crc32c)

    @property
    def hash(self) -> str:
        """SHA-256 in hexadecimal."""
        return self._sha.hexdigest()


def _canonical(chunk: Array) -> Iterator[bytes | memoryview]:
    if chunk.dtype.kind == "O":
        for start in range(0, chunk.size, _STRINGS_AT_ONCE):
            items = [one if isinstance(one, bytes) else str(one).encode() for one in chunk[start:][:_STRINGS_AT_ONCE]]
            yield b"".join(part for item in items for part in (len(item).to_bytes(8, "little"), item))
        return
    flat: Any = np.ascontiguousarray(chunk.astype(chunk.dtype.newbyteorder("<"), copy=False))
    yield memoryview(flat.view(np.uint8))


class Samples:
    """The values at given places of a tensor whose elements come in pieces: floats, or Python's integers."""

    def __init__(self, dtype: str, places: Array) -> None:
        """`places`: flat indices, rising. Of strings, complex and what has no numpy type here nothing is kept."""
        self._places = places
        self._wide: Any = None
        if dtypes.is_integer(dtype) or dtype == "bool":
            self._wide = np.uint64 if dtype == "uint64" else np.int64
        elif dtypes.is_float(dtype) and dtypes.np_dtype(dtype).kind != "u":
            self._wide = np.float64
        self._taken = self._seen = 0
        self.values: list[float | int] = []

    def add(self, chunk: Array) -> None:
        """Take the next elements."""
        start, self._seen = self._seen, self._seen + chunk.size
        end = int(np.searchsorted(self._places, self._seen))
        if self._wide is not None and end > self._taken:
            self.values += chunk[self._places[self._taken : end] - start].astype(self._wide).tolist()
        self._taken = end


def digests(call: Any, args: Args, items: Items, opening: Callable[[], OpenReader]) -> None:
    """{"hash", "crc32c", "l2", "nonfinite", "samples", "problem", "findings"} for every name in `items`.

    `most`: values kept of each; `drop`: files to let go of afterwards.
    """
    opened = opening()
    files = Files(frozenset(args.get("drop", ())))
    side = Side(args["path"], opened.reader, files)
    try:
        items.run(
            args,
            lambda name: _digested(side, opened.tensor(name), args["most"], items),
            lambda name: opened.tensor(name).bytes >= HEAVY_BYTES,
        )
    finally:
        files.close()


def _digested(side: Side, tensor: Tensor, most: int, items: Items) -> dict[str, Any]:
    verdict = Verdict()
    findings: list[Finding] = []
    fingerprint, stats = Fingerprint(), StatsAccumulator(tensor.dtype)
    known = tensor.dtype in dtypes.ITEMSIZE
    samples = Samples(tensor.dtype, sample_places(tensor.count if known else 0, most))
    try:
        for chunk in values_told(side, tensor, verdict, findings, items.beat, check=True):
            fingerprint.add(chunk)
            stats.add(chunk)
            samples.add(chunk)
    except CkptuiError as error:
        return {"problem": f"{error.title}: {error.detail}", "findings": pack(findings)}
    findings += scanner_of(side, items.beat, check=True).mismatches(tensor, verdict)
    numbers = stats.result()
    bad = None if numbers.finite is None else (numbers.nan or 0) + (numbers.posinf or 0) + (numbers.neginf or 0)
    return {
        "hash": fingerprint.hash,
        "crc32c": fingerprint.crc32c,
        "l2": jsonable(numbers.l2),
        "nonfinite": bad,
        "samples": jsonable(samples.values),
        "problem": "",
        "findings": pack(findings),
    }
