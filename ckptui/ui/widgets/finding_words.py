"""What was found about one tensor, as far as nothing else beside it tells it."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from ckptui.core.model import Finding, Layer, Listing, Tensor, TensorScan
from ckptui.core.report import SIGNS, worst_first
from ckptui.core.text import safe
from ckptui.ui.widgets.subject import NOTHING_ODD, Line

TOLD_BY_GALLERY: dict[str, tuple[str, ...]] = {
    "untouched-filters": ("untouched",),
    "at-initializer": ("untouched",),
    "dead-filters": ("dead", "zero"),
    "duplicate-filters": ("duplicate",),
    "symmetric-filters": ("symmetric",),
    "constant-filters": ("constant",),
}
"""Findings that the words over the gallery tell, as soon as the layer has such counts."""
TOLD_OVER_FILTERS = "implausible-values"
"""The finding the analysis of filters does not know of: where the value is, and what one flipped bit gives back."""
SEVERITY_STYLES = {"error": "$error", "warning": "$warning", "info": "$dim"}


def findings_about(tensor: Tensor, listing: Listing, scan: TensorScan | None) -> list[Finding]:
    """What was found about a tensor, one of each kind."""
    scanned = scan.findings if scan is not None else ()
    found = {f.code: f for f in (*listing.findings, *scanned) if f.tensor == tensor.name}
    return list(found.values())


def finding_lines(findings: Sequence[Finding], layer: Layer | None) -> list[Content]:
    """A line for each, the worst first, but for those that the words over the gallery tell."""
    counts = layer.counts if layer is not None else {}
    hidden = {code for code, keys in TOLD_BY_GALLERY.items() if any(counts.get(key) for key in keys)}
    return [
        Content.styled(f"{SIGNS[f.severity]} {safe(f.title)}", SEVERITY_STYLES[f.severity])
        for f in worst_first([f for f in findings if f.code not in hidden])
    ]


def implausible(findings: Sequence[Finding]) -> Finding | None:
    """The finding about a value that no training makes."""
    return next((f for f in findings if f.code == TOLD_OVER_FILTERS), None)


def over_filters(summary: tuple[Line, ...], odd: Finding | None, *, alone: bool) -> tuple[Line, ...]:
    """The words over filters: with an implausible value something is odd; filters that stand `alone` tell it too."""
    if odd is None:
        return summary
    summary = tuple(line for line in summary if not line[0][0].startswith(NOTHING_ODD))
    words = (f"{SIGNS[odd.severity]} {safe(odd.title)}", SEVERITY_STYLES[odd.severity])
    return ((words,), *summary) if alone else summary
