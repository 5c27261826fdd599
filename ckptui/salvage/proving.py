"""Asking reader children what the checksums of tensors say, and where Keras wants its variables."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from ckptui.core.model import Found, Tensor
from ckptui.engine.facts import pack_tensors
from ckptui.engine.items import Outcome, run_items
from ckptui.engine.pool import Pool, twice
from ckptui.engine.schedule import plan as tasks_of
from ckptui.errors import Cancelled, CkptuiError, ReaderFailed

Proof = Mapping[str, Any]
BATCH = 2000
"""Tensors described to a child in one request."""


def prove(pool: Pool, found: Found, tensors: Sequence[Tensor], cancel: threading.Event | None) -> dict[str, Proof]:
    """What the parts of each tensor are worth, by name; see `engine.stored.prove`. A tensor whose reader fails twice is
    left out.

    Raises:
        Cancelled: `cancel` was set before the end.
        CkptuiError: no reader child can be had.
    """
    proofs: dict[str, Proof] = {}
    for start in range(0, len(tensors), BATCH):
        batch = tensors[start : start + BATCH]
        names = [tensor.name for tensor in batch]
        args = {"path": found.path, "kind": found.kind, "tensors": pack_tensors(batch)}
        for item in run_items(pool, "prove", args, names, tasks_of(batch), cancel=cancel):
            if isinstance(item, Outcome) and item.error is None:
                proofs[names[item.key]] = _checked(item.doc)
    if cancel is not None and cancel.is_set():
        raise Cancelled("salvage")
    return proofs


def _checked(doc: Any) -> Proof:
    """The answer of a child, if it has the parts it must have."""
    wanted = {"part", "bytes", "expected", "found", "reason", "flip"}
    if not isinstance(doc, dict) or not isinstance(doc.get("parts"), list) or "plausible" not in doc:
        raise ReaderFailed("it answered with no proof")
    for part in doc["parts"]:
        if not isinstance(part, dict) or part.keys() != wanted or type(part["part"]) is not int:
            raise ReaderFailed("it answered with a part that is none")
        flip = part["flip"]
        if flip is not None and not all(type(flip.get(name)) is int for name in ("byte", "bit", "offset")):
            raise ReaderFailed("it answered with a flip that is none")
    return doc


def places_of(pool: Pool, found: Found) -> dict[str, str]:
    """Where Keras' `.weights.h5` keeps the variables of a Keras file, by tensor name; none where nothing tells."""
    try:
        reply = twice(lambda: pool.call("places", {"path": found.path, "kind": found.kind}))
    except CkptuiError:
        return {}
    doc = reply.doc if isinstance(reply.doc, dict) else {}
    return {str(name): str(place) for name, place in doc.items()}
