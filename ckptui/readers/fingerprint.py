"""fingerprint.pb of a SavedModel, and which of the other files it was made with.

`FingerprintDef` of TensorFlow 2.11 and later: `checkpoint_hash` is FarmHash's `Fingerprint64` of variables.index,
`signature_def_hash` runs over names and deterministic bytes of the first meta graph's signatures, joined by
TensorFlow's `FingerprintCat64`. TensorFlow loads a SavedModel whatever its fingerprint says, and without one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ckptui.errors import CkptuiError
from ckptui.readers.farmhash import fingerprint64
from ckptui.readers.graph_facts import Gatherer, Message
from ckptui.readers.graph_wire import walk_wire
from ckptui.readers.source import read_whole
from ckptui.readers.wire import LENGTH, WireError, encode_uvarint, fields

HASHED = 1 << 25
"""Bytes of the largest index that is hashed: two seconds."""
FINGERPRINT_CAP = 1 << 20
GRAPH_CAP = 1 << 26
"""Bytes of the largest graph whose signatures are hashed."""

_MASK = 0xFFFF_FFFF_FFFF_FFFF
_FACTOR = 0xC6A4A7935BD1E995
_META_GRAPHS, _SIGNATURE_DEF = 2, 5
_MAPS = (1, 2, 4)
"""Fields of a SignatureDef that are maps: inputs, outputs, defaults."""

Verdict = Literal["", "matches", "differs", "foreign", "unreadable"]
"""Nothing to compare; made with this index; with this graph and another index; with neither; no fingerprint."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What fingerprint.pb says."""

    facts: Message = field(default_factory=dict)
    """Its fields; empty where the file is absent or can't be read."""
    readable: bool = True
    """False where the file is there and is no fingerprint."""

    @property
    def checkpoint(self) -> int | None:
        """The hash of variables.index; None where it has none."""
        return self.facts.get("checkpoint_hash") or None


def read_fingerprint(path: str) -> Fingerprint:
    """The fingerprint at `path`; unreadable as soon as any byte of it contradicts its format."""
    try:
        data = read_whole(path, FINGERPRINT_CAP)
    except CkptuiError:
        return Fingerprint({}, readable=False)
    gatherer = Gatherer()
    walk_wire(lambda offset, count: data[offset : offset + count], len(data), gatherer, "FingerprintDef")
    if gatherer.damage is not None or not gatherer.root:
        return Fingerprint({}, readable=False)
    return Fingerprint(gatherer.root)


def verdict(fingerprint: Fingerprint, index: str, graph: str) -> tuple[Verdict, int]:
    """Which files the fingerprint was made with, and the hash of the index; for an index that is not damaged.

    A hash that is off by a single bit tells of damage to fingerprint.pb, not of another index. `graph` is the path
    of a binary graph; empty where there is none to be sure of.
    """
    if not fingerprint.readable:
        return "unreadable", 0
    wanted = fingerprint.checkpoint
    if wanted is None:
        return "", 0
    try:
        found = fingerprint64(read_whole(index, HASHED))
        if found == wanted:
            return "matches", found
        if (found ^ wanted).bit_count() == 1:
            return "unreadable", found
        own = graph and signature_hash(read_whole(graph, GRAPH_CAP)) == fingerprint.facts.get("signature_def_hash", 0)
    except CkptuiError:
        return "", 0
    return ("differs" if own else "foreign"), found


def signature_hash(graph: bytes) -> int:
    """The hash of the signatures in the first meta graph of a serialized SavedModel; raises WireError."""
    first = next(
        (value for number, kind, value in fields(memoryview(graph)) if (number, kind) == (_META_GRAPHS, 2)), b""
    )
    if isinstance(first, int):
        raise WireError("a meta graph that is a number", 0)
    signatures: dict[bytes, bytes] = {}
    for number, kind, value in fields(first):
        if number == _SIGNATURE_DEF and kind == LENGTH and not isinstance(value, int):
            entry = {n: bytes(part) for n, k, part in fields(value) if k == LENGTH and not isinstance(part, int)}
            signatures[entry.get(1, b"")] = entry.get(2, b"")
    result = 0
    for name in sorted(signatures):
        result = _join(result, fingerprint64(name))
        result = _join(result, fingerprint64(_in_order(signatures[name])))
    return result


def _in_order(signature: bytes) -> bytes:
    """A SignatureDef's bytes with fields by number and the entries of its maps by key."""
    parts: dict[int, list[bytes]] = {}
    for number, kind, value in fields(signature):
        if kind == LENGTH and not isinstance(value, int):
            parts.setdefault(number, []).append(bytes(value))
    out = []
    for number in sorted(parts):
        values = sorted(parts[number], key=_key) if number in _MAPS else parts[number]
        out += [encode_uvarint(number << 3 | LENGTH) + encode_uvarint(len(value)) + value for value in values]
    return b"".join(out)


def _key(entry: bytes) -> bytes:
    return next((bytes(v) for n, k, v in fields(entry) if (n, k) == (1, LENGTH) and not isinstance(v, int)), b"")


def _join(first: int, second: int) -> int:
    """TensorFlow's `FingerprintCat64`."""
    result = first ^ _FACTOR ^ _mixed(second * _FACTOR & _MASK) * _FACTOR & _MASK
    return _mixed(_mixed(result * _FACTOR & _MASK) * _FACTOR & _MASK)


def _mixed(value: int) -> int:
    return value ^ value >> 47
