"""Plain-text tables and the words for findings, shared by commands and screens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ckptui.core.model import SEVERITY_RANK, Finding, PairStatus
from ckptui.core.names import clean
from ckptui.core.naming import PLAIN, Naming
from ckptui.core.text import safe

SIGNS: dict[str, str] = {"error": "✖", "warning": "▲", "info": "·", "ok": "✔", "unchecked": "○"}
PAIR_STATUSES: tuple[PairStatus, ...] = (
    "unreadable",
    "shape-changed",
    "dtype-changed",
    "changed",
    "only-a",
    "only-b",
    "identical",
)
"""In the order in which a diff shows them."""
CERTAINTIES = ("confirmed", "likely", "possible")
SEEN_BITS = "about 4 % of flipped bits can show"
"""What is to be known of values that no checksum vouches for."""
ASCII_SIGNS: dict[str, str] = {"error": "x", "warning": "!", "info": "-", "ok": "+", "unchecked": "o"}


def _count(evidence: Mapping[str, Any], *names: str) -> int:
    total = 0
    for name in names:
        value = evidence.get(name, 0)
        total += len(value) if isinstance(value, (list, tuple)) else int(value or 0)
    return total


def _nonfinite(finding: Finding) -> str:
    nan, inf = _count(finding.evidence, "nan"), _count(finding.evidence, "posinf", "neginf")
    if nan and inf:
        return f"NaN {nan} inf {inf}"
    return f"inf {inf}" if inf else f"NaN {nan}"


def _untouched(finding: Finding) -> str:
    """`5 untouched` filters, `103 inputs untouched`, or `partly untouched` where none can be named."""
    if count := _count(finding.evidence, "untouched"):
        return f"{count} untouched"
    rows = _count(finding.evidence, "rows")
    return f"{rows} inputs untouched" if rows else "partly untouched"


def _counted(word: str, *names: str) -> Callable[[Finding], str]:
    def words(finding: Finding) -> str:
        count = _count(finding.evidence, *names)
        return f"{count} {word}" if count else word

    return words


STATE_WORDS: dict[str, str | Callable[[Finding], str]] = {
    "checksum-mismatch": "checksum",
    "zero-filled": "zero-filled",
    "shard-missing": "unreadable",
    "shard-truncated": "cut off",
    "entry-invalid": "bad entry",
    "duplicate-key": "twice",
    "index-data-mismatch": "other save",
    "hdf5-damaged": "unreadable",
    "zip-damaged": "unreadable",
    "reader-crashed": "crashes reader",
    "changed-while-reading": "changing",
    "shape-mismatch": "wrong shape",
    "weights-missing": "missing",
    "weights-unexpected": "unexpected",
    "external-reference": "elsewhere",
    "unsupported-format": "not read",
    "name-hostile": "odd name",
    "non-finite": _nonfinite,
    "implausible-values": "implausible",
    "all-zero": "all zero",
    "constant": "constant",
    "at-initializer": "untouched",
    "untouched-filters": _untouched,
    "symmetric-filters": _counted("symmetric", "symmetric"),
    "duplicate-filters": _counted("duplicate", "duplicate", "duplicates"),
    "dead-filters": _counted("dead", "dead", "zero"),
    "constant-filters": _counted("constant", "constant"),
    "statistics-at-initial": "at initial",
    "statistics-implausible": "negative",
    "normalization-unadapted": "not adapted",
    "generator-unused": "never drew",
    "slots-at-zero": "slots 0",
}


def state_word(finding: Finding) -> str:
    """The word a tensor's row shows for this finding: `NaN 12`, `5 untouched`, `unreadable`, `at initial`."""
    word = STATE_WORDS.get(finding.code, finding.code.replace("-", " "))
    return word if isinstance(word, str) else word(finding)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Errors, warnings, infos; the sure ones before the likely in each, else the order as it was."""
    return sorted(findings, key=lambda f: (-SEVERITY_RANK[f.severity], CERTAINTIES.index(f.certainty)))


def counts_text(findings: Iterable[Finding]) -> str:
    """`2 errors, 1 warning`; empty without either."""
    found = list(findings)
    parts = []
    for severity in ("error", "warning"):
        count = sum(f.severity == severity for f in found)
        if count:
            parts.append(f"{count} {severity}{'s' if count != 1 else ''}")
    return ", ".join(parts)


def finding_lines(finding: Finding, *, ascii_only: bool = False, naming: Naming = PLAIN) -> list[str]:
    """A finding for people: one line that says it, and indented lines of detail and advice."""
    sign = (ASCII_SIGNS if ascii_only else SIGNS)[finding.severity]
    where = _where(finding, naming)
    sure = "" if finding.certainty == "confirmed" else f" ({finding.certainty})"
    lines = [f"{sign} {finding.code}{sure}  {where}", f"    {safe(finding.title)}"]
    if finding.detail and finding.detail != finding.title:
        lines.append(f"    {safe(finding.detail)}")
    if finding.advice:
        lines.append(f"    -> {safe(finding.advice)}")
    return lines


def _where(finding: Finding, naming: Naming) -> str:
    """Path and tensor; the path only where it is news, and the tensor's own name beside the stored one."""
    path, tensor = safe(finding.artifact), finding.tensor
    if not tensor:
        return path
    own = naming.own.get((finding.artifact, tensor))
    said = safe(clean(tensor) if own else tensor) + (f" ({safe(own)})" if own else "")
    return said if finding.artifact == naming.save else f"{path}  {said}"


STATE_WORDS_OF_ROLES: dict[str, str] = {
    "slot": "optimizer slot",
    "counter": "counter",
    "step": "counter",
    "rng-state": "generator state",
    "metric": "metric",
}
"""What goes on with every step of training, by role: told after the weights."""
VERDICTS: dict[str, str] = {
    "identical": "Identical weights",
    "same-run": "The same run",
    "fine-tuned": "B is fine-tuned from A",
    "related": "Related",
    "independent": "Independent trainings",
    "different-architecture": "Different architectures",
}


def relation_words(relation: Mapping[str, Any], shown: Callable[[str], str] = safe) -> tuple[str, str]:
    """What two saves are to each other with how sure that is, and why; `shown` makes text from files harmless."""
    verdict = str(relation.get("verdict", ""))
    certainty = str(relation.get("certainty", ""))
    words = VERDICTS.get(verdict, shown(verdict))
    sure = "" if certainty in ("", "confirmed") else f" ({shown(certainty)})"
    evidence = relation.get("evidence")
    reason = str(evidence.get("reason", "")) if isinstance(evidence, Mapping) else ""
    return f"{words}{sure}" if words else "", shown(reason)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Columns wide enough for their cells, two spaces apart; `right` names right-aligned columns by number.

    Cells are taken as they are: pass untrusted text through `safe` first.
    """
    right_aligned = set(right)
    widths = [len(h) for h in headers]
    for row in rows:
        for column, cell in enumerate(row):
            widths[column] = max(widths[column], len(cell))

    def line(cells: Sequence[str]) -> str:
        parts = [
            cell.rjust(widths[column]) if column in right_aligned else cell.ljust(widths[column])
            for column, cell in enumerate(cells)
        ]
        return "  ".join(parts).rstrip()

    return [line(headers), *(line(row) for row in rows)]
