"""One group of a timeline's rows: what its child is asked for a save, and what it answers.

A child may have been taken over by the file it reads: of its answers only numbers of the right kind are taken.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckptui.core.model import Finding, Found, Kind, Tensor
from ckptui.engine.borrowed import Borrowed
from ckptui.engine.facts import pack_tensors, unpack
from ckptui.engine.pool import Event
from ckptui.engine.schedule import failure
from ckptui.engine.stretch import Stretch
from ckptui.engine.timeline_rows import Part
from ckptui.errors import Cancelled, CkptuiError, ReaderCrashed, ReaderFailed, ReaderHung

MOST_FINDINGS = 10_000
_MOST_PROBLEM = 2000

Earlier = Callable[[int, int, int], "tuple[int, Callable[[], tuple[Found, Tensor] | None]] | None"]
"""For row, part and place of a save: the place of the save before, and how to get at its tensor."""


@dataclass(frozen=True, slots=True)
class Save:
    """One save that is to be read."""

    place: int
    path: str
    kind: Kind
    tensors: Sequence[Tensor]
    on_row: Mapping[int, int]
    """Place of the tensor, by row."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a child said of the parts of a save, in their order."""

    stretches: tuple[Stretch | str, ...]
    """A word where a part could not be read."""
    findings: tuple[Finding, ...] = ()
    gone: bool = False
    """Files were removed or replaced under the reading."""
    bytes: int = 0
    """All that was read, saves before among it."""


@dataclass(slots=True)
class Asking:
    """Keeps track of what one child keeps."""

    child: Borrowed
    token: str
    earlier: Earlier
    polite: bool
    """A screen is attached: pages that were not in the cache are let go."""
    stop: threading.Event
    bytes: int = 0
    _counted: int = 0
    """Of these, what answers told."""
    _kept: dict[str, tuple[int, tuple[int, ...], str]] = field(default_factory=dict)
    """Place of the save, shape and dtype of what the child keeps, by key."""
    _life: int = 0

    def ask(self, save: Save, parts: Sequence[Part]) -> Answer:
        """Have the parts of a save read; a crash is tried once more, with a child that reads the save before anew.

        Raises Cancelled.
        """
        error: CkptuiError = ReaderFailed("it was not asked")
        for careful in (False, True):
            try:
                request = self._request(save, parts, careful=careful)
                reply = self.child.call("timeline", request, cancel=self.stop, on_event=self._listen)
                answer = _answer(reply.doc, save, parts)
            except Cancelled:
                raise
            except ReaderCrashed as crash:
                error = crash
                continue
            except CkptuiError as other:
                error = other
                break
            self._counted += answer.bytes
            self.bytes = self._counted
            self._note(save, parts, answer)
            return answer
        self._forget(parts)
        return _failed(save, parts, error)

    def close(self, *, usable: bool) -> None:
        """Have the child let go of what it keeps, and give it back."""
        if usable and self._life:
            args: dict[str, Any] = {"path": "", "token": self.token, "tensors": None, "items": [], "befores": []}
            try:
                self.child.call("timeline", args)
            except CkptuiError:
                usable = False
        self.child.close(usable=usable)

    def _listen(self, event: Event) -> None:
        if event.kind == "event" and isinstance(event.doc, dict) and type(event.doc.get("bytes")) is int:
            self.bytes += max(0, event.doc["bytes"])

    def _request(self, save: Save, parts: Sequence[Part], *, careful: bool) -> dict[str, Any]:
        life = self.child.ready()
        if life != self._life:
            self._kept, self._life = {}, life
        chosen: dict[int, int] = {}
        """Place among the tensors sent, by place in the listing."""
        befores: dict[int, tuple[Found, list[Tensor]]] = {}
        items = []
        for part in parts:
            at = save.on_row[part.row]
            place = chosen.setdefault(at, len(chosen))
            before = self._before(save, part, save.tensors[at], befores)
            items.append([part.key, place, part.first, part.count, before])
        order = {then: number for number, then in enumerate(befores)}
        for item in items:
            if isinstance(item[4], list):
                item[4][0] = order[item[4][0]]
        return {
            "path": save.path,
            "kind": save.kind,
            "token": self.token,
            "tensors": pack_tensors([save.tensors[at] for at in chosen], to_read=True),
            "befores": [
                {"path": found.path, "kind": found.kind, "tensors": pack_tensors(tensors, to_read=True)}
                for found, tensors in befores.values()
            ],
            "items": items,
            "careful": careful,
            "polite": self.polite,
        }

    def _before(
        self, save: Save, part: Part, tensor: Tensor, befores: dict[int, tuple[Found, list[Tensor]]]
    ) -> str | list[int] | None:
        """What a part is held against: what the child keeps, a tensor of a save before, or nothing."""
        found = self.earlier(part.row, part.number, save.place)
        if found is None:
            return None
        then, get = found
        kept = self._kept.get(part.key)
        if kept is not None and kept[0] == then:
            return "kept" if kept[1:] == (tensor.shape, tensor.dtype) else None
        there = get()
        if there is None or (there[1].shape, there[1].dtype) != (tensor.shape, tensor.dtype):
            return None
        sent = befores.setdefault(then, (there[0], []))[1]
        sent.append(there[1])
        return [then, len(sent) - 1, int(part.stream)]

    def _note(self, save: Save, parts: Sequence[Part], answer: Answer) -> None:
        for part, found in zip(parts, answer.stretches, strict=True):
            if isinstance(found, str) or part.stream:
                self._kept.pop(part.key, None)
                continue
            tensor = save.tensors[save.on_row[part.row]]
            self._kept[part.key] = save.place, tensor.shape, tensor.dtype

    def _forget(self, parts: Sequence[Part]) -> None:
        for part in parts:
            self._kept.pop(part.key, None)


def _failed(save: Save, parts: Sequence[Part], error: CkptuiError) -> Answer:
    """A save whose reader failed: one finding, and a word for each of its tensors."""
    names = {save.tensors[save.on_row[part.row]].name for part in parts}
    item = getattr(error, "item", "")
    word = f"{error.title}: {error.detail}"
    hung = isinstance(error, (ReaderCrashed, ReaderHung)) and item in names
    finding = failure(save.path, item if hung else None, error)
    return Answer((word,) * len(parts), (finding,))


def _answer(doc: Any, save: Save, parts: Sequence[Part]) -> Answer:
    """What a child answered. Raises ReaderFailed for anything else."""
    points = doc.get("points") if isinstance(doc, dict) else None
    findings = doc.get("findings") if isinstance(doc, dict) else None
    if not isinstance(points, list) or len(points) != len(parts) or not isinstance(findings, list):
        raise ReaderFailed("it answered with no points")
    if len(findings) > MOST_FINDINGS:
        raise ReaderFailed(f"it answered with {len(findings)} findings")
    told = tuple(_stretch(point, part) for point, part in zip(points, parts, strict=True))
    gone = any(point[9] is True for point in points)
    read = doc.get("bytes")
    if type(read) is not int or read < 0:
        raise ReaderFailed("it answered with no bytes")
    return Answer(told, tuple(unpack(finding, Finding) for finding in findings), gone, read)


def _stretch(doc: Any, part: Part) -> Stretch | str:
    if not isinstance(doc, list) or len(doc) != 10 or type(doc[8]) is not str or type(doc[9]) is not bool:
        raise ReaderFailed("it answered with something in place of a point")
    if doc[8]:
        return str(doc[8][:_MOST_PROBLEM])
    count, norm, distance, changed, nonfinite, crc, size, value = doc[:8]
    if type(count) is not int or count != part.count:
        raise ReaderFailed(f"it answered with {str(count)[:40]} elements of {part.count}")
    for number in (norm, distance):
        if number is not None and not (type(number) in (int, float) and math.isfinite(number) and number >= 0):
            raise ReaderFailed("it answered with a norm that is none")
    for number in (changed, nonfinite):
        if number is not None and not (type(number) is int and 0 <= number <= count):
            raise ReaderFailed("it answered with a count that is none")
    if crc is not None and not (type(crc) is int and 0 <= crc < 1 << 32):
        raise ReaderFailed("it answered with a checksum that is none")
    if type(size) is not int or size < 0 or not (value is None or type(value) in (int, float)):
        raise ReaderFailed("it answered with a value that is none")
    return Stretch(count, norm, distance, changed, nonfinite or 0, crc, size, value)
