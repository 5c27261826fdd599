"""What `ckptui diff` prints: two saves held against each other, as a document, text, and Markdown for a ticket."""

from __future__ import annotations

import math
import os
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckptui.core.markdown import markdown_name, markdown_table, markdown_text
from ckptui.core.model import Artifact, DiffReport, Finding, Listing, Pair, PairStatus, Tensor, jsonable
from ckptui.core.names import clean
from ckptui.core.naming import Naming, naming_of, own_names
from ckptui.core.report import STATE_WORDS_OF_ROLES, relation_words, table, worst_first
from ckptui.core.text import human_count, middle, number_text, safe, shape_text, shorten_name
from ckptui.output import findings_json, findings_text

STATUSES: tuple[PairStatus, ...] = (
    "unreadable",
    "shape-changed",
    "dtype-changed",
    "changed",
    "only-a",
    "only-b",
    "identical",
)
"""In the order in which they are shown."""
STATUS_WORDS: dict[str, str] = {
    "shape-changed": "other shape",
    "dtype-changed": "other dtype",
    "only-a": "only in A",
    "only-b": "only in B",
}
FEW_STATES = 8
"""Up to so many rows of training state are shown one by one."""
WIDTH = 100
LEAST_NAME = 24
TICKET_ROWS = 40
"""Rows of the table in Markdown."""
COUNTERS_SHOWN = 4
CONFIG = "config-changed"


@dataclass(frozen=True, slots=True)
class DiffView:
    """A diff and how it is to be shown."""

    report: DiffReport
    a: Listing
    b: Listing
    only: tuple[str, ...] = ()
    """Statuses whose pairs are shown; all of them where empty. The summary and the relation are of all pairs."""
    fail_above: float | None = None
    in_full: bool = False
    """Rows of training state are what was asked for."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """What stands for a save that is not at hand: `A` -> `digest a.json`."""

    @property
    def pairs(self) -> list[Pair]:
        """The pairs shown."""
        return [pair for pair in self.report.pairs if not self.only or pair.status in self.only]

    @property
    def shown(self) -> list[Pair]:
        """The pairs that get a row, the worst first: all but identical ones, and these too where they are asked for."""
        pairs = [pair for pair in self.pairs if pair.status != "identical" or "identical" in self.only]
        return sorted(pairs, key=lambda p: (STATUSES.index(p.status), -apart(p)))


def apart(pair: Pair) -> float:
    """How far a pair is apart for sorting and for thresholds: infinity where no number tells."""
    if pair.status == "identical":
        return 0.0
    change = pair.relative_l2
    return math.inf if change is None or not math.isfinite(change) or pair.left_out else change


def is_difference(pair: Pair, above: float | None) -> bool:
    """Whether a pair counts as one: everything but identical ones, and distances that are not above the threshold."""
    if pair.status == "identical":
        return False
    return above is None or pair.status not in ("changed", "dtype-changed") or apart(pair) > above


def diff_document(view: DiffView) -> dict[str, Any]:
    """`ckptui/diff/1`; `only`, `fail_above` and `origin` where the call has them."""
    report = view.report
    asked: dict[str, Any] = {}
    if view.only:
        asked["only"] = list(view.only)
    if view.fail_above is not None:
        asked["fail_above"] = view.fail_above
    if report.origin is not None:
        asked["origin"] = report.origin.to_json()
    return {
        "schema": "ckptui/diff/1",
        "a": report.a.to_json(),
        "b": report.b.to_json(),
        **asked,
        "pairs": [p.to_json() for p in view.pairs],
        "summary": report.summary,
        "relation": jsonable(dict(report.relation)),
        "findings": findings_json(report.findings),
    }


# ------------------------------------------------------------------ text


def diff_text(view: DiffView) -> list[str]:
    """Both saves, what they are to each other, changed weights by relative change, training state, the rest counted."""
    report = view.report
    lines = [*_head(view), "", *_relation_lines(report)]
    configs = [f for f in report.findings if f.code == CONFIG]
    if configs:
        lines += ["", *findings_text(configs)]
    names = _Names(view.a, view.b)
    weights, states = _parted(view)
    if weights:
        lines += ["", *_pair_rows(weights, names)]
    if states:
        lines += ["", *_state_lines(view, states, names)]
    lines += ["", *_summary_lines(view)]
    told = findings_text([f for f in report.findings if f.code != CONFIG], _naming(view))
    return [*lines, *([""] if told else []), *told]


def _head(view: DiffView) -> list[str]:
    rows = []
    for letter, artifact in (("A", view.report.a), ("B", view.report.b)):
        step = f"step {artifact.step}" if artifact.step is not None else ""
        place = view.sources.get(letter, artifact.path)
        rows.append([letter, safe(middle(artifact.label, 40)), artifact.kind, step, safe(place)])
    return table([""] * 5, rows)[1:]


def _relation_lines(report: DiffReport) -> list[str]:
    words, reason = relation_words(report.relation)
    said = [f"{words}: {reason}" if reason else words]
    if report.origin is not None:
        said.insert(0, safe(origin_words(report)))
    return [line for one in said for line in textwrap.wrap(one, WIDTH, subsequent_indent="  ")]


def origin_words(report: DiffReport) -> str:
    """Whether one save was made from the other's run, and from which of its saves; as it comes from the files."""
    origin = report.origin
    assert origin is not None
    said = origin.reason
    if not said and origin.save is not None:
        step = f" (step {origin.step})" if origin.step is not None else ""
        said = f"{'from' if origin.answer == 'yes' else 'the nearest is'} {os.path.basename(origin.save)}{step}"
    return f"Made from a save of {origin.run}? {origin.answer.capitalize()}" + (f": {said}" if said else "")


def _naming(view: DiffView) -> Naming:
    """What the findings call the tensors of both saves."""
    findings = view.report.findings
    namings = [naming_of(s.artifact.path, s.tensors, findings, alone=False) for s in (view.a, view.b)]
    return namings[0] | namings[1]


class _Names:
    """What the tensors of both saves are called where people read."""

    def __init__(self, a: Listing, b: Listing) -> None:
        self._own = own_names(a.tensors), own_names(b.tensors)
        self._tensors = {t.name: t for t in a.tensors}, {t.name: t for t in b.tensors}

    def of(self, pair: Pair) -> str:
        """One name where both sides agree or one is a better reading, else both; as they come from the files."""
        a, b = self._side(0, pair.a), self._side(1, pair.b)
        if a is None or b is None or a == b:
            return a or b or ""
        # a name that the other side spells out is no other name
        if a.endswith(f"/{b}") or pair.a == pair.b:
            return a
        return b if b.endswith(f"/{a}") else f"{a} → {b}"

    def lone(self, pair: Pair) -> Tensor | None:
        """The tensor of a pair with one side."""
        return self._tensors[0].get(pair.a or "") if pair.b is None else self._tensors[1].get(pair.b)

    def _side(self, side: int, name: str | None) -> str | None:
        return None if name is None else self._own[side].get(name) or clean(name)


def _parted(view: DiffView) -> tuple[list[Pair], list[Pair]]:
    """Rows of weights, and those of training state."""
    shown = view.shown
    return [p for p in shown if p.role not in STATE_WORDS_OF_ROLES], [
        p for p in shown if p.role in STATE_WORDS_OF_ROLES
    ]


def _pair_rows(pairs: Sequence[Pair], names: _Names) -> list[str]:
    """A table of pairs, not wider than `WIDTH`; without a column of statuses where all are `changed`."""
    headers = ["name", "status", "rel. L2", "max abs", "cosine", "changed"]
    rows = [[safe(cell) for cell in (names.of(p), *_cells(p, names))] for p in pairs]
    if all(p.status == "changed" for p in pairs):
        headers, rows = [headers[0], *headers[2:]], [[row[0], *row[2:]] for row in rows]
    inner = [max(map(len, column)) for column in zip(headers[1:-1], *(row[1:-1] for row in rows), strict=True)]
    taken = sum(inner) + 2 * len(inner) + 2
    last = min(max(len(row[-1]) for row in rows), WIDTH - taken - LEAST_NAME)
    room = WIDTH - taken - max(last, len(headers[-1]))
    rows = [[_fit(row[0], room), *row[1:-1], _end(row[-1], last)] for row in rows]
    return table(headers, rows, right=range(len(headers) - 4, len(headers) - 1))


def _fit(name: str, room: int) -> str:
    """Both names of a pair keep their ends."""
    one, arrow, other = name.partition(" → ")
    if len(name) <= room or not arrow:
        return shorten_name(name, room)
    half = (room - len(arrow)) // 2
    first = shorten_name(one, max(half, room - len(arrow) - len(other)))
    return first + arrow + shorten_name(other, room - len(arrow) - len(first))


def _cells(pair: Pair, names: _Names) -> list[str]:
    """Status, three distances, and what changed in words."""
    numbers = [number_text(value) for value in (pair.relative_l2, pair.max_abs, pair.cosine)]
    return [STATUS_WORDS.get(pair.status, pair.status), *numbers, _change(pair, names)]


def _end(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


def _change(pair: Pair, names: _Names) -> str:
    """`all 288`, `3 of 288`, which axis, why not; of a lone tensor what it is."""
    if pair.status in ("only-a", "only-b"):
        tensor = names.lone(pair)
        return pair.detail or (f"{tensor.dtype} {shape_text(tensor.shape)}" if tensor is not None else "")
    if pair.changed is None:
        return pair.detail
    if pair.changed == 0:
        return pair.detail or "none"
    all_of = pair.changed == pair.count != 1
    said = f"all {human_count(pair.changed)}" if all_of else f"{human_count(pair.changed)} of {pair.count or 0:,}"
    return f"{said}, {pair.detail}" if pair.detail else said


def _state_lines(view: DiffView, states: Sequence[Pair], names: _Names) -> list[str]:
    """Rows of few, a count of many: slots and counters change with every step."""
    if view.in_full or view.only or len(states) <= FEW_STATES:
        return ["training state", *_pair_rows(states, names)]
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in states:
        groups.setdefault((STATE_WORDS_OF_ROLES[pair.role], pair.status), []).append(pair)
    lines = [f"training state  (--only {','.join(dict.fromkeys(p.status for p in states))} shows each)"]
    for (word, status), pairs in sorted(
        groups.items(), key=lambda g: list(STATE_WORDS_OF_ROLES.values()).index(g[0][0])
    ):
        plural = "s" if len(pairs) != 1 else ""
        lines.append(f"  {human_count(len(pairs))} {word}{plural} {STATUS_WORDS.get(status, status)}")
        told = [p.relative_l2 for p in pairs if p.relative_l2 is not None and math.isfinite(p.relative_l2)]
        if status == "changed" and word == "counter":
            lines += [f"    {line}" for line in _counters(view.report.relation)]
        elif status == "changed" and told:
            lines[-1] += f", by {number_text(min(told))} to {number_text(max(told))}"
    return lines


def _counters(relation: Mapping[str, Any]) -> list[str]:
    """`step 270 → 360`, as far as the relation was told them."""
    evidence = relation.get("evidence")
    counters = evidence.get("counters", ()) if isinstance(evidence, Mapping) else ()
    told = [c for c in counters if isinstance(c, Mapping) and c.get("a") != c.get("b")]
    return [f"{safe(clean(str(c['name'])))} {_value(c['a'])} → {_value(c['b'])}" for c in told[:COUNTERS_SHOWN]]


def _value(value: float) -> str:
    """A counter or a rate in full."""
    return number_text(int(value) if float(value).is_integer() and abs(value) < 1e15 else value, 6)


def summary_words(view: DiffView) -> str:
    """`14 changed, 2 only in A, 14 identical (not shown)`."""
    counts = view.report.summary
    words = []
    for status in STATUSES:
        if counts[status]:
            hidden = bool(view.only) and status not in view.only
            hidden = hidden or (status == "identical" and "identical" not in view.only)
            shown = " (not shown)" if hidden else ""
            words.append(f"{human_count(counts[status])} {STATUS_WORDS.get(status, status)}{shown}")
    return ", ".join(words) or "nothing to compare"


def _summary_lines(view: DiffView) -> list[str]:
    lines = [summary_words(view)]
    by = Counter(p.matched_by for p in view.report.pairs if p.matched_by not in (None, "name"))
    if by:
        others = any(p.matched_by == "name" for p in view.report.pairs)
        told = ", ".join(f"{count} by {str(way).replace('-', ' ')}" for way, count in by.most_common())
        lines.append(f"paired: {told}{', the others by name' if others else ''}")
    if view.fail_above is not None:
        lines.append(threshold_words(view))
    return lines


def threshold_words(view: DiffView) -> str:
    """How many pairs count as a difference where small ones don't."""
    count = sum(is_difference(p, view.fail_above) for p in view.report.pairs)
    above = number_text(view.fail_above)
    if not count:
        return f"no difference above {above}"
    return f"{human_count(count)} difference{'s' if count != 1 else ''} above {above}"


# ------------------------------------------------------------------ Markdown


def diff_markdown(view: DiffView) -> list[str]:
    """The same for a ticket: nothing in it that comes from a file is markup."""
    report = view.report
    a, b = report.a, report.b
    words, reason = relation_words(report.relation, markdown_text)
    lines = [f"## {markdown_name(a.label)} → {markdown_name(b.label)}", ""]
    if report.origin is not None:
        lines += [markdown_text(origin_words(report)), ""]
    lines += [f"**{words}**" + (f": {reason}" if reason else ""), ""]
    lines += [f"- {letter}: {_place(view, letter, one)}" for letter, one in (("A", a), ("B", b))]
    lines += ["", *(f"{line}  " for line in _summary_lines(view)), *_ticket_table(view)]
    for title, findings in _sections(report.findings):
        lines += ["", f"### {title}", "", *(line for finding in findings for line in _ticket_finding(finding))]
    return lines


def _place(view: DiffView, letter: str, artifact: Artifact) -> str:
    step = f", step {artifact.step}" if artifact.step is not None else ""
    return f"{markdown_name(view.sources.get(letter, artifact.path))} ({artifact.kind}{step})"


def _ticket_table(view: DiffView) -> list[str]:
    """Weights before training state, the worst first; what is left out is counted."""
    weights, states = _parted(view)
    pairs = [*weights, *states]
    names = _Names(view.a, view.b)
    rows = []
    for pair in pairs[:TICKET_ROWS]:
        status, *numbers, change = _cells(pair, names)
        rows.append([markdown_name(names.of(pair)), status, *numbers, markdown_text(change)])
    lines = ["", *markdown_table(["tensor", "status", "rel. L2", "max abs", "cosine", "changed"], rows, (2, 3, 4))]
    more = len(pairs) - len(rows)
    return [*(lines if rows else []), *(["", f"and {human_count(more)} more"] if more > 0 else [])]


def _sections(findings: Iterable[Finding]) -> list[tuple[str, list[Finding]]]:
    listed = worst_first(findings)
    parts = [
        ("Configuration", [f for f in listed if f.code == CONFIG]),
        ("Findings", [f for f in listed if f.code != CONFIG]),
    ]
    return [(title, some) for title, some in parts if some]


def _ticket_finding(finding: Finding) -> list[str]:
    sure = "" if finding.certainty == "confirmed" else f" ({finding.certainty})"
    about = f" {markdown_name(clean(finding.tensor))}" if finding.tensor else ""
    detail = finding.detail if finding.detail and finding.detail != finding.title else ""
    said = ". ".join(markdown_text(text).rstrip(".") for text in (finding.title, detail, finding.advice) if text)
    return [f"- {finding.severity}: `{finding.code}`{sure}{about}: {said}"]
