"""From what went wrong in an HDF5 file to findings: the cause once, each object it cost by name.

A cut, a writer that was killed, and zeros at the end explain every loss behind them; a structure that is damaged in
itself is named with the bytes that were expected and found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ckptui.core.model import Certainty, Finding
from ckptui.core.sayings import says
from ckptui.core.text import human_bytes, safe
from ckptui.readers.hdf5_intake import Intake, Loss
from ckptui.readers.hdf5_mend import called
from ckptui.readers.hdf5_open import Opened
from ckptui.readers.hdf5_overlaps import overlaps, structure_places
from ckptui.readers.hdf5_rescue import Rescue, root_pointer
from ckptui.readers.hdf5_structures import Structures, structure_from
from ckptui.readers.keras_findings import in_words, limited, listed, note

SMALLEST_WRONG_END = 4096
"""An end that is one bit off by less is taken for a cut."""
_NO_END = 1 << 60


@dataclass(slots=True)
class Damage:
    """Everything known about one HDF5 file that speaks of damage."""

    opened: Opened
    intake: Intake
    rescue: Rescue
    path: str
    label: str
    start: int
    """Where the HDF5 file begins in the file; 0 where it was unpacked into memory."""
    available: int
    restored: tuple[str, ...] = ()
    """Groups whose names were given back."""
    missing: Mapping[str, Any] = field(default_factory=dict)
    """Weights that the architecture or Keras' attributes name and the file does not show: `count`, `names`."""

    @property
    def lost(self) -> list[str]:
        """Rows that can't be read because of the damage."""
        return [name for name, facts in self.intake.described.items() if facts.problem and facts.code == "hdf5-damaged"]

    def findings(self) -> list[Finding]:
        """The causes, then what they cost."""
        roots = self._whole_file()
        roots += _superblock(self) + self._end()
        explained = bool(roots) and self.explains
        roots += self._faults(explained)
        if not roots and self.opened.error:
            told = f"HDF5 can't open it: {self.opened.error}"
            roots.append(self.note(told, evidence={"tensorflow_says": self.opened.error}))
        rest = _before(self) + _overlaps(self) + self._objects() + self._others(bool(roots), explained) + _notes(self)
        return [*roots, *limited(rest)]

    @property
    def harmed(self) -> bool:
        """Whether damage may have cost objects that are not even listed."""
        structural = any(loss.kind in ("root", "object", "links") for loss in self.intake.losses)
        return structural or bool(self.lost) or bool(self.opened.error)

    @property
    def unnamed_weights(self) -> bool:
        """Whether attributes that name layers and weights are lost: what is missing can't be told then."""
        names = ("layer_names", "weight_names", "name")
        return any(loss.kind == "attribute" and loss.attribute in names for loss in self.intake.losses)

    @property
    def end_is_wrong(self) -> bool:
        """The file is whole, the end its superblock declares is not: one bit of it is off, or it makes no sense."""
        block = self.opened.superblock
        if block.end >= _NO_END or block.end < 0:
            return True
        missing = block.end - self.available
        one_bit = (block.end ^ self.available).bit_count() == 1
        return missing >= SMALLEST_WRONG_END and one_bit and not self.lost and not self.intake.losses

    # ------------------------------------------------------------------ causes

    @property
    def explains(self) -> bool:
        """Whether the first cause is one that costs objects anywhere in the file."""
        opened = self.opened
        cut = opened.cut and not self.end_is_wrong
        return cut or bool(opened.superblock.flags & 1) or self.rescue.zeros_from is not None

    def _whole_file(self) -> list[Finding]:
        if self.opened.cut and not self.end_is_wrong:
            return [self._cut_off()]
        if self.opened.superblock.flags & 1:
            return [self._not_closed()]
        if self.rescue.zeros_from is not None:
            return [self._zeros(self.rescue.zeros_from)]
        return []

    def _cut_off(self) -> Finding:
        block, size = self.opened.superblock, self.available
        missing = block.end - size
        detail = (
            f"cut off: {size} of {block.end} bytes are there, {human_bytes(missing)} missing; "
            "what lies before the cut is shown"
        )
        facts = {
            "expected": block.end,
            "found": size,
            "bytes_missing": missing,
            "tensorflow_says": says(
                "short-hdf5", found=size, base=block.at, expected=block.end - block.shift + block.at
            ),
        }
        return self.note(detail, title="The HDF5 file is cut off", evidence=facts | _cost(self))

    def _not_closed(self) -> Finding:
        block = self.opened.superblock
        detail = f"its superblock says it is still open for writing (flags {block.flags})"
        facts: dict[str, Any] = {"flags": block.flags, "version": block.version, "offset": block.at + block.flags_at}
        if block.end != self.available:
            facts |= {"expected": block.end, "found": self.available}
            detail += f", and that it ends at {block.end}; it has {self.available} bytes"
        if block.version >= 2:
            facts["tensorflow_says"] = says("open-for-write")
        elif self.opened.error or self.intake.losses:
            facts["tensorflow_says"] = self.opened.error or self.intake.losses[0].text
        cost = _cost(self)
        harmed = bool(cost) or bool(self.opened.error) or bool(self.intake.losses)
        if self.opened.error or any(loss.kind == "root" for loss in self.intake.losses):
            detail += "; its groups were never written"
        return note(
            "hdf5-not-closed",
            self.path,
            in_member(self.label, detail),
            evidence=self.place(facts | cost),
            severity="error" if harmed else None,
        )

    def _zeros(self, begin: int) -> Finding:
        size = self.available - begin
        detail = f"only zeros from byte {begin} to the end ({human_bytes(size)}), where groups or values should be"
        words = [loss.text for loss in self.intake.losses]
        facts: dict[str, Any] = {"offset": self.start + begin, "bytes": size, "found": self.available}
        facts["tensorflow_says"] = words[0] if words else self.opened.error or says("object-type")
        return note("zero-filled", self.path, in_member(self.label, detail), evidence=self.place(facts | _cost(self)))

    def _end(self) -> list[Finding]:
        """The declared end does not fit: it was changed, or something was appended."""
        block, size = self.opened.superblock, self.available
        if block.flags & 1 or block.end == size or (self.opened.cut and not self.end_is_wrong):
            return []
        facts: dict[str, Any] = {"expected": size, "found": block.end, "offset": self.start + block.at + block.end_at}
        if block.end > size or block.end < 0:
            facts["tensorflow_says"] = says("short-hdf5", found=size, base=block.at, expected=block.end)
        else:
            beyond = _reaches_beyond(self, block.end)
            if beyond is None:
                detail = f"its superblock says it ends at {block.end}, it has {size} bytes"
                extra = {"expected": block.end, "found": size, "bytes_extra": size - block.end}
                title = "The HDF5 file is longer than it says"
                advice = "HDF5 ignores the extra bytes; look who appended them."
                return [self.aside(title, detail, extra, certainty="confirmed", advice=advice)]
            facts["tensorflow_says"] = says("address-overflow", addr=beyond[0], size=beyond[1], eoa=block.end)
        detail = f"its superblock says it ends at {block.end}; what is in it ends at {size}, where the file does"
        return [self.note(detail, title="The superblock's end of file is wrong", evidence=facts | _cost(self))]

    def _faults(self, explained: bool) -> list[Finding]:
        found = []
        for fault in self.rescue.faults:
            if explained and not fault.mended:
                continue
            path = self.rescue.paths.get(fault.owner)
            where = "an object" if path is None else f"/{safe(path, 200)}"
            kind = called(fault)
            tensor = path if path in self.intake.described else None
            detail = f"{kind} of {where} at byte {fault.at}: {fault.told}" + ("; read mended" if fault.mended else "")
            facts = {
                "structure": kind,
                "object": None if path is None else f"/{path}",
                "offset": self.start + fault.at,
                "expected": fault.expected,
                "found": fault.found,
                "mended": fault.mended,
            }
            if fault.saying:
                facts["tensorflow_says"] = says(fault.saying, layer=getattr(fault, "name", ""))
            title = f"A {kind} is damaged" if kind[0] not in "aeiou" else f"An {kind} is damaged"
            found.append(self.note(detail, tensor=tensor, title=title, evidence=facts))
        return limited(found)

    # ------------------------------------------------------------------ what it cost

    def _objects(self) -> list[Finding]:
        """A finding for each row that can't be read."""
        found = []
        named = {self.rescue.paths.get(fault.owner) for fault in self.rescue.faults if not fault.mended}
        words = {loss.path: loss.text for loss in self.intake.losses if loss.kind == "object"}
        for name, facts in self.intake.described.items():
            if not facts.code or facts.code == "unsupported-format" or (name in named and not self.explains):
                continue
            evidence = dict(facts.evidence)
            if name in words:
                evidence |= {"tensorflow_says": words[name]}
                address = self.intake.addresses.get(name, -1)
                evidence |= {"offset": self.start + self.opened.superblock.at + address} if address >= 0 else {}
            title = "A dataset can't be read" if facts.code == "hdf5-damaged" else None
            detail = f"{safe(name, 200)}: {facts.problem or evidence.pop('told', '')}"
            title = title if facts.problem else "A dataset's type is damaged"
            found.append(note(facts.code, self.path, detail, tensor=name, evidence=evidence, title=title))
        return found

    def _others(self, rooted: bool, explained: bool) -> list[Finding]:
        """Groups, attributes and texts that can't be read, where no cause above stands for them."""
        heaps = sorted(self.opened.window.broken_heaps)
        found = []
        losses = [loss for loss in self.intake.losses if loss.kind in ("links", "attribute", "root", "caps")]
        if heaps and not explained:
            attributes = [loss for loss in losses if loss.kind == "attribute"]
            losses = [loss for loss in losses if loss.kind != "attribute"]
            facts: dict[str, Any] = {"structure": "global heap", "offset": self.start + heaps[0]} | listed(
                [f"/{loss.path}@{loss.attribute}" for loss in attributes]
            )
            if attributes:
                facts["tensorflow_says"] = attributes[0].text
            for heap in heaps:
                told = f"the text stored at byte {heap} (a global heap) is damaged"
                found.append(self.note(told, evidence=facts | {"offset": self.start + heap}))
        damaged = {self.rescue.paths.get(fault.owner) for fault in self.rescue.faults}
        together: dict[str, list[Loss]] = {}
        for loss in losses:
            if explained or (rooted and loss.kind == "root") or (loss.kind == "links" and loss.path in damaged):
                continue
            # One damaged header, or one damaged heap of texts, costs several attributes.
            heap = loss.kind == "attribute" and "read data" in loss.text
            together.setdefault("heap" if heap else f"{loss.kind} {loss.path}", []).append(loss)
        return found + [self._loss(group) for group in together.values()]

    def _loss(self, group: list[Loss]) -> Finding:
        loss = group[0]
        where = f"/{safe(loss.path, 200)}"
        attributes = [f"{one.attribute} of /{safe(one.path, 200)}" for one in group]
        told = {
            "links": f"the links in {where} can't all be listed: {loss.text}",
            "attribute": f"attribute {in_words(attributes)}: {loss.text}",
            "root": f"its root can't be read: {loss.text}",
        }.get(loss.kind, loss.text)
        facts: dict[str, Any] = {"tensorflow_says": loss.text} if loss.kind != "caps" else {}
        facts |= {"attributes": listed(attributes)} if loss.kind == "attribute" else {}
        if loss.address >= 0:
            facts["offset"] = self.start + self.opened.superblock.at + loss.address
        return self.note(told, evidence=facts | ({"object": where} if loss.path else {}))

    def aside(
        self,
        title: str,
        detail: str,
        facts: Mapping[str, Any],
        *,
        certainty: Certainty = "likely",
        advice: str | None = None,
    ) -> Finding:
        """A warning about the file."""
        return note(
            "hdf5-damaged",
            self.path,
            in_member(self.label, detail),
            evidence=self.place(facts),
            severity="warning",
            certainty=certainty,
            title=title,
            advice=advice,
        )

    def place(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """The evidence with the file, and the archive's member, it is about."""
        return {"file": self.path} | ({"member": self.label} if self.label else {}) | dict(facts)

    def note(
        self, detail: str, *, evidence: Mapping[str, Any], title: str | None = None, tensor: str | None = None
    ) -> Finding:
        """An `hdf5-damaged` error."""
        facts = self.place(evidence)
        return note(
            "hdf5-damaged", self.path, in_member(self.label, detail), tensor=tensor, evidence=facts, title=title
        )


def in_member(label: str, detail: str) -> str:
    """The detail with the archive's member before it, if there is one."""
    return f"{label}: {detail}" if label else detail


def _cost(damage: Damage) -> dict[str, Any]:
    """Evidence of what was lost: rows that can't be read, weights that are not even listed."""
    lost = damage.lost
    facts: dict[str, Any] = {"lost": listed(lost)} if lost else {}
    return facts | ({"weights_lost": dict(damage.missing)} if damage.missing else {})


def _reaches_beyond(damage: Damage, end: int) -> tuple[int, int] | None:
    """(address, size) of something that lies behind the declared end; None where nothing does."""
    for name, facts in damage.intake.described.items():
        segment = facts.storage.segment
        if segment is not None and segment.offset - damage.start + segment.bytes > end:
            return segment.offset - damage.start, segment.bytes
        address = damage.intake.addresses.get(name, -1)
        if address + damage.opened.superblock.at >= end:
            return address, 16
    return structure_from(damage.opened.window, end)


def _overlaps(damage: Damage) -> list[Finding]:
    structures = Structures(damage.opened.window, damage.opened.superblock.at)
    root = root_pointer(structures, damage.opened)
    raw = damage.opened.superblock.raw
    # Nodes of other sizes than h5py's are larger.
    leaf, inner = (min(usual, int.from_bytes(raw[at : at + 2], "little")) for at, usual in ((16, 4), (18, 16)))
    places = structure_places(structures, root.to, leaf, inner) if root is not None else ()
    found = []
    for one in overlaps(damage.intake.described, [(damage.start + at, size) for at, size in places]):
        detail = f"{safe(one.name, 200)} claims {one.bytes} bytes at {one.offset} that {safe(one.other, 200)} has too"
        facts = damage.place({"offset": one.offset, "bytes": one.bytes, "other": one.other})
        title = "A dataset where something else is"
        found.append(note("entry-invalid", damage.path, detail, tensor=one.name, evidence=facts, title=title))
    return found


def _before(damage: Damage) -> list[Finding]:
    """Bytes before the signature that no user block accounts for: the stored addresses do not know of them."""
    block = damage.opened.superblock
    if not block.shift or damage.opened.flaws or damage.label:
        return []
    detail = f"{block.at} bytes stand before its signature, which its addresses do not count"
    title = "Bytes stand before the HDF5 file"
    advice = "HDF5 reads it all the same; look who put them there."
    facts = {"offset": damage.start, "bytes": block.at, "expected": block.at - block.shift, "found": block.at}
    return [damage.aside(title, detail, facts, certainty="confirmed", advice=advice)]


def _superblock(damage: Damage) -> list[Finding]:
    """Bytes of the superblock that contradict the rest and were read as what they must be."""
    found = []
    for flaw in damage.opened.flaws:
        detail = f"superblock, byte {flaw.at}: {flaw.told}; read as if it were right"
        facts = {
            "structure": "superblock",
            "offset": damage.start + flaw.at,
            "expected": flaw.expected.hex(),
            "found": flaw.found.hex(),
            "tensorflow_says": damage.opened.refusal,
        }
        found.append(damage.note(detail, title="The superblock is damaged", evidence=facts))
    return found


def _notes(damage: Damage) -> list[Finding]:
    """What was found again, and how sure that is."""
    found = []
    for path in damage.restored:
        detail = f"the names in /{safe(path, 200)} are lost; they follow from the layers Keras lists elsewhere"
        found.append(damage.aside("Lost names given back", detail, {}))
    carved = [name for name in damage.rescue.carved if "unnamed@" in name]
    if carved:
        detail = f"{in_words(carved)}: found by their object headers, no link leads to them"
        found.append(damage.aside("Datasets found without their names", detail, listed(carved)))
    linked = [name for name in damage.rescue.carved if "unnamed@" not in name]
    if linked:
        detail = f"{in_words(linked)}: read in spite of a damaged group above them"
        found.append(damage.aside("Datasets found behind a damaged group", detail, listed(linked)))
    return found
