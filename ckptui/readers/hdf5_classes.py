"""A dataset's datatype class held against the size of the message it stands in.

Each class of numbers has properties of its own length, so a flipped bit in the class leaves a message that is too
long or too short for it. HDF5 File Format Specification, IV.A.2.d "The Datatype Message".
"""

from __future__ import annotations

from ckptui.readers.hdf5_mend import Fault
from ckptui.readers.hdf5_structures import DATATYPE, Structures

_SIZES = {0: 16, 1: 24, 3: 8, 4: 16}
"""Bytes of the message of a fixed-point number, a floating-point number, a string and a bit field."""
_VARYING = frozenset(range(5, 11))
"""Opaque, compound, reference, enumeration, variable length, array: as long as their content."""


def class_fault(structures: Structures, address: int) -> Fault | None:
    """The class byte of a dataset's type where one flipped bit explains the size of its message; None elsewhere."""
    for message in structures.messages(address) or ():
        if message.kind != DATATYPE or not message.data:
            continue
        stored = message.data[0]
        if _SIZES.get(stored & 15, 0) == len(message.data):
            return None
        right = [stored ^ 1 << bit for bit in range(4) if _SIZES.get((stored ^ 1 << bit) & 15, 0) == len(message.data)]
        # A bit field is a number without a sign that no writer of weights uses.
        right = [one for one in right if one & 15 != 4] or right
        if len(right) != 1 or stored & 15 in _VARYING:
            return None
        told = f"has a type of class {stored & 15}; the size of its message is that of class {right[0] & 15}"
        at = structures.base + message.at
        return Fault("header", at, address, f"{right[0]:02x}", f"{stored:02x}", told, "object-header")
    return None
