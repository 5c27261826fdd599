"""Two huge tensors compared by several children: each takes a stretch of both, the parent adds up.

Only what is whole is added up: pieces that do not give the stored checksums, that fail, or that come from different
states of a file are not judged here. Such a pair is compared once more, by one child, which says what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ckptui.core import dtypes
from ckptui.core.crc import combined
from ckptui.core.diff import PairNumbers, comparable
from ckptui.core.model import Segment, Tensor
from ckptui.engine.pieces import PIECE_BYTES, SPLIT_BYTES
from ckptui.errors import Damaged

if TYPE_CHECKING:
    from ckptui.engine.checked import Beat
    from ckptui.engine.streams import Side

MOST_PIECES = 1024

Stretch = tuple[int, int]
"""The first element of a piece, and how many it has."""


def stretches(a: Tensor, b: Tensor) -> list[Stretch]:
    """The pieces of a pair, front to back; empty for one that is not split."""
    sizes = [_element_bytes(tensor) for tensor in (a, b)]
    if not comparable(a, b) or not all(sizes) or a.count * max(sizes) < SPLIT_BYTES:
        return []
    step = max(PIECE_BYTES // max(sizes), -(-a.count // MOST_PIECES))
    return [(start, min(step, a.count - start)) for start in range(0, a.count, step)]


def _element_bytes(tensor: Tensor) -> int:
    """Of a tensor whose elements lie in the file one after the other; 0 for all others."""
    segment, size = tensor.storage.segment, dtypes.ITEMSIZE.get(tensor.dtype, 0)
    plain = tensor.storage.encoding == "plain" and not tensor.storage.npy_dtype and not tensor.problem
    return size if plain and segment is not None and tensor.count * size == segment.bytes else 0


# ---------------------------------------------------------------------- in a child


def read_piece(
    sides: tuple[Side, Side], tensors: tuple[Tensor, Tensor], start: int, count: int, beat: Beat
) -> dict[str, Any]:
    """What `count` elements from `start` on of two plain tensors give; raises what reading raises."""
    import numpy as np
    from crc32c import crc32c

    from ckptui.engine import checked
    from ckptui.engine.pairs import CHUNK, accumulator_for, aligned
    from ckptui.engine.scan import stored_dtype

    crcs = [0, 0]

    def values(number: int) -> Any:
        side, tensor = sides[number], tensors[number]
        whole, dtype = tensor.storage.segment, stored_dtype(tensor)
        if whole is None or dtype is None or not 0 <= start <= start + count <= tensor.count:
            raise Damaged(f"{tensor.name} has no elements {start} to {start + count}")
        part = Segment(whole.file, whole.offset + start * dtype.itemsize, count * dtype.itemsize)
        for view in checked.plain(side.files, part, None, checked.Verdict(), beat, chunk=CHUNK):
            if tensor.storage.crc32c is not None:
                crcs[number] = crc32c(view, crcs[number])
            chunk = np.frombuffer(view, dtype)
            yield chunk if dtype.isnative else chunk.astype(dtype.newbyteorder("="))
        side.files.fence(tensor.storage)

    accumulator = accumulator_for(*tensors, start)
    for piece_a, piece_b in aligned(values(0), values(1)):
        accumulator.add(piece_a, piece_b)
    stamps = [
        list(side.files.get(tensor.storage.segment.file).stamp)
        for side, tensor in zip(sides, tensors, strict=True)
        if tensor.storage.segment is not None
    ]
    return {"crcs": crcs, "stamps": stamps, "state": accumulator.state()}


# ---------------------------------------------------------------------- in the parent


@dataclass(slots=True)
class PairParts:
    """The answers for the pieces of one pair, as they come."""

    a: Tensor
    b: Tensor
    stretches: list[Stretch]
    answers: dict[int, Any] = field(default_factory=dict)
    """By place in `stretches`; None for one that failed."""

    @property
    def all_here(self) -> bool:
        """Every piece has an answer."""
        return len(self.answers) == len(self.stretches)

    def joined(self) -> PairNumbers | None:
        """The numbers of the whole pair; None where anything is odd."""
        from ckptui.engine.pairs import accumulator_for

        answers = [self.answers[number] for number in range(len(self.stretches))]
        accumulator = accumulator_for(self.a, self.b)
        try:
            if any(answer["stamps"] != answers[0]["stamps"] for answer in answers):
                return None
            for answer, (_, count) in zip(answers, self.stretches, strict=True):
                if answer["state"]["count"] != count:
                    return None
                accumulator.absorb(answer["state"])
            for number, tensor in enumerate((self.a, self.b)):
                expected = tensor.storage.crc32c
                if (
                    expected is not None
                    and self._crc(tensor, [answer["crcs"][number] for answer in answers]) != expected
                ):
                    return None
        except (KeyError, IndexError, TypeError, ValueError):
            return None
        return accumulator.result()

    def _crc(self, tensor: Tensor, crcs: Sequence[Any]) -> int:
        if any(type(crc) is not int for crc in crcs):
            raise TypeError("a checksum")
        crc: int = crcs[0]
        for following, (_, count) in zip(crcs[1:], self.stretches[1:], strict=True):
            crc = combined(crc, following, count * dtypes.ITEMSIZE[tensor.dtype])
        return crc
