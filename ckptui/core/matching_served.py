"""Which weight a slot serves and what it holds of it, by what the slot is called."""

from __future__ import annotations

import re
from collections.abc import Hashable

from ckptui.core.matching_sides import Side, own_name
from ckptui.core.model import Tensor
from ckptui.core.names import clean

MOST_WORDS = 6
"""Words before and after a weight's name in the joined name of its slot, at most."""
_SLOT_KEY = re.compile(r"(.*)/\.OPTIMIZER_SLOT/.*?/([^/]+)")
_KINDS = {
    "m": "first",
    "momentum": "first",
    "momentums": "first",
    "v": "second",
    "velocity": "second",
    "velocities": "second",
    "rms": "second",
    "u": "norm",
    "mg": "average_gradient",
    "vhat": "velocity_hat",
    "accum_grad": "accumulated_grad",
    "accum_var": "accumulated_delta_var",
}
_OF_TF1 = {
    "Adam": ("first", "second"),
    "AdamAsync": ("first", "second"),
    "Momentum": ("first",),
    "RMSProp": ("second", "first"),
    "Adagrad": ("accumulator",),
    "Adadelta": ("accumulated_grad", "accumulated_delta_var"),
    "Ftrl": ("accumulator", "linear"),
}
"""What the slots named after a TF1 optimizer hold, in the order in which it made them."""

Served = tuple[str, str]
"""(stored name of a weight of the same save, what the slot holds of it)"""


class SlotNames:
    """Which weight of its save a slot serves, by its name."""

    def __init__(self, side: Side) -> None:
        self._stored: dict[str, str] = {}
        self._joined: dict[Hashable, str | None] = {}
        for t in side.weights:
            self._stored[clean(t.name)] = t.name
            for path in {own_name(t) or clean(t.name), clean(t.name)}:
                for key in (path.replace("/", "_"), (path.replace("/", "_"), t.shape)):
                    self._joined[key] = None if self._joined.get(key, t.name) != t.name else t.name
        self.side = side

    def of(self, slot: Tensor) -> Served | None:
        """The weight and what is held of it; None where the name does not tell, or could tell several."""
        stored = clean(slot.name) if "/.OPTIMIZER_SLOT/" not in slot.name else slot.name.partition("/.ATTRIBUTES")[0]
        key = _SLOT_KEY.fullmatch(stored)
        if key is not None:
            weight = self._stored.get(key[1])
            return None if weight is None else (weight, _KINDS.get(key[2], key[2]))
        name = own_name(slot) or stored
        head, _, last = name.rpartition("/")
        base, _, number = last.partition("_")
        if base in _OF_TF1 and (not number or number.isdigit()):
            return self._weight(head, slot, _nth(base, int(number or 0)))
        return self._of_keras(name, slot)

    def _weight(self, path: str, slot: Tensor, kind: str) -> Served | None:
        joined = path.replace("/", "_")
        weight = self._joined.get(joined)
        if weight is None:
            weight = self._joined.get((joined, slot.shape))
        return None if weight is None else (weight, kind)

    def _of_keras(self, name: str, slot: Tensor) -> Served | None:
        """By the longest part of the name that is a weight's, its parts joined by `_`."""
        parts = name.split("/")
        for start in range(1, len(parts)):
            words = parts[start:]
            if len(words) > 1:
                found = None
                if words[0] in _KINDS or words[0] in _KINDS.values():
                    found = self._weight("/".join(words[1:]), slot, _KINDS.get(words[0], words[0]))
                found = found or self._weight("/".join(words[:-1]), slot, _KINDS.get(words[-1], words[-1]))
                if found is not None:
                    return found
        joined = "_".join(parts[1:]).split("_")
        for first in range(min(MOST_WORDS, len(joined))):
            for last in range(len(joined) - 1, max(len(joined) - 1 - MOST_WORDS, first), -1):
                kind = "_".join(joined[last:])
                found = self._weight("_".join(joined[first:last]), slot, _KINDS.get(kind, kind))
                if found is not None:
                    return found
        return None


def _nth(base: str, number: int) -> str:
    kinds = _OF_TF1[base]
    return kinds[number] if number < len(kinds) else f"{base}_{number}"
