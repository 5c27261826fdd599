"""What stands below the runs of a prediction, in words: probes, layers, preprocessings, many images, loaders. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from textual.content import Content

from ckptui.core.model import (
    Expectation,
    Finding,
    LayerSpread,
    ManyImages,
    Move,
    Probe,
    Variant,
    WorkerState,
)
from ckptui.core.report import SIGNS, worst_first
from ckptui.core.text import human_bytes, number_text, safe, shape_text
from ckptui.ui.fitting import fit_name, left, right, shown, wrap
from ckptui.ui.prediction_words import STYLES, apart_text, label_text, run_name, score_text
from ckptui.ui.widgets.cells import Drawing, bar

LOADER = re.compile(r"(?:; |\n)(?=(?:keras|tf_keras|tf\.[\w.]+|h5py|weights)[^:;\n]{0,24}: )")
"""Where the words of one loader end and those of the next begin."""
NAME_MOST = 26
BAR_MOST = 16
LEAST_SPREAD = 1e-9
"""Of a layer's own scale: so little has an empty bar."""
WORKER_WORDS: Mapping[str, str] = {
    "none": "worker not running",
    "starting": "worker starting TensorFlow",
    "ready": "worker ready",
    "busy": "worker predicting",
    "loading": "worker loading the model",
}


def heading(words: str) -> Content:
    """The title of a part."""
    return Content.styled(words, "$dim")


def probe_lines(probes: Sequence[Probe], width: int, drawing: Drawing) -> list[Content]:
    """How far inputs that have nothing to do with the image move the output; one row each."""
    if not probes:
        return []
    most = max((p.max_abs for p in probes if math.isfinite(p.max_abs)), default=0.0)
    name = min(max(cell_len(safe(p.name)) for p in probes) + 1, max(width // 3, 8))
    room = min(max(width - name - 22, 0), BAR_MOST)
    rows = [heading("does anything move the output?")]
    for probe in probes:
        same = probe.identical
        words, style = ("bit-identical", "$error") if same else (f"Δ {apart_text(probe.max_abs)}", "$foreground")
        share = probe.max_abs / most if most > 0 and math.isfinite(probe.max_abs) else 0.0
        drawn = f"{bar(share, room, drawing)} " if room >= 3 else ""
        rows.append(Content.assemble((left(safe(probe.name), name), "$foreground"), (drawn, "$accent"), (words, style)))
    return rows


# ------------------------------------------------------------------ layers


def spread_share(row: LayerSpread) -> float:
    """How much of a layer's output follows the input, 0 to 1 on a logarithmic axis."""
    if not row.finite or row.spread <= 0 or row.scale <= 0:
        return 0.0
    share = min(row.spread / row.scale, 1.0)
    return max(1 + math.log10(max(share, LEAST_SPREAD)) / -math.log10(LEAST_SPREAD), 0.02)


def layer_lines(
    rows: Sequence[LayerSpread],
    dies_at: str | None,
    findings: Sequence[Finding],
    width: int,
    drawing: Drawing,
) -> list[Content]:
    """The layers in order, how far each still follows the input, and what is known of the one where it ends."""
    if not rows:
        return []
    title = (
        f"the input is lost in {safe(dies_at, 60)}" if dies_at is not None else "how far each layer follows the input"
    )
    lines = [Content.styled(title, "$error bold" if dies_at is not None else "$dim")]
    name_width = min(max(cell_len(safe(row.layer)) for row in rows) + 1, NAME_MOST, max(width // 3, 8))
    bar_width = min(max(width - name_width - 24, 0), BAR_MOST)
    dead = False
    for row in rows:
        here = row.layer == dies_at and not dead
        dead = dead or here
        style = "$error" if here else "$dim" if dead else "$foreground"
        drawn = f"{bar(spread_share(row), bar_width, drawing)} " if bar_width >= 3 else ""
        spread = "not finite" if not row.finite else f"Δ {apart_text(row.spread)}" if row.spread else "no change"
        zeros = f"{row.zeros:.0%} zeros" if 0.005 <= row.zeros <= 1 else ""
        lines.append(
            Content.assemble(
                (left(fit_name(safe(row.layer), name_width - 1), name_width), style + (" bold" if here else "")),
                (drawn, "$error" if here else "$accent"),
                (left(spread, 11), style),
                (right(zeros, max(min(width - name_width - len(drawn) - 11, 11), 0)) if zeros else "", "$dim"),
            )
        )
        if here:
            lines += [Content.assemble("  ", line) for line in _beside(row, findings, width - 2)]
    return lines


def _beside(row: LayerSpread, findings: Sequence[Finding], width: int) -> list[Content]:
    """What the weights' own findings say of a layer."""
    about = [f for f in worst_first(findings) if f.tensor is not None and belongs(f.tensor, row)]
    lines = []
    for finding in about[:3]:
        for part in wrap(f"{SIGNS[finding.severity]} {safe(finding.title)}: {safe(finding.tensor or '', 60)}", width):
            lines.append(Content.styled(part, STYLES[finding.severity]))
    return lines


def belongs(tensor: str, row: LayerSpread) -> bool:
    """Is this one of the layer's weights, by the names either side knows?"""
    plain = tensor.removesuffix(":0")
    known = [name.removesuffix(":0") for name in row.weights]
    return any(plain.endswith(name) or name.endswith(plain) for name in known if name) or row.layer in plain.split("/")


# ------------------------------------------------------------------ preprocessings, recorded answers


def variant_lines(variants: Sequence[Variant], width: int, drawing: Drawing) -> list[Content]:
    """One row a preprocessing: its range, the best answer, and whether it is another one."""
    if not variants:
        return []
    ran = [v for v in variants if not v.error]
    changing = sum(bool(v.top1_changed) for v in ran)
    verb = "changes" if changing == 1 else "change"
    title = f"{changing} of {len(ran)} preprocessings {verb} the answer" if changing else "no preprocessing changes it"
    lines = [Content.styled(title, "bold" if changing else "$dim")]
    ranges = {v.preprocess: f"{number_text(v.low, 3)}…{number_text(v.high, 3)}" for v in ran}
    name = max((cell_len(safe(v.preprocess, 12)) for v in ran), default=0) + 1
    span = max(map(cell_len, ranges.values()), default=0) + 1 if width >= 48 else 0
    label = min(max((cell_len(safe(v.top[0][1])) for v in variants if v.top), default=1), 14)
    for variant in ran:
        start = Content.assemble(
            (left(safe(variant.preprocess, 12), name), "$mark bold" if variant.chosen else "$foreground"),
            (left(ranges[variant.preprocess], span) if span else "", "$dim"),
        )
        room = max(width - start.cell_length, 4)
        if not variant.top:
            lines.append(start + Content.styled(shown("no answer", room), "$error"))
            continue
        _, best, score = variant.top[0]
        words, style = ("as above", "$dim") if variant.chosen else _moved(variant)
        answer = right(label_text(best, variants, label), label) + right(score_text(score), 7)
        lines.append(start + Content.assemble((answer, "$foreground"), "  ", (shown(words, room - label - 9), style)))
    return [*lines, *(Content.styled(part, "$dim") for words in left_out(variants) for part in wrap(words, width))]


def left_out(variants: Sequence[Variant]) -> list[str]:
    """Those that can't be made for this model, a line a reason: `left out: caffe and torch (needs 3 channels, ...)`."""
    reasons: dict[str, list[str]] = {}
    for variant in variants:
        if variant.error:
            reasons.setdefault(safe(variant.error), []).append(safe(variant.preprocess, 12))
    return [f"left out: {' and '.join(names)} ({reason})" for reason, names in reasons.items()]


def _moved(variant: Variant) -> tuple[str, str]:
    apart = f"Δ {apart_text(variant.max_abs_diff)}" if variant.max_abs_diff is not None else ""
    if variant.top1_changed:
        return f"{apart} another answer".strip(), "$accent"
    return ("bit-identical", "$success") if variant.max_abs_diff == 0 else (apart, "$dim")


def expected_lines(expected: Expectation | None) -> list[Content]:
    """Whether the answer is the one recorded elsewhere."""
    if expected is None:
        return []
    if expected.error:
        return [Content.styled(f"recorded answer: {safe(expected.error)}", "$error")]
    if expected.identical or expected.within:
        return [Content.styled("the recorded answer" + ", bit-identical" * expected.identical, "$success")]
    apart = apart_text(expected.max_abs_diff)
    other = ", another answer" if expected.top1_changed else ""
    return [Content.styled(f"the recorded answer differs by {apart}{other}", "$error")]


# ------------------------------------------------------------------ many images


def many_lines(many: ManyImages | None, width: int, drawing: Drawing) -> list[Content]:
    """The change under each flip with its interval, beside the controls; what it means first."""
    if many is None:
        return []
    lines = [Content.styled(part, "bold") for part in wrap(safe(many.verdict), width)] if many.verdict else []
    lines.append(heading(f"{many.images} images, {safe(many.measure)}, 95 % interval"))
    most = max((m.high for m in many.moves if math.isfinite(m.high)), default=0.0)
    name = max((cell_len(_move_name(move, drawing)) for move in many.moves), default=8) + 1
    room = min(max(width - name - 30, 0), BAR_MOST)
    for move in many.moves:
        style = "$dim" if move.control else "$accent"
        drawn = f"{bar(move.mean / most if most > 0 else 0.0, room, drawing)} " if room >= 3 else ""
        numbers = f"{move.mean:.3f} {move.low:.3f}…{move.high:.3f}"
        changed = f"  {move.changed:.0%} change" if width >= name + room + 32 else ""
        lines.append(
            Content.assemble((left(_move_name(move, drawing), name), style), (drawn, style), numbers, (changed, "$dim"))
        )
    if many.classes:
        best = ", ".join(f"{safe(label, 24)} {count}" for label, count in many.classes[:8])
        lines += [Content.styled(part, "$dim") for part in wrap(f"answers: {best}", width)]
    for reason in many.failed[:3]:
        lines.append(Content.styled(shown(reason, width), "$warning"))
    if len(many.failed) > 3:
        lines.append(Content.styled(f"{len(many.failed)} images could not be answered", "$warning"))
    return lines


def _move_name(move: Move, drawing: Drawing) -> str:
    return run_name(move.name, drawing) + (" (control)" if move.control else "")


# ------------------------------------------------------------------ loaders and the worker


def loaders_said(text: str) -> list[str]:
    """What several loaders said in one text, one loader an entry."""
    return [part for part in LOADER.split(text) if part.strip()]


def loader_lines(said: Sequence[str], width: int, style: str = "$foreground") -> list[Content]:
    """One loader after the other: its name, and its words wrapped under it."""
    lines: list[Content] = []
    for entry in said:
        name, colon, words = safe(entry).partition(": ")
        if not colon or len(name) > 40:
            name, words = "", safe(entry)
        if name:
            lines.append(Content.styled(shown(name, width), "bold"))
        for part in wrap(words, max(width - 2, 8)):
            lines.append(Content.styled(f"  {part}" if name else part, style))
    return lines


def limits_of(state: WorkerState | None) -> tuple[str, ...]:
    """What is not enforced on a worker; one that is still starting has set no limits yet, which says nothing."""
    return state.sandbox if state is not None and state.state not in ("none", "starting") else ()


def worker_line(state: WorkerState | None, width: int) -> Content:
    """Its state, memory, TensorFlow and process; what does not fit is left out."""
    if state is None:
        return Content("")
    parts = [(WORKER_WORDS.get(state.state) or f"worker {safe(state.state, 20)}", "$dim")]
    if state.memory:
        parts.append((human_bytes(state.memory), "$foreground"))
    if limits := limits_of(state):
        count = len(limits)
        parts.append((f"{count} limit{'s' if count > 1 else ''} not enforced", "$warning"))
    if state.tensorflow:
        parts.append((f"TF {safe(state.tensorflow, 20)}", "$dim"))
    if state.pid:
        parts.append((f"pid {state.pid}", "$dim"))
    line = Content("")
    for words, style in parts:
        piece = Content.styled(words, style)
        longer = Content.assemble(line, "  ", piece) if line.plain else piece
        if longer.cell_length <= width or not line.plain:
            line = longer
    return line


def model_lines(model: Mapping[str, Any], notes: Sequence[str], command: str, width: int) -> list[Content]:
    """The small print: who loaded it, what the others said, what is not enforced, and the command for a script."""
    lines: list[Content] = []
    shape = model.get("input")
    if isinstance(shape, Mapping):
        words = f"{safe(str(shape.get('name', '')))} {safe(str(shape.get('dtype', '')))} {_shape(shape.get('shape'))}"
        lines.append(Content.assemble(("input  ", "$dim"), shown(words, max(width - 7, 8))))
    if model.get("signature"):
        lines.append(Content.assemble(("signature  ", "$dim"), shown(str(model["signature"]), max(width - 11, 8))))
    others = [str(each) for each in model.get("others") or ()]
    if others:
        lines += [heading("what the loaders tried before said"), *loader_lines(others, width, "$dim")]
    lines += [Content.styled(part, "$warning") for note in notes for part in wrap(safe(note), width)]
    if command:
        lines += [heading("the same as JSON"), *(Content(part) for part in wrap(safe(command), width))]
    return lines


def _shape(shape: Any) -> str:
    if not isinstance(shape, (list, tuple)):
        return ""
    return shape_text([side if isinstance(side, int) else None for side in shape])
