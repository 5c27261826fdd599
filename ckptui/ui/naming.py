"""What a tensor is called on screen."""

from __future__ import annotations

from ckptui.core.model import Tensor

STORED_TAIL = "/.ATTRIBUTES/VARIABLE_VALUE"
"""The constant end of every variable's key in an object-based checkpoint."""


def own_name(tensor: Tensor) -> str:
    """The variable's own name where the file knows one, else the stored one without its constant tail."""
    return tensor.object_path or without_tail(tensor.name)


def without_tail(name: str) -> str:
    """A stored name without its constant tail, which would push out what tells names apart."""
    return name.removesuffix(STORED_TAIL)
