"""What `ckptui predict` prints: its document, and the same as tables."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ckptui.core.model import LayerSpread, ManyImages, Predicted, PredictReport, Run, Variant, jsonable
from ckptui.core.report import table
from ckptui.core.text import human_count, middle, number_text, safe, shape_text, telling
from ckptui.output import findings_json, findings_text
from ckptui.page import flowing, folded, noted_table, on_terminal, page_width, refolded

SANDBOX_WORDS = {
    "network": "no network",
    "writes": "no writing outside its own folder",
    "reads": "no reading outside of what it needs",
    "programs": "no other programs",
    "memory": "a limit on memory",
    "processes": "no other processes",
}
"""What is kept from the worker, by key of the document's `sandbox`."""
INDENT = " " * 7
"""Under `model` and `image`."""
BESIDE_ANSWER = 66
"""Columns that a row of runs takes beside the label of its answer."""
LEAST_NAME = 12
"""Characters that a label or a layer keeps on any page."""
TIMES = {
    "start": "starting TensorFlow",
    "load": "loading",
    "runs": "runs",
    "images": "the folder of images",
    "reload": "loading again",
    "fresh": "fresh process",
    "against": "the other save",
    "versions": "other TensorFlows",
}
"""Words for the document's `seconds`, in the order in which it happens."""
LEAST_TOLD = 0.05
"""Seconds below which a part of the time is not told."""
MOST_FLAGGED = 6
"""Ops and layers of one code that are named; the document has all."""
MOST_SAID = 200
"""Characters of what a loader said that are printed; the document has all."""


def predict_document(report: PredictReport) -> dict[str, Any]:
    """`ckptui/predict/1`."""
    return {
        "schema": "ckptui/predict/1",
        "model": jsonable(dict(report.model)),
        "images": [image.to_json() for image in report.images],
        "many": report.many.to_json() if report.many else None,
        "layers": [layer.to_json() for layer in report.layers],
        "dies_at": report.dies_at,
        "notes": list(report.notes),
        "findings": findings_json(report.findings),
    }


def predict_text(report: PredictReport, width: int | None = None) -> list[str]:
    """Who answers, then every image, the folder of images, the layers, what was found, and where the time went.

    Folded to `width` columns, the terminal's where it is None; findings are folded on a terminal only.
    """
    page = page_width() if width is None else width
    lines = model_lines(report.model, page)
    lines += [line for note in report.notes for line in folded(safe(note), page, INDENT)]
    for image in report.images:
        lines += ["", *image_lines(image, page)]
    if report.many is not None:
        lines += ["", *many_lines(report.many, page)]
    if report.layers:
        lines += ["", *layer_lines(report.layers, report.dies_at, page)]
    told = findings_text(report.findings)
    if width is not None or on_terminal():
        told = refolded(told, page)
    took = time_lines(report.model.get("seconds"), page)
    return [*lines, *([""] if told else []), *told, *([""] if took else []), *took]


def time_lines(seconds: Any, width: int) -> list[str]:
    """`took 12.3 s: starting TensorFlow 5.1 s, loading 0.4 s, ...`; nothing where no time was taken down."""
    if not isinstance(seconds, Mapping) or not seconds:
        return []
    known = {name: float(seconds[name]) for name in TIMES if name in seconds}
    parts = [f"{TIMES[name]} {value:.1f} s" for name, value in known.items() if value >= LEAST_TOLD]
    whole = float(seconds.get("all", sum(known.values())))
    return _listed(f"took {whole:.1f} s{':' if parts else ''}", parts, width, INDENT)


def _listed(head: str, parts: Sequence[str], width: int, rest: str) -> list[str]:
    """A head and what it lists, with commas; folded between the parts."""
    told = [f"{part}," for part in parts[:-1]] + list(parts[-1:])
    return flowing([head, *told], width, "", rest, gap=" ")


def model_lines(model: Mapping[str, Any], width: int) -> list[str]:
    """The model, which loader took it, under which TensorFlow; what came before that, and what is not enforced."""
    said = [safe(str(model.get(key) or "")) for key in ("path", "loader")]
    versions = [
        (word, safe(str(model.get(key) or ""))) for word, key in (("TensorFlow", "tensorflow"), ("Keras", "keras"))
    ]
    # a loader that is Keras says its version itself
    said += [f"{word} {version}" for word, version in versions if version and version not in said[1]]
    more = [_other(str(other)) for other in model.get("others") or ()]
    if model.get("architecture"):
        more.append(f"architecture of {safe(str(model['architecture']))}")
    if model.get("bound"):
        more.append(safe(_bound_words(model["bound"])))
    inputs = model.get("inputs") or ()
    if len(inputs) > 1:
        more.append("inputs  " + ", ".join(_endpoint(entry) for entry in inputs))
    outputs = model.get("outputs") or ()
    if len(outputs) > 1:
        shown = model.get("output")
        names = (safe(_name(entry)) + (" (on show)" if _name(entry) == shown else "") for entry in outputs)
        more.append("outputs  " + ", ".join(names))
    open_ = [SANDBOX_WORDS.get(key, safe(str(key))) for key, held in _sandbox(model).items() if held is False]
    if open_:
        more.append(f"not enforced on this machine: {', '.join(open_)}")
    if model.get("labels"):
        more.append(f"labels of {safe(_near(str(model['labels'])))}")
    flagged = _flagged(model.get("flagged") or ())
    if flagged:
        more.append(f"run though flagged: {', '.join(flagged)}")
    head = flowing([part for part in said if part], width, "model  ", INDENT)
    return [*head, *(part for line in more for part in folded(line, width, INDENT, f"{INDENT}  "))]


def _near(path: str) -> str:
    """Relative to where we are, for what lies below it."""
    here = os.path.join(os.getcwd(), "")
    return path[len(here) :] if path.startswith(here) else path


def _other(said: str) -> str:
    words = safe(said)
    return f"before it  {words[:MOST_SAID]}{'…' if len(words) > MOST_SAID else ''}"


def _bound_words(bound: Any) -> str:
    return str(bound.get("words", bound)) if isinstance(bound, Mapping) else str(bound)


def _sandbox(model: Mapping[str, Any]) -> Mapping[str, Any]:
    sandbox = model.get("sandbox")
    return sandbox if isinstance(sandbox, Mapping) else {}


def _name(entry: Any) -> str:
    return str(entry.get("name", "")) if isinstance(entry, Mapping) else str(entry)


def _flagged(entries: Iterable[Any]) -> list[str]:
    """Each code with the ops or layers it is about: `unsafe-op (PyFunc, ReadFile)`."""
    named: dict[str, dict[str, None]] = {}
    for entry in entries:
        names = named.setdefault(safe(_code(entry)), {})
        if isinstance(entry, Mapping) and entry.get("name"):
            names[safe(str(entry["name"]), 40)] = None
    shown = {code: [*list(names)[:MOST_FLAGGED], *(["…"] if len(names) > MOST_FLAGGED else [])]
             for code, names in named.items()}  # fmt: skip
    return [f"{code} ({', '.join(names)})" if names else code for code, names in sorted(shown.items())]


def _code(entry: Any) -> str:
    return str(entry.get("code", "")) if isinstance(entry, Mapping) else str(entry)


def _endpoint(entry: Any) -> str:
    if not isinstance(entry, Mapping):
        return safe(str(entry))
    shape = entry.get("shape")
    return f"{safe(_name(entry))} {safe(str(entry.get('dtype', '')))} {shape_text(shape)}".strip()


def image_lines(image: Predicted, width: int) -> list[str]:
    """What the model got, a row a run, probes, other preprocessings, the recorded answer, what it means together."""
    if all(run.error for run in image.runs):
        return [f"image  {safe(image.path)}", "", *folded(safe(image.verdict), width)]
    facts = [safe(image.path), safe(image.preprocess), shape_text(image.shape)]
    # inputs that are text have no range
    if math.isfinite(image.low) or math.isfinite(image.high):
        facts.append(f"{number_text(image.low)} to {number_text(image.high)}")
    lines = flowing([part for part in facts if part], width, "image  ", INDENT)
    lines += ["", *run_lines(image.runs, width)]
    if image.probes:
        moved = [
            f"{safe(probe.name)} {'bit-identical' if probe.identical else number_text(probe.max_abs)}"
            for probe in image.probes
        ]
        lines += ["", *_listed("probes move the output by", moved, width, "    ")]
    if image.variants:
        lines += ["", *variant_lines(image.variants, width)]
    if image.expected is not None:
        lines += ["", *folded(expected_line(image), width, "", "    ")]
    verdict = folded(safe(image.verdict), width)
    return [*lines, *([""] if verdict else []), *verdict]


def run_lines(runs: Sequence[Run], width: int) -> list[str]:
    """A row a run: its answer, its difference to the original; what went wrong or needs words stands under it."""
    rows = []
    labels = _labels(runs)
    for run in runs:
        change = "bit-identical" if run.identical else "" if run.max_abs_diff is None else number_text(run.max_abs_diff)
        words = [safe(run.error)] if run.error else ["another answer"] if run.top1_changed else []
        words += [safe(run.detail)] if run.detail else []
        rows.append([run.name, _answer(run, labels, width), change, f"{run.seconds:.2f} s", ", ".join(words)])
    return noted_table(["run", "answer", "difference", "time", ""], rows, 4, width, right=(3,))


def _labels(rows: Sequence[Run | Variant]) -> frozenset[str]:
    """All labels among the best of the rows."""
    return frozenset(safe(label) for row in rows for _, label, _ in row.top)


def _answer(run: Run, labels: Collection[str], width: int) -> str:
    best = _best(run.top, labels, width)
    if best != "–":
        return best
    texts = [text for output in run.outputs for text in output.texts]
    return safe(texts[0], 40) if texts else best


def _best(top: Sequence[tuple[int, str, float]], labels: Collection[str], width: int) -> str:
    if not top:
        return "–"
    label = telling(safe(top[0][1]), labels, max(width - BESIDE_ANSWER, LEAST_NAME))
    return f"{label} {number_text(top[0][2])}"


def variant_lines(variants: Sequence[Variant], width: int) -> list[str]:
    """A row for each preprocessing that ran; `*` is the one the runs were made with; the others with their reason."""
    labels = _labels(variants)
    rows = []
    for variant in variants:
        if variant.error:
            continue
        told = "bit-identical" if variant.max_abs_diff == 0 else number_text(variant.max_abs_diff)
        word = "another answer" if variant.top1_changed else ""
        ends = f"{number_text(variant.low)} to {number_text(variant.high)}"
        name = safe(variant.preprocess) + (" *" if variant.chosen else "")
        rows.append([name, ends, _best(variant.top, labels, width), "" if variant.chosen else told, word])
    heads = ["preprocessing", "the model gets", "answer", "difference", ""]
    lines = noted_table(heads, rows, 4, width) if rows else []
    return [*lines, *(line for words in left_out(variants) for line in folded(words, width, "", "    "))]


def left_out(variants: Iterable[Variant]) -> list[str]:
    """`left out: torch (torch needs 3 channels, the model takes 1)`, a line a reason."""
    reasons: dict[str, list[str]] = {}
    for variant in variants:
        if variant.error:
            reasons.setdefault(safe(variant.error), []).append(safe(variant.preprocess))
    return [f"left out: {' and '.join(names)} ({reason})" for reason, names in reasons.items()]


def expected_line(image: Predicted) -> str:
    """The answer against the recorded one."""
    expected = image.expected
    assert expected is not None
    head = f"recorded in {safe(expected.path)}:  "
    if expected.error:
        return head + safe(expected.error)
    best = f"{_best(expected.top, (), BESIDE_ANSWER * 2)}  " if expected.top else ""
    if expected.identical:
        return f"{head}{best}bit-identical"
    words = "the same as far as its digits go" if expected.within else "differs"
    changed = ", another answer" if expected.top1_changed else ""
    return f"{head}{best}{words}, by {number_text(expected.max_abs_diff)}{changed}"


def many_lines(many: ManyImages, width: int) -> list[str]:
    """How far each change of the picture moves the answers, flips before controls."""
    lines = flowing([safe(many.path), f"{human_count(many.images)} answered"], width, "images ", INDENT)
    lines += [part for words in many.failed[:5] for part in folded(f"left out: {safe(words)}", width, INDENT, " " * 9)]
    if len(many.failed) > 5:
        lines.append(f"{INDENT}… and {len(many.failed) - 5} more left out (--json lists all)")
    if many.moves:
        rows = [
            [
                move.name,
                "control" if move.control else "",
                number_text(move.mean, 3),
                f"{number_text(move.low, 3)} to {number_text(move.high, 3)}",
                f"{move.changed:.0%}",
                f"{move.changed_low:.0%} to {move.changed_high:.0%}",
            ]
            for move in sorted(many.moves, key=lambda move: move.control)
        ]
        heads = ["change", "", "mean", "95 % interval", "other answer", "95 % interval"]
        lines += ["", f"mean: {safe(many.measure)}", *table(heads, rows, right=(2, 4))]
    if many.classes:
        shown = ", ".join(f"{safe(label, 24)} {human_count(count)}" for label, count in many.classes[:8])
        more = f", … {len(many.classes) - 8} more" if len(many.classes) > 8 else ""
        lines += ["", *folded(f"best answers  {shown}{more}", width, "", "    ")]
        lines += folded(f"two images are up to {number_text(many.spread)} apart", width)
    return [*lines, *(["", *folded(safe(many.verdict), width)] if many.verdict else [])]


def layer_lines(layers: Sequence[LayerSpread], dies_at: str | None, width: int) -> list[str]:
    """How far each layer's output follows the input; `<-` at the first that does not."""

    def rows(name: int, kind: int) -> list[list[str]]:
        return [
            [
                middle(safe(layer.layer), name),
                middle(safe(layer.class_name), kind),
                shape_text(layer.shape),
                number_text(layer.spread),
                number_text(layer.scale),
                f"{layer.zeros:.0%}",
                " ".join(_said(layer, dies_at)),
            ]
            for layer in layers
        ]

    heads = ["layer", "class", "output", "spread", "largest", "zeros", ""]
    widest = [max(len(safe(text)) for text in texts) for texts in _names(layers)]
    lines = table(heads, rows(*widest), right=(3, 4, 5))
    over = max(map(len, lines)) - width
    if over > 0:
        # the class gives way before the name does
        kind = max(widest[1] - over, min(widest[1], LEAST_NAME))
        lines = table(heads, rows(max(widest[0] - over + widest[1] - kind, LEAST_NAME), kind), right=(3, 4, 5))
    return lines


def _names(layers: Sequence[LayerSpread]) -> tuple[list[str], list[str]]:
    return [layer.layer for layer in layers], [layer.class_name for layer in layers]


def _said(layer: LayerSpread, dies_at: str | None) -> list[str]:
    return ([] if layer.finite else ["not finite"]) + (["<- dies here"] if layer.layer == dies_at else [])
