"""What a prediction tells beside its rows: the model, how it was loaded, what could not be enforced."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ckptui.core.catalogue import make
from ckptui.core.model import Finding, PredictReport
from ckptui.core.text import counted, safe
from ckptui.errors import Blocked, ModelDoesNotLoad
from ckptui.predict.loading import Bound, Loaded, Order
from ckptui.predict.sandbox import not_enforced
from ckptui.predict.trust import blocked_finding, sandbox_of

IN_TRAINING = ("nondeterministic", "batch-dependent")
"""What a graph for training does because it is one: live dropout, batch statistics."""
NAMED = 5
"""Names of weights that a detail lists."""


def described(
    order: Order,
    facts: Mapping[str, Any],
    versions: Mapping[str, Any],
    bound: Bound | None = None,
    flagged: Sequence[Finding] = (),
) -> dict[str, Any]:
    """`model` of the predict document."""
    inputs = list(facts.get("inputs") or [])
    model: dict[str, Any] = {
        "path": order.path,
        "kind": order.kind,
        "loader": facts.get("loader", ""),
        "others": list(facts.get("others") or []),
        "signature": facts.get("signature") or None,
        "input": inputs[0] if inputs else None,
        "inputs": inputs,
        "output": facts.get("output"),
        "outputs": list(facts.get("outputs") or []),
        "tensorflow": versions.get("tensorflow", ""),
        "keras": versions.get("keras", ""),
        "python": versions.get("python", ""),
        "sandbox": sandbox_of(versions.get("cage") or {}),
        "flagged": [
            {"code": f.code, "severity": f.severity, "detail": f.detail, "name": _reaching(f)} for f in flagged
        ],
    }
    if order.architecture is not None:
        model["architecture"] = order.architecture
    if facts.get("connected"):
        # by input: whether anything of it but its shape gets to an output, where the graph could be followed
        model["connected"] = {str(name): bool(reached) for name, reached in facts["connected"].items()}
    if facts.get("random"):
        # operations that draw random numbers an output is made of
        model["random"] = [dict(entry) for entry in facts["random"]]
    if facts.get("proposed"):
        model["proposed"] = dict(facts["proposed"])
        model["switches"] = list(facts.get("switches") or [])
    if bound is not None:
        model["bound"] = bound.told
    return model


def _reaching(finding: Finding) -> str:
    """The op or layer that a flag is about; empty where it names none."""
    return str(finding.evidence.get("op") or finding.evidence.get("layer") or "")


def of_training_graph(findings: Sequence[Finding], meta: str | None) -> list[Finding]:
    """The findings; what is random in the graph of a `.meta` may be meant so: training wrote it, for training."""
    if meta is None:
        return list(findings)
    export = serving_export(os.path.dirname(meta))
    advice = f"{os.path.basename(meta)} holds the graph it was trained with"
    advice += f": predict with {export}, which holds the one for serving" if export else "; export one for serving"
    more = {"graph": meta, **({"export": export} if export else {})}
    return [
        replace(found, advice=f"{safe(advice)}.", evidence={**found.evidence, **more})
        if found.code in IN_TRAINING
        else found
        for found in findings
    ]


def serving_export(folder: str) -> str:
    """The newest SavedModel that an Estimator put beside its checkpoints, in `export/NAME/TIME`; or nothing."""
    below = os.path.join(glob.escape(folder), "export")
    # such a folder's name is the time in seconds
    for depth in ("*/*", "*"):
        found = glob.glob(os.path.join(below, depth, "saved_model.pb"))
        if found:
            return max(map(os.path.dirname, found), key=os.path.basename)
    return ""


def switch_notes(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """What a graph was fed besides the input, or kept by itself, a sentence each."""
    switches = tuple(
        f"{safe(str(switch['name']))} is {safe(str(switch['value']))}: {safe(str(switch['why']))}"
        for switch in facts.get("switches") or ()
    )
    failed = (facts.get("unanswered") or {}).items()
    switches += tuple(f"the output {safe(str(name))} gave no answer: {safe(str(why))}" for name, why in failed)
    idle = tuple(safe(str(name)) for name in facts.get("idle") or ())
    return (*switches, *(f"the input {name} reaches no output: zeros, where nothing is given for it" for name in idle))


def refused(
    order: Order,
    versions: Mapping[str, Any],
    error: ModelDoesNotLoad | Blocked,
    flagged: Sequence[Finding] = (),
    damage: Sequence[Finding] = (),
    saved_by: str = "",
) -> PredictReport:
    """The report of a model that no loader takes, or whose loading tried what the worker may not do.

    `damage` is what the listing of its save says is wrong with it, `saved_by` the Keras that wrote it.
    """
    if isinstance(error, Blocked):
        finding = blocked_finding(order.path, [f"while it was loaded: {error.detail}"], ["load"])
    else:
        evidence: dict[str, Any] = {name: versions.get(name, "") for name in ("tensorflow", "keras")}
        evidence |= {"loaders": list(error.said)} if len(error.said) > 1 else {}
        evidence |= {"bound": list(error.bound)} if error.bound is not None else {}
        later = newer_keras(saved_by, versions)
        said = f"{later}; {error.detail}" if later else error.detail
        advice = error.hint or None
        finding = make("model-does-not-load", order.path, detail=said, evidence=evidence, advice=advice)
    notes = not_enforced(versions.get("cage") or {})
    return PredictReport(described(order, {}, versions, None, flagged), (), (*damage, finding), notes=notes)


def newer_keras(saved_by: str, versions: Mapping[str, Any]) -> str:
    """Why a Keras can't read what a later one saved: `saved by Keras 3.15.1, which Keras 2.15.0 can't read`; or ""."""
    here = str(versions.get("keras") or "")
    saved, own = saved_by.split(".")[0], here.split(".")[0]
    later = saved.isdigit() and own.isdigit() and int(saved) > int(own)
    return f"saved by Keras {safe(saved_by, 20)}, which Keras {safe(here, 20)} can't read" if later else ""


def load_findings(model: Loaded) -> list[Finding]:
    """What filling an architecture from a checkpoint left open."""
    bound, found = model.bound, []
    if bound is not None and model.order.spare:
        return _unread(model.order.path, bound)
    if bound is not None and bound.missing:
        found.append(
            make(
                "weights-missing",
                model.order.path,
                detail=f"{bound.told}; the rest {bound.rest} ({model.order.architecture or model.order.meta})",
                evidence={"bound": bound.bound, "total": bound.total, "missing": list(bound.missing)},
            )
        )
    if bound is not None and bound.refused:
        found.append(
            make(
                "weights-unexpected",
                model.order.path,
                detail=f"{counted(len(bound.refused), 'value')} of the checkpoint found no place: "
                f"{some(bound.refused, len(bound.refused))}",
                evidence={"refused": list(bound.refused)},
            )
        )
    return found


def _unread(path: str, bound: Bound) -> list[Finding]:
    """What of a SavedModel's variables could not be read."""
    if not bound.missing:
        return []
    why = f"; {some(bound.refused, len(bound.refused))}" if bound.refused else ""
    evidence = {
        "bound": bound.bound,
        "total": bound.total,
        "missing": list(bound.missing),
        "refused": list(bound.refused),
    }
    detail = f"{bound.told}; the rest {bound.rest} (its own variables{why})"
    return [make("weights-missing", path, detail=detail, evidence=evidence)]


def some(names: Sequence[str], total: int) -> str:
    """The first of them, and how many more there are."""
    more = f" and {total - NAMED} more" if total > NAMED else ""
    return ", ".join(names[:NAMED]) + more
