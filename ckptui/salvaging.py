"""`ckptui salvage`: what the command does with the session, and what it prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from ckptui.core.model import Progress
from ckptui.core.report import table
from ckptui.core.salvage import SalvageItem, SalvagePlan, SalvageReport
from ckptui.core.text import human_bytes, human_count, safe
from ckptui.narrator import Narrator
from ckptui.output import Answer, findings_text
from ckptui.session import Session

MOST_SHOWN = 10
"""Tensors of one outcome that are named in the text; `--json` and the report name all."""
_WORDS = {
    "recovered": "every byte as it was written",
    "repaired": "one bit turned back, checksum holds again",
    "unverified": "written, but nothing vouches for it",
    "repairable": "not written: one flipped bit, see --repair-bits",
    "lost": "not written",
}
_METHODS = {
    "index": "its own index",
    "walked-index": "its index, block by block from the start",
    "repaired-index": "its index, with a flipped bit turned back",
    "part-index": "the index that an interrupted save left",
    "layout": "the layout of another save",
    "directory": "the file's own directory",
}
LAID_OUT = ("tf-checkpoint", "saved-model")
"""Kinds that `--layout` is for."""
NO_PLACE = "not written: Keras has no place for it in a .weights.h5"
"""Why a tensor that can be read is not in a `.weights.h5`."""
T = TypeVar("T", SalvagePlan, SalvageReport)


def salvage(path: str, target: str, *, layout: str | None, repair_bits: bool) -> Answer:
    """`ckptui salvage`."""
    with Session() as session:
        session.check_salvage_target(path, target)
        plan = _last(session.plan_salvage(path, layout=layout, repair_bits=repair_bits), SalvagePlan, "salvage: look")
        report = _last(
            session.salvage(plan, target, repair_bits=repair_bits), SalvageReport, f"salvage: write {target}"
        )
    return Answer(report.to_json, lambda: text(report), report.plan.findings)


def _last(steps: Iterator[Progress | T], kind: type[T], what: str) -> T:
    """The result that a job ends with, its progress told on the way."""
    narrator = Narrator()
    result: T | None = None
    try:
        for step in steps:
            if isinstance(step, Progress):
                narrator.progress(what, step)
            elif isinstance(step, kind):
                result = step
    finally:
        narrator.close()
    assert result is not None
    return result


def text(report: SalvageReport) -> list[str]:
    """Counts, what was lost and why, the findings, and what to do next."""
    plan = report.plan
    counts = plan.summary
    how = _METHODS[plan.method]
    if plan.layout and plan.method == "layout":
        how += f": {safe(plan.layout)}"
    elif plan.layout:
        how += f", the rest by the layout of {safe(plan.layout)}"
    lines = [
        f"from  {safe(plan.artifact.path)}  by {how}",
        f"to    {safe(report.output)}  {human_bytes(report.bytes)} in {len(report.files)} files",
        "",
    ]
    meanings = {**_WORDS, "recovered": _recovered(plan)}
    rows = [[name, human_count(counts[name]), words] for name, words in meanings.items() if counts[name]]
    lines += table(["outcome", "tensors", "what it means"], rows, right=(1,))
    if plan.unnamed is None:
        lines.append("More may have been in it: what lost its entry lost its name too.")
    for outcome in ("lost", "repairable", "repaired", "unverified"):
        lines += _named([item for item in plan.items if item.outcome == outcome], outcome)
    told = findings_text(plan.findings)
    return [*lines, *([""] if told else []), *told, "", *(safe(note) for note in plan.notes), *_next(report)]


def _recovered(plan: SalvagePlan) -> str:
    """What `recovered` means here: a format without checksums vouches for nothing that it reads."""
    items = [item for item in plan.items if item.outcome == "recovered"]
    bare = sum(item.evidence.get("vouched") is False for item in items)
    if not bare:
        return _WORDS["recovered"]
    if bare == len(items):
        return "read to their ends; no checksum vouches for the values"
    return f"{_WORDS['recovered']}, but for {human_count(bare)} that no checksum vouches for"


def _named(items: Sequence[SalvageItem], outcome: str) -> list[str]:
    if not items:
        return []
    lines = ["", f"{outcome}:"]
    for item in sorted(items, key=lambda item: -item.bytes)[:MOST_SHOWN]:
        lines.append(f"    {safe(item.name, 200)}  {safe(item.reason, 300)}")
    if len(items) > MOST_SHOWN:
        lines.append(f"    … and {len(items) - MOST_SHOWN} more (--json and the report name all)")
    return lines


def _next(report: SalvageReport) -> list[str]:
    """How to load what was written, and what could bring back more."""
    output, plan = safe(report.output), report.plan
    counts = plan.summary
    if report.target == "checkpoint":
        lines = [f"Next: tf.train.load_checkpoint({output!r}) reads every tensor by its name"]
    elif report.target == ".weights.h5":
        skip = ", skip_mismatch=True" if counts["lost"] or counts["repairable"] else ""
        lines = [f"Next: model.load_weights({output!r}{skip})"]
    elif report.target == ".npz":
        lines = [f"Next: numpy.load({output!r})"]
    else:
        lines = [f"Next: safetensors.numpy.load_file({output!r})"]
    if counts["repairable"]:
        lines.append("Again with --repair-bits, flipped bits are turned back where a checksum tells which they are.")
    elsewhere = sum(item.reason == NO_PLACE for item in plan.items)
    if elsewhere:
        lines.append(f"{human_count(elsewhere)} of the lost can be read: -o FILE.npz has room for them too.")
    if plan.unnamed is None and not plan.layout and plan.artifact.kind in LAID_OUT:
        lines.append("Again with --layout SIBLING, another save of the same model tells what else lay in the data.")
    return lines
