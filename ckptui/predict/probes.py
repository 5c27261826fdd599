"""What moves an answer: inputs that have nothing to do with the image, and other ways to prepare it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from ckptui.core.catalogue import make
from ckptui.core.model import Finding, Variant
from ckptui.core.text import counted
from ckptui.errors import UsageError
from ckptui.predict.answers import Answer, Feed
from ckptui.predict.compare import top_of
from ckptui.predict.loading import Loaded
from ckptui.predict.material import FLIPS, PROBES, Material
from ckptui.predict.recipe import variant, variants_of
from ckptui.predict.subject import Subject

MOST_ROWS = 8
MOST_BYTES = 64 << 20
"""Of a batch of probes."""


def together(material: Material) -> Feed | None:
    """The material and every probe of it in one batch, itself first; None where they make no batch."""
    alone = material.original()
    fitting = [alone]
    for name in (*PROBES, *FLIPS):
        feed = material.changed(name)
        if feed is not None and [v.shape for _, v in feed.parts] == [v.shape for _, v in alone.parts]:
            fitting.append(feed)
    size = sum(values.nbytes for _, values in alone.parts) or 1
    fitting = fitting[: min(MOST_ROWS, max(2, MOST_BYTES // size))]
    if alone.rows != 1 or len(fitting) < 2:
        return None
    joined = [
        (name, np.concatenate([feed.parts[place][1] for feed in fitting]))
        for place, (name, _) in enumerate(alone.parts)
    ]
    return Feed(tuple(joined))


def vary(subject: Subject, model: Loaded, cancel: threading.Event | None) -> None:
    """The image under every preprocessing; one the model refuses is a row with its reason."""
    material = subject.material
    if material is None:
        return
    chosen = material.how
    rows: list[Variant] = []
    for name, made in variants_of(material):
        answer: Answer | str = ""
        if isinstance(made, Feed):
            try:
                answer = subject.answer if name == chosen else subject.called(model, made, cancel)
            except UsageError as error:
                answer = str(error)
        top = top_of(answer.shown, subject.labels, subject.top) if isinstance(answer, Answer) else ()
        shown = material.shown(made) if isinstance(made, Feed) else None
        rows.append(variant(name, made, subject.answer, answer, top, chosen=name == chosen, shown=shown))
        subject.variants = tuple(rows)


def variant_findings(model: str, subjects: Sequence[Subject]) -> list[Finding]:
    """`preprocessing-matters`, where another preprocessing gives another best answer."""
    asked = [subject for subject in subjects if subject.variants and subject.facts.steady]
    changing: dict[str, int] = {}
    for subject in asked:
        for row in subject.variants:
            if row.top1_changed and not row.chosen:
                changing[row.preprocess] = changing.get(row.preprocess, 0) + 1
    if not changing:
        return []
    chosen = next((row.preprocess for subject in asked for row in subject.variants if row.chosen), "")
    moved = [s.path for s in asked if any(row.top1_changed and not row.chosen for row in s.variants)]
    images = f"{len(moved)} of {counted(len(asked), 'image')} get{'s' if len(moved) == 1 else ''}"
    detail = f"{images} another best answer under {', '.join(changing)}"
    detail += f" than under {chosen}" if chosen else ""
    evidence = {"chosen": chosen, "changing": changing, "images": moved}
    return [make("preprocessing-matters", model, detail=detail, evidence=evidence)]
