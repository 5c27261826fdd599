"""The course of one prediction: the model loaded, everything run through it, loaded again, held against others."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckptui.core.model import Finding, Listing, Predicted, PredictReport, Run
from ckptui.core.text import safe
from ckptui.errors import Cancelled, CkptuiError, ModelDoesNotLoad
from ckptui.predict import compare
from ckptui.predict.borrow import Borrowed
from ckptui.predict.client import Worker
from ckptui.predict.image import ImageReader
from ckptui.predict.inputs import materials_of
from ckptui.predict.judging import findings_of
from ckptui.predict.labels import Labels
from ckptui.predict.loading import Loaded, Order
from ckptui.predict.reporting import described, load_findings, refused
from ckptui.predict.subject import Subject
from ckptui.predict.trust import not_enforced
from ckptui.predict.wish import Wish

Told = str | Run | Predicted | PredictReport


@dataclass(frozen=True, slots=True)
class Against:
    """Another save or model whose answers stand beside the first one's."""

    listing: Listing
    architecture: str | None = None
    weights: Borrowed | None = None

    def order(self, wish: Wish) -> Order:
        """What is to be loaded for it."""
        artifact = self.listing.artifact
        return Order(artifact.path, artifact.kind, wish.signature, self.architecture, self.weights, wish.output)


@dataclass(slots=True)
class Course:
    """One prediction under way."""

    order: Order
    images: Sequence[str]
    wish: Wish
    labels: Labels
    reader: ImageReader
    model: Loaded
    fresh: Worker
    versions: dict[str, Any]
    against: Against | None = None
    others: Sequence[Callable[[], Worker]] = ()
    """Makes a worker under another Python each."""
    flagged: tuple[Finding, ...] = ()
    cancel: threading.Event | None = None
    subjects: list[Subject] = field(default_factory=list)

    def run(self) -> Iterator[Told]:
        """Everything, in order; the report is last."""
        yield f"loading {_name(self.order.path)}"
        try:
            self.model.ensure(self.cancel)
        except ModelDoesNotLoad as error:
            yield refused(self.order, self.versions, error, self.flagged)
            return
        if self.model.bound is not None:
            yield self.model.bound.words
        yield from self._first()
        asked = [subject for subject in self.subjects if subject.failed is None]
        for subject in self.subjects if not asked else ():
            assert subject.failed is not None
            raise subject.failed
        yield from self._beside(asked)
        if asked:
            yield "reloading"
            yield from again(asked, compare.RELOAD, self.model, self.cancel)
            yield "in a fresh process"
            yield from again(asked, compare.FRESH, Loaded(self.fresh, self.order), self.cancel)
        predicted = tuple(subject.predicted() for subject in self.subjects)
        yield from predicted
        findings = load_findings(self.model)
        findings += findings_of(self.order.path, [subject.facts for subject in self.subjects])
        about = described(self.order, self.model.facts, self.versions, self.model.bound, self.flagged)
        notes = not_enforced(self.versions.get("cage") or {})
        yield PredictReport(about, predicted, tuple(findings), notes=notes)

    def _first(self) -> Iterator[Told]:
        """Everything of each image that needs nothing but the loaded model; one that fails costs only itself."""
        bound = self.model.bound
        for made in materials_of(self.wish, self.images, self.model.facts, self.reader, self.cancel):
            path = made[0] if isinstance(made, tuple) else made.path
            subject = Subject(path, self.labels, self.wish.top)
            self.subjects.append(subject)
            subject.facts.partly = bound.words if bound is not None and bound.missing else ""
            yield f"predicting {_name(path)}"
            if isinstance(made, tuple):
                yield subject.fail(made[1])
                continue
            subject.prepare(made)
            yield subject.predicted()
            try:
                yield subject.original(self.model, self.cancel)
            except Cancelled:
                raise
            except CkptuiError as error:
                if self.model.worker.pid is None:
                    raise
                yield subject.fail(error)
                continue
            for name in subject.flips():
                yield from self._row(subject, name, subject.changed, name)
            yield from self._row(subject, compare.REPEAT, subject.repeated)
            self._quietly(subject.probed)
            self._quietly(subject.silenced)

    def _beside(self, asked: Sequence[Subject]) -> Iterator[Told]:
        """Among each other, and in training mode: the last runs before the model is loaded anew."""
        materials = [subject.material for subject in asked if subject.material is not None]
        for subject in asked:
            others = [material for material in materials if material is not subject.material]
            yield from self._row(subject, compare.IN_BATCH, subject.batched, others)
        for subject in asked if self.model.takes_training else ():
            yield from self._row(subject, compare.TRAINING, subject.trained)

    def _row(self, subject: Subject, name: str, run: Callable[..., Run | None], *args: Any) -> Iterator[Run]:
        """One run; what fails is a row with its error, and a worker that died of it is started again."""
        try:
            self._alive()
            row = run(self.model, *args, self.cancel)
        except Cancelled:
            raise
        except CkptuiError as error:
            row = subject.not_run(name, error)
        if row is not None:
            yield row

    def _quietly(self, ask: Callable[[Loaded, threading.Event | None], None]) -> None:
        """What makes no row of its own: where it fails its facts stay unknown."""
        try:
            self._alive()
            ask(self.model, self.cancel)
        except Cancelled:
            raise
        except CkptuiError:
            return

    def _alive(self) -> None:
        if self.model.worker.pid is None:
            self.model.ensure(self.cancel)


def again(subjects: Sequence[Subject], name: str, model: Loaded, cancel: threading.Event | None) -> Iterator[Run]:
    """Load anew and run every image once more; a load that fails is a row of each."""
    failure: CkptuiError | None = None
    try:
        model.ensure(cancel, again=True)
    except Cancelled:
        raise
    except CkptuiError as error:
        failure = error
    for subject in subjects:
        if failure is None:
            try:
                yield subject.again(model, name, cancel)
                continue
            except Cancelled:
                raise
            except CkptuiError as error:
                failure = error
        yield subject.not_run(name, failure)


def prepare(worker: Worker, cancel: threading.Event | None) -> None:
    """Let a process import TensorFlow beside what goes on; its failure is met, and told, when it is asked."""

    def begin() -> None:
        with contextlib.suppress(CkptuiError):
            worker.hello(cancel)

    threading.Thread(target=begin, name="ckptui-fresh", daemon=True).start()


def _name(path: str) -> str:
    return safe(os.path.basename(path.rstrip("/")) or path)
