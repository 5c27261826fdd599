"""The words on a sheet: what was found about a layer, what is drawn of it, what could not be."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from ckptui.core.model import Finding, Layer, Tensor
from ckptui.core.text import human_count, number_text, shape_text

MOST_LINES = 5
"""Findings told of one layer, or of the whole save."""

LETTERS = 165
"""As many fit on a line at least."""
COUNT_WORDS: tuple[tuple[str, str], ...] = (
    ("nonfinite", "not finite"),
    ("zero", "all zero"),
    ("dead", "dead"),
    ("untouched", "untouched"),
    ("constant", "constant"),
    ("duplicate", "duplicate"),
)
VERDICTS = {"at-initializer": "untouched since the initializer", "partly": "partly as initialized"}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of words."""

    tone: str
    """`error`, `warning`, `info`: a finding; `plain` or `dim`: just words."""
    text: str


def lines_of(findings: Sequence[Finding]) -> tuple[Line, ...]:
    """The first of these findings, long ones on several lines."""
    told = [line for finding in findings[:MOST_LINES] for line in _lines(finding)]
    if len(findings) > MOST_LINES:
        told.append(Line("dim", f"… and {len(findings) - MOST_LINES} more"))
    return tuple(told)


def _lines(finding: Finding) -> list[Line]:
    """Title and detail of a finding."""
    sure = "" if finding.certainty == "confirmed" else f" ({finding.certainty})"
    detail = f": {finding.detail}" if finding.detail and finding.detail != finding.title else ""
    pieces = textwrap.wrap(f"{finding.title}{sure}{detail}", LETTERS, max_lines=3, placeholder=" …") or [finding.code]
    return [Line(finding.severity, pieces[0]), *(Line("plain", piece) for piece in pieces[1:])]


def counted(layer: Layer) -> tuple[Line, ...]:
    """`6 all zero, 3 untouched`; and how many are symmetric beside what chance gives, where no finding says so."""
    both = sum(f.dead and f.zero for f in layer.detail)
    counts = {**layer.counts, "dead": max(layer.counts.get("dead", 0) - both, 0)}
    parts = [f"{human_count(counts[key])} {word}" for key, word in COUNT_WORDS if counts.get(key)]
    words = [", ".join(parts)] if parts else []
    if layer.expected_symmetric is not None and not layer.flagged_symmetric:
        symmetric = layer.counts.get("symmetric", 0)
        chance = layer.expected_symmetric
        by_chance = number_text(chance, 2) if chance >= 0.05 else "none"
        words.append(f"{symmetric} of {human_count(layer.filters)} filters mirror-symmetric; chance gives {by_chance}")
    return (Line("plain", " · ".join(words)),) if words else ()


def title_facts(tensor: Tensor, layer: Layer | None) -> str:
    """`3×3×1×32  float32  trained`."""
    words = [tensor.object_path] if tensor.object_path not in tensor.name else []
    words += [shape_text(tensor.shape), tensor.dtype]
    if layer is not None:
        said = layer.initializer
        verdict = str(said.get("verdict") or "")
        words.append(VERDICTS.get(verdict, verdict))
        if verdict == "at-initializer" and said.get("match"):
            words[-1] += f" ({said['match']})"
    return "   ".join(word for word in words if word)
