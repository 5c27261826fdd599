"""The child's side of a timeline: one save's tensors in numbers, held against values kept of the save before.

Values stay in the child from one request to the next under the request's `token`, one stretch a key; each is written
over by its successor while that is read, so that a run of any length takes the memory of one save's group.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ckptui.core import dtypes
from ckptui.core.model import Finding, Segment, Tensor
from ckptui.engine import checked
from ckptui.engine.checked import Files, Verdict
from ckptui.engine.facts import TensorColumns, pack
from ckptui.engine.pairs import aligned
from ckptui.engine.points import PointAccumulator
from ckptui.engine.scan import READER_CHUNK, Scanner, stored_dtype
from ckptui.engine.stretch import Stretch
from ckptui.engine.timeline_batch import batched
from ckptui.errors import ChangedWhileReading, CkptuiError, Damaged, NoSuchPath

if TYPE_CHECKING:
    from ckptui.engine.child import Call
    from ckptui.engine.opened import OpenReader
    from ckptui.engine.ops import Items

Array = np.ndarray[Any, Any]
Opened = Callable[[Mapping[str, Any]], "OpenReader"]

HELD_BYTES = 48 << 20
"""Of one stretch that is kept, at most; the parent cuts them smaller."""
STRING_BYTES = 1 << 20
"""Strings of up to so many bytes are kept; of more only the checksum tells whether they changed."""
HEAVY_BYTES = 4 << 20

_kept: dict[str, dict[str, Array]] = {}
"""By token, then by key. Of one timeline at a time."""


def timeline(call: Call, args: Mapping[str, Any], items: Items, opened: Opened) -> dict[str, Any]:
    """Numbers for every item of a save: {"points", "findings", "bytes"}, the last of all that was read.

    `tensors` and those of `befores` are packed; an item is [key, place in `tensors`, first element, elements, before],
    before being None, "kept", or [place in `befores`, place there, stream]. Without items all that is kept is let go.
    """
    token = str(args["token"])
    for other in [known for known in _kept if known != token or not args["items"]]:
        del _kept[other]
    if not args["items"]:
        return {"points": [], "findings": [], "bytes": 0}
    call.begin(args["path"])
    files = Files(_cold(args) if args.get("polite") else frozenset())
    kept = _kept.setdefault(token, {})
    try:
        sides = [_Side(one, files, items, opened) for one in (args, *args["befores"])]
        reading = _Reading(sides[0], sides[1:], kept)
        together = {} if args.get("careful") else batched(args["items"], sides[0].tensors, files, kept, sides[0].beat)
        points = []
        for number, (key, place, first, count, before) in enumerate(args["items"]):
            if number in together:
                points.append(_told(together[number], "", gone=False))
                continue
            tensor = sides[0].tensors[place]
            if args.get("careful") or tensor.bytes >= HEAVY_BYTES or tensor.storage.encoding in ("hdf5", "v1"):
                call.begin(tensor.name)
            points.append(reading.point(key, tensor, first, count, before))
        return {"points": points, "findings": pack(reading.findings), "bytes": sum(side.bytes for side in sides)}
    finally:
        files.close()


def _cold(args: Mapping[str, Any]) -> frozenset[str]:
    """Files of which nothing is in the page cache: what is read of them is let go afterwards."""
    from ckptui.engine.pages import resident

    files = {file for one in (args, *args["befores"]) for file in one["tensors"]["files"]}
    return frozenset(file for file in files if resident(file) is False)


class _Side:
    """One save of a request."""

    def __init__(self, doc: Mapping[str, Any], files: Files, items: Items, opened: Opened) -> None:
        self.path: str = doc["path"]
        self.tensors = TensorColumns(doc["tensors"])
        self.files = files
        self.items = items
        self._doc = {"path": doc["path"], "kind": doc["kind"]}
        self._opened = opened
        self._reader: Any = None
        self.bytes = 0

    def beat(self, count: int) -> None:
        """Count bytes done, and tell the parent now and then."""
        self.bytes += count
        self.items.beat(count)

    @property
    def reader(self) -> Any:
        """The format's own reader, opened only for what does not lie plainly in a file."""
        if self._reader is None:
            self._reader = self._opened(self._doc).reader
        return self._reader

    def scanner(self) -> Scanner:
        """What makes findings of damage, as a scan does."""
        return Scanner(self.path, _Lazy(self), self.files, self.beat, stats=False, check=True)

    def values(self, tensor: Tensor, first: int, count: int, verdict: Verdict) -> Iterator[Array]:
        """`count` elements from `first`, 1-D, native; checksums are compared where they are all of the tensor's.

        Raises what reading raises.
        """
        storage, dtype = tensor.storage, stored_dtype(tensor)
        segment, beat = storage.segment, self.beat
        whole = first == 0 and count == tensor.count
        if storage.encoding == "plain" and segment is not None and dtype is not None:
            if tensor.count * dtype.itemsize != segment.bytes:
                raise Damaged(f"{segment.bytes} bytes for {tensor.count} elements of {dtype.itemsize}")
            part = Segment(segment.file, segment.offset + first * dtype.itemsize, count * dtype.itemsize)
            expected = storage.crc32c if whole else None
            shown = dtypes.np_dtype(tensor.dtype)
            for view in checked.plain(self.files, part, expected, verdict, beat):
                yield dtypes.native(np.frombuffer(view, dtype), shown)
            return
        if tensor.problem:
            raise Damaged(tensor.problem)
        if first == 0 and storage.encoding in ("strings", "variant", "slices"):
            checked.check_bytes(self.files, storage, tensor.count, verdict, beat)
        if first == 0 and storage.encoding == "v1":
            checked.check_blocks(self.reader, tensor, verdict, beat)
        yield from _cut(self._chunks(tensor), first, count)

    def _chunks(self, tensor: Tensor) -> Iterator[Array]:
        if tensor.storage.encoding in ("strings", "variant", "slices"):
            from ckptui.readers.values import element_chunks

            chunks = element_chunks(tensor, READER_CHUNK)
        elif tensor.dtype not in dtypes.ITEMSIZE:
            chunks = iter((self.reader.array(tensor).reshape(-1),))
        else:
            chunks = self.reader.chunks(tensor, READER_CHUNK)
        for chunk in chunks:
            yield chunk if chunk.dtype.isnative else chunk.astype(chunk.dtype.newbyteorder("="))
            self.beat(chunk.nbytes)


class _Lazy:
    """Stands for a reader that is opened only if it is asked."""

    def __init__(self, side: _Side) -> None:
        self._side = side

    def chunks(self, tensor: Tensor, chunk_bytes: int) -> Iterator[Array]:
        """The elements of a tensor."""
        chunks: Iterator[Array] = self._side.reader.chunks(tensor, chunk_bytes)
        return chunks


class _BeforeLost(Exception):
    """A save before is not there any more, or damaged by now: no fault of the one that is read."""


def _complete(numbers: PointAccumulator, tensor: Tensor, count: int) -> Stretch:
    """The numbers. Raises Damaged unless they are over all elements."""
    found = numbers.result()
    if found.count != count:
        raise Damaged(f"{tensor.name}: {found.count} values are there, {count} are announced")
    return found


class _Reading:
    """The items of one request."""

    def __init__(self, side: _Side, befores: list[_Side], kept: dict[str, Array]) -> None:
        self._side, self._befores, self._kept = side, befores, kept
        self.findings: list[Finding] = []

    def point(self, key: str, tensor: Tensor, first: int, count: int, before: Any) -> list[Any]:
        """[count, norm, distance, changed, nonfinite, crc, bytes, value, problem, gone] of one stretch."""
        verdict = Verdict()
        gone = False
        try:
            numbers = self._numbers(key, tensor, first, count, before, verdict)
            self._side.files.fence(tensor.storage)
        except CkptuiError as error:
            self._kept.pop(key, None)
            gone = isinstance(error, ChangedWhileReading) or (isinstance(error, NoSuchPath) and not tensor.problem)
            if verdict.mismatches and isinstance(error, Damaged):
                self.findings += self._side.scanner().mismatches(tensor, verdict)
            elif not (tensor.problem or gone):
                # what the directory tells is in the listing's findings, and a save that is gone has one for all
                self.findings.append(self._side.scanner().trouble(tensor, error))
            return _told(Stretch(count), f"{error.title}: {error.detail}", gone)
        except MemoryError:
            self._kept.pop(key, None)
            return _told(Stretch(count), "Reader out of memory", gone)
        if verdict.mismatches:
            # what damaged bytes say is no word about the training: the save before stays the one to compare with
            self._kept.pop(key, None)
            self.findings += self._side.scanner().mismatches(tensor, verdict)
            return _told(Stretch(count), "its bytes fail their checksum", gone)
        return _told(numbers, "", gone)

    def _numbers(self, key: str, tensor: Tensor, first: int, count: int, before: Any, verdict: Verdict) -> Stretch:
        numbers = PointAccumulator(tensor.dtype)
        if tensor.storage.encoding == "none" or not tensor.count:
            return Stretch(count)
        if isinstance(before, list) and before[2]:
            try:
                for now, then in aligned(
                    self._side.values(tensor, first, count, verdict), self._before(before, first, count)
                ):
                    numbers.add(now, then)
                return _complete(numbers, tensor, count)
            except _BeforeLost:
                numbers = PointAccumulator(tensor.dtype)
        values = self._side.values(tensor, first, count, verdict)
        if tensor.dtype not in dtypes.ITEMSIZE:
            self._strings(key, tensor, values, before, numbers)
        elif count * dtypes.ITEMSIZE[tensor.dtype] > HELD_BYTES:
            for now in values:
                numbers.add(now)
        else:
            self._keep(key, values, count, before, numbers, first)
        return _complete(numbers, tensor, count)

    def _keep(
        self, key: str, values: Iterator[Array], count: int, before: Any, numbers: PointAccumulator, first: int
    ) -> None:
        """Take the values, each chunk in the place of the one before it."""
        held = self._kept.get(key) if before == "kept" else None
        if isinstance(before, list):
            held = self._reread(before, first, count)
        filled = 0
        compare = held is not None and held.size == count
        for now in values:
            if held is None or held.size != count or held.dtype != now.dtype:
                if filled:
                    raise Damaged("its chunks are of several dtypes")
                held, compare = np.empty(count, now.dtype), False
            then = held[filled : filled + now.size]
            if then.size != now.size:
                raise Damaged(f"more than {count} values are there")
            numbers.add(now, then if compare else None)
            then[:] = now
            filled += now.size
        if held is not None:
            self._kept[key] = held

    def _strings(
        self, key: str, tensor: Tensor, values: Iterator[Array], before: Any, numbers: PointAccumulator
    ) -> None:
        held = self._kept.pop(key, None) if before == "kept" else None
        for now in values:
            if isinstance(before, list):
                with contextlib.suppress(_BeforeLost):
                    held = next(self._before(before, 0, tensor.count), None)
            numbers.add(now, held if held is not None and held.shape == now.shape else None)
            if tensor.bytes <= STRING_BYTES:
                self._kept[key] = now

    def _before(self, before: Any, first: int, count: int) -> Iterator[Array]:
        """The same stretch in a save before. Raises _BeforeLost where it can't be read any more."""
        side = self._befores[before[0]]
        try:
            yield from side.values(side.tensors[before[1]], first, count, Verdict())
        except CkptuiError as error:
            raise _BeforeLost from error

    def _reread(self, before: Any, first: int, count: int) -> Array | None:
        """Values of a save before that are not kept any more; None where they can't be read now."""
        held: Array | None = None
        filled = 0
        try:
            for chunk in self._before(before, first, count):
                if held is None:
                    held = np.empty(count, chunk.dtype)
                if filled + chunk.size > count:
                    return None
                held[filled : filled + chunk.size] = chunk
                filled += chunk.size
        except _BeforeLost:
            return None
        return held if filled == count else None


def _cut(chunks: Iterator[Array], first: int, count: int) -> Iterator[Array]:
    """Elements `first` to `first + count` of a stream of 1-D arrays."""
    at = 0
    for chunk in chunks:
        begin, end = max(first - at, 0), min(first + count - at, chunk.size)
        at += chunk.size
        if begin < end:
            yield chunk[begin:end]
        if at >= first + count and first:
            return


def _told(numbers: Stretch, problem: str, gone: bool) -> list[Any]:
    return [
        numbers.count,
        numbers.norm,
        numbers.distance,
        numbers.changed,
        numbers.nonfinite,
        numbers.crc32c,
        numbers.bytes,
        numbers.value,
        problem,
        gone,
    ]
