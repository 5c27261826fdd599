"""The JSON contract of the commands, written down once: `problems(document)` names every departure from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from ckptui.core.causes import SYMPTOMS
from ckptui.core.dtypes import ITEMSIZE
from ckptui.core.model import Certainty, Kind, PairStatus, Role, Severity, Status
from ckptui.core.salvage import Method, Outcome, Target

Check = Callable[[Any, str], Iterator[str]]

NON_FINITE = ("nan", "inf", "-inf")
RUN_NAMES = (
    "original", "flip-left-right", "flip-up-down", "rotate-180", "repeat", "in-batch", "reload", "fresh-process",
    "training-mode", "against", "other-tensorflow",
)  # fmt: skip
VERDICTS = ("identical", "same-run", "fine-tuned", "related", "independent", "different-architecture")
INITIALIZER_VERDICTS = ("at-initializer", "partly", "trained", "undecided")


def whole(value: Any, where: str) -> Iterator[str]:
    """An integer that is no bool and not negative."""
    if type(value) is not int or value < 0:
        yield f"{where}: {value!r} is no count"


def integer(value: Any, where: str) -> Iterator[str]:
    if type(value) is not int:
        yield f"{where}: {value!r} is no integer"


def number(value: Any, where: str) -> Iterator[str]:
    """A finite number, or one of the three words for those that are not."""
    if type(value) not in (int, float) and value not in NON_FINITE:
        yield f"{where}: {value!r} is no number"
    elif type(value) is float and not math.isfinite(value):
        yield f"{where}: {value!r} is not written as a word"


def text(value: Any, where: str) -> Iterator[str]:
    if type(value) is not str:
        yield f"{where}: {value!r} is no text"


def flag(value: Any, where: str) -> Iterator[str]:
    if type(value) is not bool:
        yield f"{where}: {value!r} is no bool"


def facts(value: Any, where: str) -> Iterator[str]:
    if type(value) is not dict:
        yield f"{where}: {value!r} is no object"


def maybe(check: Check) -> Check:
    """`check`, or null."""

    def either(value: Any, where: str) -> Iterator[str]:
        if value is not None:
            yield from check(value, where)

    return either


def one_of(*words: str) -> Check:
    def member(value: Any, where: str) -> Iterator[str]:
        if value not in words:
            yield f"{where}: {value!r} is none of {words}"

    return member


def many(check: Check) -> Check:
    """A list of what `check` describes."""

    def each(value: Any, where: str) -> Iterator[str]:
        if type(value) is not list:
            yield f"{where}: {value!r} is no list"
            return
        for place, item in enumerate(value):
            yield from check(item, f"{where}[{place}]")

    return each


def record(fields: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object with exactly these keys, and perhaps the optional ones."""
    known = {**fields, **(optional or {})}

    def whole_record(value: Any, where: str) -> Iterator[str]:
        if type(value) is not dict:
            yield f"{where}: {value!r} is no object"
            return
        yield from (f"{where}: {key} is missing" for key in fields if key not in value)
        yield from (f"{where}: {key} is not in the contract" for key in value if key not in known)
        for key, check in known.items():
            if key in value:
                yield from check(value[key], f"{where}.{key}")

    return whole_record


ARTIFACT = record(
    {
        "path": text,
        "kind": one_of(*get_args(Kind)),
        "label": text,
        "step": maybe(integer),
        "bytes": whole,
        "shards": whole,
        "tensors": whole,
        "parameters": whole,
        "modified": number,
        "writer": facts,
        "status": one_of(*get_args(Status)),
    }
)
LOCATION = record({"file": maybe(text), "offset": maybe(whole), "bytes": whole, "crc32c": maybe(whole)})
TENSOR_FIELDS: dict[str, Check] = {
    "name": text,
    "dtype": text,
    "shape": many(integer),
    "bytes": whole,
    "layer": text,
    "role": one_of(*get_args(Role)),
    "object_path": text,
    "location": LOCATION,
}
COUNTS_OF_STATS = ("finite", "nan", "posinf", "neginf", "zeros", "argmin", "argmax")
STATS = record(
    {"count": whole}
    | dict.fromkeys(COUNTS_OF_STATS, maybe(whole))
    | dict.fromkeys(("min", "max", "mean", "std", "l2"), maybe(number))
)
FINDING = record(
    {
        "code": text,
        "severity": one_of(*get_args(Severity)),
        "certainty": one_of(*get_args(Certainty)),
        "artifact": text,
        "tensor": maybe(text),
        "title": text,
        "detail": text,
        "evidence": facts,
        "advice": text,
    }
)
PAIR = record(
    {
        "a": maybe(text),
        "b": maybe(text),
        "role": one_of(*get_args(Role)),
        "status": one_of(*get_args(PairStatus)),
        "matched_by": maybe(one_of("name", "full-name", "weight-path", "layer-order", "content", "pattern")),
        "changed": maybe(whole),
        "count": maybe(whole),
        "detail": text,
    }
    | dict.fromkeys(("max_abs", "mean_abs", "rms", "relative_l2", "cosine"), maybe(number))
)
FLIPS = ("left_right", "up_down", "rotate_180", "transpose")
FILTER = record(
    {"index": whole, "l2": number, "duplicate_of": maybe(whole)}
    | dict.fromkeys(FLIPS, maybe(number))
    | dict.fromkeys(("untouched", "zero", "constant", "nonfinite"), flag),
    {"dead": flag, "mirrored": whole, "front_back": number},
)
INITIALIZER = record(
    {
        "verdict": one_of(*INITIALIZER_VERDICTS),
        "match": maybe(text),
        "certainty": maybe(one_of(*get_args(Certainty))),
        "on_grid": maybe(number),
        "p_value": maybe(number),
    },
    {"test": text, "chance": maybe(number), "rows": maybe(whole), "reason": text},
)
POOLED = record({"mean_r": maybe(number), "z": maybe(number)})
LAYER = record(
    {
        "tensor": text,
        "layer": text,
        "kernel": many(whole),
        "channels": whole,
        "filters": whole,
        "initializer": INITIALIZER,
        "counts": record(
            dict.fromkeys(
                ("untouched", "symmetric", "antisymmetric", "zero", "constant", "duplicate", "nonfinite"), whole
            ),
            {"dead": whole},
        ),
        "expected_symmetric": maybe(number),
        "symmetry_p_value": maybe(number),
        "symmetry": record({}, dict.fromkeys(FLIPS, POOLED)),
        "detail": many(FILTER),
    },
    {"flagged_symmetric": flag},
)
ENDPOINT = record(
    {"name": text, "tensor": text, "dtype": text, "shape": maybe(many(maybe(whole)))},
    {"encoding": one_of("sparse", "composite"), "components": many(text)},
)
SIGNATURE = record(
    {"name": text, "method": text, "tags": many(text), "inputs": many(ENDPOINT), "outputs": many(ENDPOINT)}
)
ROW = record(
    {
        "layer": text,
        "class": text,
        "depth": whole,
        "output_shape": maybe(many(maybe(integer))),
        "parameters": whole,
        "weights": many(text),
        "trainable": maybe(flag),
        "config": facts,
    },
    {"inbound": many(many(text))},
)
HISTOGRAM = record(
    {
        "low": number,
        "high": number,
        "counts": many(whole),
        "outside": whole,
        "quantiles": record({}, {str(share): number for share in (0.01, 0.25, 0.5, 0.75, 0.99)}),
        "sampled": whole,
    }
)


def _ranked(value: Any, where: str) -> Iterator[str]:
    if type(value) is not list or len(value) != 3:
        yield f"{where}: {value!r} is no [index, label, score]"
        return
    yield from (*whole(value[0], where), *text(value[1], where), *number(value[2], where))


OUTPUT = record({"name": text, "dtype": text, "shape": many(whole), "values": many(number), "texts": many(text)})
RUN = record(
    {
        "name": one_of(*RUN_NAMES),
        "top": many(_ranked),
        "output": many(number),
        "max_abs_diff": maybe(number),
        "top1_changed": maybe(flag),
        "seconds": number,
    },
    {"identical": maybe(flag), "error": text, "detail": text, "outputs": many(OUTPUT)},
)
PROBE = record({"name": text, "max_abs_diff": number, "identical": flag})
VARIANT = record(
    {
        "preprocess": text,
        "range": many(number),
        "top": many(_ranked),
        "max_abs_diff": maybe(number),
        "top1_changed": maybe(flag),
        "chosen": flag,
        "error": text,
    }
)
EXPECTATION = record(
    {
        "path": text,
        "max_abs_diff": maybe(number),
        "top1_changed": maybe(flag),
        "identical": flag,
        "within": flag,
        "top": many(_ranked),
        "error": text,
    }
)
PREDICTED = record(
    {"path": text, "preprocess": text, "runs": many(RUN)},
    {"shape": many(whole), "range": many(number), "verdict": text}
    | {"probes": many(PROBE), "preprocessings": many(VARIANT), "expected": maybe(EXPECTATION)},
)


def _counted(value: Any, where: str) -> Iterator[str]:
    if type(value) is not list or len(value) != 2:
        yield f"{where}: {value!r} is no [label, images]"
        return
    yield from (*text(value[0], where), *whole(value[1], where))


MOVE = record(
    {"name": text, "control": flag, "mean": number, "top1_changed": number}
    | dict.fromkeys(("interval", "top1_changed_interval"), many(number))
)
MANY = record(
    {
        "path": text,
        "images": whole,
        "failed": many(text),
        "measure": text,
        "moves": many(MOVE),
        "spread": number,
        "classes": many(_counted),
        "verdict": text,
    }
)
LAYER_SPREAD = record(
    {
        "layer": text,
        "class": text,
        "shape": many(maybe(integer)),
        "spread": number,
        "scale": number,
        "zeros": number,
        "finite": flag,
        "weights": many(text),
    }
)
MODEL = record(
    {
        "path": text,
        "kind": one_of(*get_args(Kind)),
        "loader": text,
        "signature": maybe(text),
        "input": maybe(facts),
        "tensorflow": text,
    },
    {
        "output": maybe(text),
        "inputs": many(facts),
        "outputs": many(text),
        "keras": maybe(text),
        "python": text,
        "others": many(text),
        "architecture": text,
        "bound": text,
        "connected": facts,
        "proposed": facts,
        "switches": many(facts),
        "sandbox": facts,
        "flagged": many(facts),
        "labels": text,
        "seconds": facts,
    },
)
SYMPTOM = one_of(*SYMPTOMS)
CAUSE = record(
    {
        "cause": text,
        "title": text,
        "symptoms": many(SYMPTOM),
        "certainty": one_of(*get_args(Certainty)),
        "score": number,
        "evidence": many(text),
        "next_step": text,
        "findings": many(text),
        "where": maybe(text),
    }
)
RULED_OUT = record(
    {"cause": text, "title": text, "symptoms": many(SYMPTOM), "reason": text, "asked": flag, "ask": text}
)
WHY_STEP = record(
    {"name": text, "state": one_of("done", "failed", "skipped"), "detail": text, "seconds": number, "ask": text}
)
WHY = {
    "model": facts,
    "symptom": maybe(SYMPTOM),
    "shown": many(SYMPTOM),
    "verdict": text,
    "causes": many(CAUSE),
    "ruled_out": many(RULED_OUT),
    "steps": many(WHY_STEP),
    "images": many(text),
    "notes": many(text),
}
SUMMARY = record(
    dict.fromkeys(
        ("error", "warning", "info", "artifacts", "tensors_checked", "tensors_unreadable", "bytes_read"), whole
    )
    | {"seconds": number}
)
RUN_OF_SAVES = record(
    {"path": text, "label": text, "verified": flag}
    | dict.fromkeys(("saves", "damaged", "leftovers"), many(text))
    | dict.fromkeys(("latest", "state", "newest_good"), maybe(text))
)
SALVAGED = record(
    {"name": text, "dtype": text, "shape": many(integer), "bytes": whole, "reason": text, "evidence": facts}
    | {"outcome": one_of(*get_args(Outcome))}
)
CANDIDATE = record(
    {"path": text, "step": maybe(integer), "identical": whole, "weights": whole, "relative_l2": maybe(number)}
)
ORIGIN = record(
    {
        "run": text,
        "answer": one_of("yes", "no"),
        "save": maybe(text),
        "step": maybe(integer),
        "weights": whole,
        "reason": text,
        "candidates": many(CANDIDATE),
    }
)
DIGESTED = record(
    TENSOR_FIELDS
    | {
        "layer_class": text,
        "hash": maybe(text),
        "crc32c": maybe(whole),
        "l2": maybe(number),
        "nonfinite": maybe(whole),
        "samples": many(number),
        "problem": text,
    },
)
COURSE = record(
    {"name": text, "shape": many(integer), "l2": many(maybe(number)), "delta_l2": many(maybe(number))}
    | {"nonfinite": many(maybe(whole))}
)
CURVE = record({"tag": text, "source": text, "steps": many(integer), "values": many(number), "walls": many(number)})
PREDICTION_KEYS: dict[str, Check] = {
    "many": maybe(MANY),
    "layers": many(LAYER_SPREAD),
    "dies_at": maybe(text),
    "notes": many(text),
}
DOCUMENTS: dict[str, dict[str, Check]] = {
    "ckptui/ls/1": {"artifacts": many(ARTIFACT), "runs": many(RUN_OF_SAVES)},
    "ckptui/show/1": {
        "artifact": ARTIFACT,
        "tensors": many(record(TENSOR_FIELDS)),
        "signatures": many(SIGNATURE),
        "architecture": many(ROW),
    },
    "ckptui/stats/1": {"artifact": ARTIFACT, "tensors": many(record(TENSOR_FIELDS | {"stats": maybe(STATS)}))},
    "ckptui/check/1": {"artifacts": many(ARTIFACT), "summary": SUMMARY, "runs": many(RUN_OF_SAVES)},
    "ckptui/diff/1": {
        "a": ARTIFACT,
        "b": ARTIFACT,
        "pairs": many(PAIR),
        "summary": record(dict.fromkeys(get_args(PairStatus), whole)),
        "relation": record(
            {"verdict": one_of(*VERDICTS), "certainty": one_of(*get_args(Certainty)), "evidence": facts}
        ),
    },
    "ckptui/digest/1": {
        "artifact": ARTIFACT,
        "tensors": many(DIGESTED),
        "architecture": many(ROW),
        "operations": many(facts),
    },
    "ckptui/timeline/1": {
        "saves": many(ARTIFACT),
        "tensors": many(COURSE),
        "scalars": many(CURVE),
    },
    "ckptui/filters/1": {"artifact": ARTIFACT, "layers": many(LAYER)},
    "ckptui/predict/1": {"model": MODEL, "images": many(PREDICTED)} | PREDICTION_KEYS,
    "ckptui/why/1": WHY,
    "ckptui/export/1": {
        "artifact": ARTIFACT,
        "file": text,
        "tensors": whole,
        "bytes": whole,
        "left_out": many(record({"tensor": text, "reason": text})),
    },
    "ckptui/salvage/1": {
        "artifact": ARTIFACT,
        "output": maybe(text),
        "files": many(text),
        "method": one_of(*get_args(Method)),
        "layout": text,
        "targets": many(one_of(*get_args(Target))),
        "unnamed": maybe(whole),
        "notes": many(text),
        "tensors": many(SALVAGED),
        "summary": record(dict.fromkeys((*get_args(Outcome), "bytes"), whole)),
    },
}
OPTIONAL: dict[str, dict[str, Check]] = {
    "ckptui/show/1": {"stats": maybe(STATS), "histogram": maybe(HISTOGRAM)},
    "ckptui/diff/1": {
        "only": many(one_of(*get_args(PairStatus))),
        "fail_above": number,
        "weights_only": flag,
        "origin": ORIGIN,
    },
}


def problems(document: Any) -> list[str]:
    """Every departure of a document from the contract of its schema; empty when it keeps it."""
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema == "ckptui/error/1":
        fields = {"schema": text, "title": text, "detail": text, "hint": text}
        return list(record(fields)(document, "error"))
    if schema not in DOCUMENTS:
        return [f"no such schema: {schema!r}"]
    shape = record({"schema": text, **DOCUMENTS[schema], "findings": many(FINDING)}, OPTIONAL.get(schema))
    return [*shape(document, schema), *_meaning(document)]


def _meaning(document: Mapping[str, Any]) -> Iterator[str]:
    """What the numbers of a document must say about each other."""
    for tensor in document.get("tensors", ()) if document["schema"] == "ckptui/stats/1" else ():
        if tensor["stats"]:
            yield from _stats_meaning(tensor)
    if document["schema"] == "ckptui/check/1":
        for severity in get_args(Severity):
            if document["summary"][severity] != sum(f["severity"] == severity for f in document["findings"]):
                yield f"summary.{severity} is not the number of findings"
        if document["summary"]["artifacts"] != len(document["artifacts"]):
            yield "summary.artifacts is not the number of artifacts"
    own = OWN_MEANING.get(document["schema"])
    if own is not None:
        yield from own(document)
    yield from _runs_meaning(document)
    if document["schema"] == "ckptui/diff/1":
        for status in get_args(PairStatus):
            count = sum(p["status"] == status for p in document["pairs"])
            shown = status in document.get("only", get_args(PairStatus))
            if count != (document["summary"][status] if shown else 0):
                yield f"summary.{status} is not the number of pairs"
        if any(p["role"] == "object-graph" for p in document["pairs"]):
            yield "an object graph is paired"


def _courses_meaning(document: Mapping[str, Any]) -> Iterator[str]:
    """A number or null for every save, and none from a save that could not be read."""
    for tensor in document["tensors"]:
        for key in ("l2", "delta_l2", "nonfinite"):
            if len(tensor[key]) != len(document["saves"]):
                yield f"{tensor['name']}: {key} is not one a save"
        if any(
            n is None and (a, d) != (None, None)
            for n, a, d in zip(*(tensor[k] for k in ("nonfinite", "l2", "delta_l2")), strict=False)
        ):
            yield f"{tensor['name']}: numbers of a save that was not read"


def _predictions_meaning(document: Mapping[str, Any]) -> Iterator[str]:
    """The original first, without a difference to itself; what is bit-identical differs by nothing."""
    for image in document["images"]:
        for place, run in enumerate(image["runs"]):
            if (run["name"] == "original") != (place == 0):
                yield f"{image['path']}: {run['name']} at place {place}"
            if run["name"] == "original" and (run["max_abs_diff"], run["top1_changed"]) != (None, None):
                yield f"{image['path']}: the original differs from itself"
            if run.get("identical") and run["max_abs_diff"] not in (0, None):
                yield f"{image['path']}: {run['name']} is bit-identical and {run['max_abs_diff']} away"
            if run.get("error") and run["output"]:
                yield f"{image['path']}: {run['name']} failed and answered"
        if sum(variant["chosen"] for variant in image.get("preprocessings", ())) > 1:
            yield f"{image['path']}: two preprocessings are the one on show"
    layers = [layer["layer"] for layer in document["layers"]]
    if document["dies_at"] is not None and document["dies_at"] not in layers:
        yield f"dies_at: {document['dies_at']} is none of the layers"
    for move in document["many"]["moves"] if document["many"] else ():
        for value, ends in ((move["mean"], "interval"), (move["top1_changed"], "top1_changed_interval")):
            low, high = move[ends]
            if all(type(n) in (int, float) for n in (low, value, high)) and not low <= value <= high:
                yield f"{move['name']}: {value} lies outside of its {ends}"


def _causes_meaning(document: Mapping[str, Any]) -> Iterator[str]:
    """Ranked, each with evidence, and none of them ruled out too."""
    scores = [cause["score"] for cause in document["causes"]]
    if scores != sorted(scores, reverse=True) or not all(0 <= score <= 1 for score in scores):
        yield f"causes are not ranked by their score: {scores}"
    yield from (f"{cause['cause']}: no evidence" for cause in document["causes"] if not cause["evidence"])
    ruled = {entry["cause"] for entry in document["ruled_out"]}
    yield from (f"{c['cause']}: a cause, and ruled out" for c in document["causes"] if c["cause"] in ruled)


def _outcomes_counted(document: Mapping[str, Any]) -> Iterator[str]:
    for outcome in get_args(Outcome):
        if document["summary"][outcome] != sum(t["outcome"] == outcome for t in document["tensors"]):
            yield f"summary.{outcome} is not the number of tensors"


def _runs_meaning(document: Mapping[str, Any]) -> Iterator[str]:
    for run in document.get("runs", ()):
        paths = set(run["saves"])
        if not paths.issuperset(run["damaged"]) or run["newest_good"] not in (None, *paths - set(run["damaged"])):
            yield f"run {run['path']}: saves that are not its own, or good and damaged"
        if run["latest"] not in (None, *paths) or (run["latest"] and not run["state"]):
            yield f"run {run['path']}: its latest save is none of its own, or nobody named it"


def _stats_meaning(tensor: Mapping[str, Any]) -> Iterator[str]:
    name, stats = tensor["name"], tensor["stats"]
    rest = {key: value for key, value in stats.items() if key != "count"}
    if stats["count"] != math.prod(tensor["shape"]):
        yield f"{name}: count is not the product of the shape"
    if tensor["dtype"].startswith("complex") or tensor["dtype"] not in ITEMSIZE or not stats["count"]:
        if any(value is not None for value in rest.values()):
            yield f"{name}: more than a count of {stats['count']} {tensor['dtype']}"
        return
    if None in (stats["finite"], stats["nan"], stats["posinf"], stats["neginf"]):
        yield f"{name}: not counted, though a {tensor['dtype']}"
    elif sum(stats[key] for key in ("finite", "nan", "posinf", "neginf")) != stats["count"]:
        yield f"{name}: finite and non-finite do not add up"
    if tensor["dtype"].lstrip("u").startswith("int"):
        if type(stats["min"]) is not int or type(stats["max"]) is not int:
            yield f"{name}: smallest and largest of integers are no integers"
        if stats["nan"] or stats["posinf"] or stats["neginf"]:
            yield f"{name}: an integer that is not finite"


OWN_MEANING: dict[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "ckptui/salvage/1": _outcomes_counted,
    "ckptui/timeline/1": _courses_meaning,
    "ckptui/predict/1": _predictions_meaning,
    "ckptui/why/1": _causes_meaning,
}
