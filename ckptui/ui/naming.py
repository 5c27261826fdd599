"""What a tensor is called on screen."""

from __future__ import annotations

from ckptui.core.model import Tensor

STORED_TAIL = "/.ATTRIBUTES/VARIABLE_VALUE"
"""The constant end of every variable's key in an object-based checkpoint."""


def own_name(tensor: Tensor) -> str:
    """The variable's own name where the file knows one, else the stored one without its constant tail."""
    return tensor.object_path or tensor.name.removesuffix(STORED_TAIL)
