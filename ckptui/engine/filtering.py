"""One kernel or embedding looked at filter by filter, in a reader child."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckptui.core.dtypes import ITEMSIZE
from ckptui.core.filters import analyse
from ckptui.core.layout import LAYER_LIMIT
from ckptui.core.model import Finding, Layer, Stats, Tensor
from ckptui.core.stats import stats_of
from ckptui.engine.facts import pack
from ckptui.engine.opened import OpenReader
from ckptui.triage.values import value_findings

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from ckptui.engine.scan import Scanner

SIBLING_LIMIT = 1 << 20
"""Largest neighbour, in bytes, read to see whether it is exactly zero."""

Siblings = list[tuple[Tensor, Stats | None]]


class Filtering:
    """Looks at the kernels of one open save."""

    def __init__(
        self, path: str, opened: OpenReader, scanner: Scanner, whole: Callable[[Tensor], np.ndarray[Any, Any]]
    ) -> None:
        """`whole` reads all values of a tensor in their shape."""
        self._path, self._opened, self._scanner, self._whole = path, opened, scanner, whole

    def look(self, name: str) -> dict[str, Any]:
        """{"layer", "findings", "skipped"} of one tensor."""
        tensor = self._opened.tensor(name)
        size = max(tensor.bytes, tensor.count * ITEMSIZE.get(tensor.dtype, 1))
        if size > LAYER_LIMIT:
            return {"layer": None, "findings": [], "skipped": f"{size} bytes, {LAYER_LIMIT} at most"}
        array = self._whole(tensor)
        siblings = self._siblings(tensor)
        zero = any(stats is not None and stats.count and stats.zeros == stats.count for _, stats in siblings)
        layer = analyse(
            array,
            tensor.name,
            tensor.layer,
            tensor.role,
            initializer=tensor.initializer,
            object_path=tensor.object_path,
            corroborated=zero,
            axes=self._opened.axes(tensor),
        )
        findings: list[Finding] = []
        if layer is not None:
            findings = value_findings(self._path, tensor, stats_of(array, tensor.dtype), layer, siblings)
        return answer(layer, findings)

    def _siblings(self, tensor: Tensor) -> Siblings:
        """Small tensors of the same layer, with their statistics."""
        return [
            (other, self._scanner.scan(other).stats)
            for other in self._opened.neighbours(tensor)
            if other.role in ("bias", "beta", "slot") and other.bytes <= SIBLING_LIMIT
        ]


def answer(layer: Layer | None, findings: list[Finding], skipped: str = "") -> dict[str, Any]:
    """What travels to the parent."""
    return {"layer": pack(layer), "findings": pack(findings), "skipped": skipped}
