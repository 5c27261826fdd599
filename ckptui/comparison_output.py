"""What `ckptui diff` prints: two saves held against each other, as a document, text, and Markdown for a ticket."""

from __future__ import annotations

import math
import os
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ckptui.comparison_view import (
    CONFIG,
    FEW_STATES,
    STATUS_WORDS,
    DiffView,
    state_words,
    summary_words,
    threshold_words,
)
from ckptui.core.markdown import markdown_name, markdown_table, markdown_text
from ckptui.core.model import Artifact, DiffReport, Finding, Listing, Pair, Tensor, jsonable
from ckptui.core.names import clean
from ckptui.core.naming import Naming, naming_of, own_names
from ckptui.core.pair_rows import APPEARED
from ckptui.core.report import STATE_WORDS_OF_ROLES, relation_words, table, worst_first
from ckptui.core.text import human_count, middle, number_text, safe, shape_text, shorten_name
from ckptui.output import findings_json, findings_text

WIDTH = 100
LEAST_NAME = 24
TICKET_ROWS = 40
"""Rows of the table in Markdown."""
COUNTERS_SHOWN = 4
OLDEST_EXPORT = 1_000_000_000
"""Folders of exports are named by the second, counted from 1970; these are of 2001 and later."""


def diff_document(view: DiffView) -> dict[str, Any]:
    """`ckptui/diff/1`; `only`, `fail_above`, `weights_only` and `origin` where the call has them."""
    report = view.report
    asked: dict[str, Any] = {}
    if view.only:
        asked["only"] = list(view.only)
    if view.fail_above is not None:
        asked["fail_above"] = view.fail_above
    if view.weights:
        asked["weights_only"] = True
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
    why = state_words(view)
    return [*lines, *([""] if told else []), *told, *([why] if why else [])]


def _head(view: DiffView) -> list[str]:
    rows = []
    for letter, artifact in (("A", view.report.a), ("B", view.report.b)):
        step = _step(artifact)
        place = view.sources.get(letter, artifact.path)
        rows.append([letter, safe(middle(artifact.label, 40)), artifact.kind, step, safe(place)])
    return table([""] * 5, rows)[1:]


def _step(artifact: Artifact) -> str:
    """`step 300`; empty without one, and where the number is the second at which an export was made."""
    if artifact.step is None or (artifact.step >= OLDEST_EXPORT and str(artifact.step) == artifact.label):
        return ""
    return f"step {artifact.step}"


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
    told = pair.detail.split(", ")
    # the row may be cut at its end: what no distance shows comes first
    first = [words for words in told if APPEARED in words]
    return ", ".join([*first, said, *(words for words in told if words and words not in first)])


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
        lines += [
            "",
            f"### {title}",
            "",
            *(line for one in findings for line in _ticket_finding(one, _of_side(one, view))),
        ]
    why = state_words(view)
    return [*lines, *(["", markdown_text(why)] if why else [])]


def _of_side(finding: Finding, view: DiffView) -> str:
    """Of which save a finding is that does not name a tensor of one."""
    names = {view.report.a.path: view.report.a.label, view.report.b.path: view.report.b.label}
    if finding.code == CONFIG or len(names) < 2 or finding.artifact not in names:
        return ""
    return f" in {markdown_name(names[finding.artifact])}"


def _place(view: DiffView, letter: str, artifact: Artifact) -> str:
    kind = ", ".join(filter(None, (artifact.kind, _step(artifact))))
    return f"{markdown_name(view.sources.get(letter, artifact.path))} ({kind})"


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


def _ticket_finding(finding: Finding, where: str) -> list[str]:
    sure = "" if finding.certainty == "confirmed" else f" ({finding.certainty})"
    about = f" {markdown_name(clean(finding.tensor))}" if finding.tensor else ""
    detail = finding.detail if finding.detail and finding.detail != finding.title else ""
    said = ". ".join(markdown_text(text).rstrip(".") for text in (finding.title, detail, finding.advice) if text)
    return [f"- {finding.severity}: `{finding.code}`{sure}{about}{where}: {said}"]
