"""One kernel or embedding looked at filter by filter, in a reader child."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ckptui.core.catalogue import make
from ckptui.core.dtypes import ITEMSIZE
from ckptui.core.filters import analyse
from ckptui.core.initializers import verdict
from ckptui.core.layout import LAYER_LIMIT
from ckptui.core.model import Finding, Layer, Stats, Tensor
from ckptui.core.stats import stats_of
from ckptui.core.text import human_count
from ckptui.engine.facts import pack
from ckptui.engine.opened import OpenReader
from ckptui.engine.witnesses import beside
from ckptui.triage.values import has_moved, value_findings, witness_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckptui.engine.scan import Scanner

CHUNK = 1 << 20
"""Bytes read at a time of a tensor too large to be held."""
SAMPLE_RUN = 512
"""Values looked at of each such piece: neighbours, as pairs of normals are; a multiple of four."""

Siblings = list[tuple[Tensor, Stats | None]]


class Filtering:
    """Looks at the kernels of one open save."""

    def __init__(
        self,
        path: str,
        opened: OpenReader,
        scanner: Scanner,
        whole: Callable[[Tensor], np.ndarray[Any, Any]],
        beat: Callable[[int], None],
    ) -> None:
        """`whole` reads all values of a tensor in their shape; `beat` is told of bytes read besides."""
        self._path, self._opened, self._scanner, self._whole = path, opened, scanner, whole
        self._beat = beat

    def look(self, name: str) -> dict[str, Any]:
        """{"layer", "findings", "skipped"} of one tensor."""
        tensor = self._opened.tensor(name)
        size = max(tensor.bytes, tensor.count * ITEMSIZE.get(tensor.dtype, 1))
        if size > LAYER_LIMIT:
            return answer(None, self._sampled(tensor), f"{size} bytes, {LAYER_LIMIT} at most")
        array = self._whole(tensor)
        layer = self._analysed(tensor, array)
        findings: list[Finding] = []
        if layer is not None:
            said = layer.initializer
            by_shape = said.get("verdict") == "trained" or (said.get("test") == "shape" and said.get("match"))
            siblings = self._siblings(tensor) if by_shape or said.get("verdict") == "at-initializer" else []
            witness = witness_of(tensor, siblings)
            if witness and (by_shape or said.get("test") == "orthogonal"):
                layer = self._analysed(tensor, array, corroborated=True) or layer
            reason = _reason(layer.initializer, witness)
            if reason:
                layer = replace(layer, initializer={**layer.initializer, "reason": reason})
            findings = value_findings(self._path, tensor, stats_of(array, tensor.dtype), layer, siblings)
        return answer(layer, findings)

    def _sampled(self, tensor: Tensor) -> list[Finding]:
        """A tensor too large to be held: is a part of it as its initializer left it?"""
        parts = []
        for chunk in self._opened.reader.chunks(tensor, CHUNK):
            parts.append(chunk[:SAMPLE_RUN].copy())
            self._beat(chunk.nbytes)
        values = np.concatenate(parts)
        said = verdict(values, tensor.role, tensor.initializer, shape=tensor.shape)
        if said.verdict != "at-initializer" or said.certainty == "possible" or said.p_value is None:
            return []
        evidence = {"match": said.match, "p_value": said.p_value, "test": said.test, "values": values.size}
        seen = f"{human_count(values.size)} of {human_count(tensor.count)} values were looked at"
        detail = f"{seen}: all are as {said.match} leaves them"
        return [make("at-initializer", self._path, tensor.name, detail=detail, evidence=evidence, certainty="likely")]

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
        """What may bear witness that the layer never moved, with its statistics; slots only while nothing else moved.

        Most kernels were trained, and the first small tensor shows it.
        """
        found: Siblings = []
        for other in sorted(beside(self._opened, tensor), key=lambda t: (t.role == "slot", t.bytes)):
            stats = self._scanner.scan(other).stats
            found.append((other, stats))
            if has_moved(other, stats):
                break
        return found


def _reason(said: Mapping[str, Any], witness: str) -> str:
    """Why a verdict is no surer; empty for nothing to say."""
    if said.get("verdict") == "trained" and said.get("certainty") == "possible" and witness:
        return f"{witness}: another program may have drawn these values"
    if said.get("verdict") == "trained" and said.get("test") == "pairs":
        return "normals can only be told in pairs of neighbours: single untouched filters would not show"
    return ""


def answer(layer: Layer | None, findings: list[Finding], skipped: str = "") -> dict[str, Any]:
    """What travels to the parent."""
    return {"layer": pack(layer), "findings": pack(findings), "skipped": skipped}
