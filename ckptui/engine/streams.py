"""The values of one tensor as a stream of pieces, its checksums verified on the way; runs in a reader child."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptui.core.dtypes import ITEMSIZE
from ckptui.core.model import Finding, Tensor
from ckptui.engine import checked
from ckptui.engine.checked import Beat, Files, Verdict
from ckptui.engine.scan import READER_CHUNK, Scanner, stored_dtype
from ckptui.errors import CkptuiError
from ckptui.readers.registry import Reader

Array = np.ndarray[Any, Any]


@dataclass(slots=True)
class Side:
    """A save that values are read from."""

    path: str
    reader: Reader
    files: Files


def scanner_of(side: Side, beat: Beat, *, check: bool) -> Scanner:
    """What words the findings about a side's bytes."""
    return Scanner(side.path, side.reader, side.files, beat, stats=False, check=check)


def values_told(
    side: Side,
    tensor: Tensor,
    verdict: Verdict,
    findings: list[Finding],
    beat: Beat,
    *,
    check: bool,
    at_a_time: int = checked.CHUNK,
) -> Iterator[Array]:
    """All values in C order as 1-D pieces in native byte order (objects for strings), fence held.

    Of values that lie in the file as they are, `at_a_time` bytes are read at once.

    What keeps them from being read is raised, and becomes a finding too. `verdict` holds the checksums' answers once
    the stream is at its end. A piece is only good until the next is asked for.
    """
    try:
        for chunk in _values(side, tensor, verdict, beat, check, at_a_time):
            yield chunk if chunk.dtype.isnative else chunk.astype(chunk.dtype.newbyteorder("="))
        side.files.fence(tensor.storage)
    except CkptuiError as error:
        findings.append(scanner_of(side, beat, check=check).trouble(tensor, error))
        raise


def _values(side: Side, tensor: Tensor, verdict: Verdict, beat: Beat, check: bool, at_a_time: int) -> Iterator[Array]:
    storage = tensor.storage
    dtype = stored_dtype(tensor)
    segment = storage.segment
    whole = dtype is not None and segment is not None and tensor.count * dtype.itemsize == segment.bytes
    if storage.encoding == "plain" and segment is not None and whole:
        expected = storage.crc32c if check else None
        for view in checked.plain(side.files, segment, expected, verdict, beat, chunk=at_a_time):
            yield np.frombuffer(view, dtype)
        return
    if check and storage.encoding in ("strings", "variant", "slices"):
        checked.check_bytes(side.files, storage, tensor.count, verdict, beat)
    if check and storage.encoding == "v1":
        checked.check_blocks(side.reader, tensor, verdict, beat)
    if tensor.dtype not in ITEMSIZE:
        yield side.reader.array(tensor).reshape(-1)
        return
    for chunk in side.reader.chunks(tensor, READER_CHUNK):
        yield chunk
        beat(chunk.nbytes)
