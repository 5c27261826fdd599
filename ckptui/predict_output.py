"""What `ckptui predict` prints: its document, and the same as tables."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ckptui.core.model import LayerSpread, ManyImages, Predicted, PredictReport, Run, Variant, jsonable
from ckptui.core.report import table
from ckptui.core.text import human_count, number_text, safe, shape_text
from ckptui.output import findings_json, findings_text

SANDBOX_WORDS = {
    "network": "no network",
    "writes": "no writing outside its own folder",
    "reads": "no reading outside of what it needs",
    "programs": "no other programs",
    "memory": "a limit on memory",
    "processes": "no other processes",
}
"""What is kept from the worker, by key of the document's `sandbox`."""
WIDTH = 100
"""Columns that sentences are folded to."""
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


def predict_text(report: PredictReport) -> list[str]:
    """Who answers, then every image, the folder of images, the layers, and what was found."""
    lines = model_lines(report.model)
    lines += [f"       {safe(note)}" for note in report.notes]
    for image in report.images:
        lines += ["", *image_lines(image)]
    if report.many is not None:
        lines += ["", *many_lines(report.many)]
    if report.layers:
        lines += ["", *layer_lines(report.layers, report.dies_at)]
    told = findings_text(report.findings)
    return [*lines, *([""] if told else []), *told]


def model_lines(model: Mapping[str, Any]) -> list[str]:
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
    flagged = sorted({safe(_code(entry)) for entry in model.get("flagged") or ()})
    if flagged:
        more.append(f"run though flagged: {', '.join(flagged)}")
    return ["model  " + "  ".join(part for part in said if part), *(f"       {line}" for line in more)]


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


def _code(entry: Any) -> str:
    return str(entry.get("code", "")) if isinstance(entry, Mapping) else str(entry)


def _endpoint(entry: Any) -> str:
    if not isinstance(entry, Mapping):
        return safe(str(entry))
    shape = entry.get("shape")
    return f"{safe(_name(entry))} {safe(str(entry.get('dtype', '')))} {shape_text(shape)}".strip()


def image_lines(image: Predicted) -> list[str]:
    """What the model got, a row a run, probes, other preprocessings, the recorded answer, what it means together."""
    if all(run.error for run in image.runs):
        return [f"image  {safe(image.path)}", "", *_folded(image.verdict)]
    facts = [safe(image.path), safe(image.preprocess), shape_text(image.shape)]
    # inputs that are text have no range
    if math.isfinite(image.low) or math.isfinite(image.high):
        facts.append(f"{number_text(image.low)} to {number_text(image.high)}")
    lines = ["image  " + "  ".join(part for part in facts if part), "", *run_lines(image.runs)]
    if image.probes:
        moved = (
            f"{safe(probe.name)} {'bit-identical' if probe.identical else number_text(probe.max_abs)}"
            for probe in image.probes
        )
        lines += ["", f"probes move the output by  {', '.join(moved)}"]
    if image.variants:
        lines += ["", *variant_lines(image.variants)]
    if image.expected is not None:
        lines += ["", expected_line(image)]
    return [*lines, "", *_folded(image.verdict)]


def _folded(words: str) -> list[str]:
    return textwrap.wrap(safe(words), WIDTH)


def run_lines(runs: Iterable[Run]) -> list[str]:
    """A row a run: its answer, its difference to the original, what tells it apart or went wrong."""
    rows = []
    for run in runs:
        change = "bit-identical" if run.identical else "" if run.max_abs_diff is None else number_text(run.max_abs_diff)
        words = [safe(run.error)] if run.error else ["another answer"] if run.top1_changed else []
        words += [safe(run.detail)] if run.detail else []
        rows.append([run.name, _answer(run), change, ", ".join(words), f"{run.seconds:.2f} s"])
    return table(["run", "answer", "difference", "", "time"], rows, right=(4,))


def _answer(run: Run) -> str:
    best = _best(run.top)
    if best != "–":
        return best
    texts = [text for output in run.outputs for text in output.texts]
    return safe(texts[0], 40) if texts else best


def _best(top: Sequence[tuple[int, str, float]]) -> str:
    return f"{safe(top[0][1])} {number_text(top[0][2])}" if top else "–"


def variant_lines(variants: Iterable[Variant]) -> list[str]:
    """A row for each preprocessing; `*` is the one the runs were made with."""
    rows = []
    for variant in variants:
        told = "bit-identical" if variant.max_abs_diff == 0 else number_text(variant.max_abs_diff)
        word = safe(variant.error) or ("another answer" if variant.top1_changed else "")
        ends = "" if variant.error else f"{number_text(variant.low)} to {number_text(variant.high)}"
        name = safe(variant.preprocess) + (" *" if variant.chosen else "")
        rows.append([name, ends, _best(variant.top), "" if variant.error or variant.chosen else told, word])
    return table(["preprocessing", "the model gets", "answer", "difference", ""], rows)


def expected_line(image: Predicted) -> str:
    """The answer against the recorded one."""
    expected = image.expected
    assert expected is not None
    head = f"recorded in {safe(expected.path)}:  "
    if expected.error:
        return head + safe(expected.error)
    best = f"{_best(expected.top)}  " if expected.top else ""
    if expected.identical:
        return f"{head}{best}bit-identical"
    words = "the same as far as its digits go" if expected.within else "differs"
    changed = ", another answer" if expected.top1_changed else ""
    return f"{head}{best}{words}, by {number_text(expected.max_abs_diff)}{changed}"


def many_lines(many: ManyImages) -> list[str]:
    """How far each change of the picture moves the answers, flips before controls."""
    lines = [f"images {safe(many.path)}  {human_count(many.images)} answered"]
    lines += [f"       left out: {safe(words)}" for words in many.failed[:5]]
    if len(many.failed) > 5:
        lines.append(f"       … and {len(many.failed) - 5} more left out (--json lists all)")
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
        heads = ["change", "", safe(many.measure), "95 % interval", "other answer", "95 % interval"]
        lines += ["", *table(heads, rows, right=(2, 4))]
    if many.classes:
        shown = ", ".join(f"{safe(label)} {human_count(count)}" for label, count in many.classes[:8])
        more = f", … {len(many.classes) - 8} more" if len(many.classes) > 8 else ""
        lines += ["", f"best answers  {shown}{more};  two images are up to {number_text(many.spread)} apart"]
    return [*lines, *(["", *_folded(many.verdict)] if many.verdict else [])]


def layer_lines(layers: Sequence[LayerSpread], dies_at: str | None) -> list[str]:
    """How far each layer's output follows the input; `<-` at the first that does not."""
    rows = [
        [
            safe(layer.layer),
            safe(layer.class_name),
            shape_text(layer.shape),
            number_text(layer.spread),
            number_text(layer.scale),
            f"{layer.zeros:.0%}",
            "" if layer.finite else "not finite",
            "<- dies here" if layer.layer == dies_at else "",
        ]
        for layer in layers
    ]
    heads = ["layer", "class", "output", "spread", "largest", "zeros", "", ""]
    return table(heads, rows, right=(3, 4, 5))
