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
from ckptui.engine.witnesses import beside
from ckptui.triage.values import value_findings, witness_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from ckptui.engine.scan import Scanner

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
        layer = self._analysed(tensor, array)
        findings: list[Finding] = []
        if layer is not None:
            said = layer.initializer
            by_shape = said.get("test") == "shape" and said.get("match")
            siblings = self._siblings(tensor) if by_shape or said.get("verdict") == "at-initializer" else []
            if by_shape and witness_of(tensor, siblings):
                layer = self._analysed(tensor, array, corroborated=True) or layer
            findings = value_findings(self._path, tensor, stats_of(array, tensor.dtype), layer, siblings)
        return answer(layer, findings)

    def _analysed(self, tensor: Tensor, array: np.ndarray[Any, Any], *, corroborated: bool = False) -> Layer | None:
        return analyse(
            array,
            tensor.name,
            tensor.layer,
            tensor.role,
            initializer=tensor.initializer,
            object_path=tensor.object_path,
            corroborated=corroborated,
            axes=self._opened.axes(tensor),
        )

    def _siblings(self, tensor: Tensor) -> Siblings:
        """What may bear witness that the layer never moved, with its statistics."""
        return [(other, self._scanner.scan(other).stats) for other in beside(self._opened, tensor)]


def answer(layer: Layer | None, findings: list[Finding], skipped: str = "") -> dict[str, Any]:
    """What travels to the parent."""
    return {"layer": pack(layer), "findings": pack(findings), "skipped": skipped}
