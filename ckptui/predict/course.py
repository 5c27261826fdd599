"""The course of one prediction: the model loaded, everything run through it, loaded again, held against others."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ckptui.core.model import Finding, LayerSpread, ManyImages, Predicted, PredictReport, Run
from ckptui.errors import Blocked, Cancelled, ChangedWhileReading, CkptuiError, ModelDoesNotLoad
from ckptui.predict import beside, compare, expect, probes, rivals
from ckptui.predict.client import Worker
from ckptui.predict.dying import where_it_dies
from ckptui.predict.image import ImageReader
from ckptui.predict.inputs import folder_recipe, materials_of
from ckptui.predict.judging import findings_of
from ckptui.predict.labels import Labels
from ckptui.predict.loading import Loaded, Order
from ckptui.predict.many import many_images
from ckptui.predict.recorded import Recorded
from ckptui.predict.reporting import described, load_findings, of_training_graph, refused, switch_notes
from ckptui.predict.sandbox import not_enforced
from ckptui.predict.subject import Subject
from ckptui.predict.trust import blocked_findings
from ckptui.predict.wish import Wish

Told = str | Run | Predicted | PredictReport
WRITTEN_ANEW = "the model's files were written anew since the first row"


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
    against: rivals.Against | None = None
    others: Sequence[Callable[[], Worker]] = ()
    """Makes a worker under another Python each."""
    flagged: tuple[Finding, ...] = ()
    damage: tuple[Finding, ...] = ()
    """What the listing of the save says is wrong with it."""
    saved_by: str = ""
    """The version of Keras that wrote the save, where it says so."""
    cancel: threading.Event | None = None
    recorded: Recorded | None = None
    """Answers of another time."""
    subjects: list[Subject] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    many: ManyImages | None = None
    folder_findings: list[Finding] = field(default_factory=list)
    blocked: compare.Facts = field(default_factory=lambda: compare.Facts(""))
    """What it tried in runs that are no row of an image."""
    against_findings: list[Finding] = field(default_factory=list)
    """What is wrong with the other save."""
    layers: tuple[LayerSpread, ...] = ()
    dies_at: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    """Where the time went: `start`, `load`, `runs`, `images`, `reload`, `fresh`, `against`, `versions`."""
    began: float = field(default_factory=time.monotonic)
    files: tuple[Any, ...] = ()
    """The state of the model's files before anything was read of them."""
    lost: bool = False
    """The worker died, and what its files hold by now is another model."""

    def run(self) -> Iterator[Told]:
        """Everything, in order; the report is last."""
        yield f"loading {rivals.name_of(self.order.path)}"
        begin = time.monotonic()
        self.files = self.order.identity()
        try:
            self.model.ensure(self.cancel)
        except (Blocked, ModelDoesNotLoad) as error:
            if isinstance(error, ModelDoesNotLoad):
                error = rivals.fitting(self, error, self.damage)
            yield refused(self.order, self.versions, error, self.flagged, self.damage, self.saved_by)
            return
        self.seconds["load"] = time.monotonic() - begin
        if self.model.bound is not None:
            yield self.model.bound.told
        yield from self._timed("runs", self._first())
        asked = [subject for subject in self.subjects if subject.failed is None]
        self._raise_without_answer(asked)
        if self.recorded is not None and (asked or not self.subjects):
            expect.check_compared(self.recorded, [subject.expected for subject in self.subjects])
        yield from self._timed("runs", self._beside(asked))
        yield from self._timed("images", self._folder())
        if asked:
            yield from self._elsewhere(asked)
        predicted = tuple(subject.predicted() for subject in self.subjects)
        yield from predicted
        yield self._report(predicted)

    def _timed(self, name: str, told: Iterator[Told]) -> Iterator[Told]:
        """The same, and the seconds it takes by itself: whoever looks at a row takes their own time."""
        while True:
            begin = time.monotonic()
            try:
                item = next(told)
            except StopIteration:
                return
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begin
            yield item

    def _raise_without_answer(self, asked: Sequence[Subject]) -> None:
        """Where not one image has an answer that is the error; what the cage stopped is a finding instead."""
        failed = [subject.failed for subject in self.subjects if subject.failed is not None]
        stopped = any(isinstance(error, Blocked) for error in failed)
        if failed and not asked and not stopped and self.wish.images_dir is None:
            raise failed[0]

    def _report(self, predicted: tuple[Predicted, ...]) -> PredictReport:
        facts, path = [subject.facts for subject in self.subjects], self.order.path
        judged = of_training_graph(findings_of(path, facts, self.layers, self.dies_at), self.order.meta)
        findings = [*self.damage, *load_findings(self.model), *judged]
        findings += probes.variant_findings(path, self.subjects)
        if self.recorded is not None:
            held = [(subject.path, subject.expected) for subject in self.subjects]
            findings += expect.findings(path, self.recorded, [(p, e) for p, e in held if e is not None])
        findings += blocked_findings(path, [*facts, self.blocked])
        codes = {finding.code for finding in findings}
        findings += [finding for finding in self.folder_findings if finding.code not in codes]
        findings += [finding for finding in self.against_findings if finding not in findings]
        about = described(self.order, self.model.facts, self.versions, self.model.bound, self.flagged)
        about["seconds"] = {name: round(value, 3) for name, value in self.seconds.items()}
        about["seconds"]["all"] = round(time.monotonic() - self.began, 3)
        if any(subject.labels for subject in self.subjects):
            about["labels"] = self.labels.path
        notes = (*not_enforced(self.versions.get("cage") or {}), *switch_notes(self.model.facts), *self.notes)
        answered = [subject.facts.outputs for subject in self.subjects if subject.answer is not None]
        notes += tuple(dict.fromkeys(filter(None, map(self.labels.misfit, answered))))
        return PredictReport(
            about, predicted, tuple(findings), self.many, tuple(self.layers), self.dies_at, tuple(notes)
        )

    def _first(self) -> Iterator[Told]:
        """Everything of each image that needs nothing but the loaded model; one that fails costs only itself."""
        bound = self.model.bound
        for made in materials_of(self.wish, self.images, self.model.facts, self.reader, self.cancel):
            path = made[0] if isinstance(made, tuple) else made.path
            subject = Subject(path, self.labels, self.wish.top)
            self.subjects.append(subject)
            subject.facts.partly = f"{bound.told}; the rest {bound.rest}" if bound is not None and bound.missing else ""
            yield f"predicting {rivals.name_of(path)}"
            if isinstance(made, tuple):
                yield subject.fail(made[1])
                continue
            subject.prepare(made)
            yield subject.predicted()
            try:
                self.alive()
                yield subject.original(self.model, self.cancel)
            except Cancelled:
                raise
            except CkptuiError as error:
                if self.model.worker.pid is None and not isinstance(error, (Blocked, ChangedWhileReading)):
                    raise
                yield subject.fail(error)
                continue
            for name in filter(self.wish.wants, subject.flips()):
                yield from self.row(subject, name, subject.changed, name)
            if self.wish.wants(compare.REPEAT):
                yield from self.row(subject, compare.REPEAT, subject.repeated)
            if self.wish.runs is None:
                self._quietly(subject.probed)
                self._quietly(subject.silenced)
            if self.wish.all_preprocessing:
                yield "under every preprocessing"
                self._quietly(partial(probes.vary, subject))
            if self.recorded is not None:
                place, together = len(self.subjects) - 1, subject.answer.rows
                row = self.recorded.row_for(place, path, len(self.images), together)
                subject.expected = expect.expectation(self.recorded, row, subject.answer, subject.labels, self.wish.top)

    def _beside(self, asked: Sequence[Subject]) -> Iterator[Told]:
        """Among each other, and in training mode, and layer by layer: the last before the model is loaded anew."""
        materials = [subject.material for subject in asked if subject.material is not None]
        for subject in asked if self.wish.wants(compare.IN_BATCH) else ():
            others = [material for material in materials if material is not subject.material]
            yield from self.row(subject, compare.IN_BATCH, partial(beside.batched, subject, others))
        for subject in asked if self.model.takes_training and self.wish.wants(compare.TRAINING) else ():
            yield from self.row(subject, compare.TRAINING, subject.trained)
        self._quietly(self._look_at_layers)

    def _elsewhere(self, asked: Sequence[Subject]) -> Iterator[Told]:
        """Loaded anew, and through others."""
        if self.wish.wants(compare.RELOAD):
            yield "reloading"
            yield from self._timed("reload", again(asked, compare.RELOAD, self.model, self.cancel, self.changed))
        if self.wish.wants(compare.FRESH):
            yield "loading in a fresh process"
            model = Loaded(self.fresh, self.order)
            yield from self._timed("fresh", again(asked, compare.FRESH, model, self.cancel, self.changed))
        if self.wish.wants(compare.AGAINST):
            yield from self._timed("against", rivals.against(self, asked))
        if self.wish.wants(compare.OTHER_TF):
            yield from self._timed("versions", rivals.other_versions(self, asked))

    def changed(self) -> ChangedWhileReading | None:
        """Training goes on and writes the model anew: what is loaded from now on is another model.

        To be asked after a load: whatever it read was there before.
        """
        same = self.order.identity() == self.files
        return None if same else ChangedWhileReading(WRITTEN_ANEW)

    def _look_at_layers(self, model: Loaded, cancel: threading.Event | None) -> None:
        """Where an answer that nothing moves stops following the input; asked for, every layer of any answer."""
        constant = [s for s in self.subjects if s.facts.constant or s.facts.constant_silenced]
        looked = constant or [s for s in self.subjects if self.wish.layers and s.failed is None]
        feed = probes.together(looked[0].material) if looked and looked[0].material else None
        if feed is None or not model.facts.get("layers"):
            return
        # what draws anew for every probe would make every layer after it vary
        self.layers = model.layers(feed, cancel, training=False if looked[0].facts.silenced else None)
        if not constant:
            return
        self.dies_at = where_it_dies(self.layers)
        dead = next((row for row in self.layers if row.layer == self.dies_at), None)
        for subject in constant if dead is not None else ():
            subject.facts.dies_at = f"{dead.layer} ({dead.class_name})" if dead is not None else ""

    def _folder(self) -> Iterator[Told]:
        """What only many images show."""
        if self.wish.images_dir is None:
            return
        recipe = folder_recipe(self.wish, self.model.facts, self.reader, self.cancel)
        try:
            self.alive()
        except ChangedWhileReading as error:
            self.notes.append(f"the images of {rivals.name_of(self.wish.images_dir)} were not asked: {error}")
            return
        found = many_images(self.model, self.wish.images_dir, recipe, self.reader, self.labels, self.cancel)
        for item in found:
            if isinstance(item, ManyImages):
                self.many = item
            elif isinstance(item, Finding):
                self.folder_findings.append(item)
            else:
                yield item

    def row(self, subject: Subject, name: str, run: Callable[..., Run | None], *args: Any) -> Iterator[Run]:
        """One run; what fails is a row with its error, and a worker that died of it is started again."""
        try:
            self.alive()
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
            self.alive()
            ask(self.model, self.cancel)
        except Cancelled:
            raise
        except Blocked as error:
            self.blocked.blocked.append(("probes", error.detail))
        except CkptuiError:
            return

    def alive(self) -> None:
        """A worker that died loads the model anew.

        Raises ChangedWhileReading where its files were written anew since; ModelDoesNotLoad, WorkerFailed,
        Cancelled as `Loaded.ensure`.
        """
        failure: CkptuiError | None = None
        if not self.lost and self.model.worker.pid is None:
            try:
                self.model.ensure(self.cancel)
            except Cancelled:
                raise
            except CkptuiError as error:
                failure = error
            self.lost = self.changed() is not None
        if self.lost:
            raise ChangedWhileReading(WRITTEN_ANEW)
        if failure is not None:
            raise failure


def again(
    subjects: Sequence[Subject],
    name: str,
    model: Loaded,
    cancel: threading.Event | None,
    changed: Callable[[], CkptuiError | None] = lambda: None,
) -> Iterator[Run]:
    """Load anew and run every image once more; a load that fails, or of `changed` files, is a row of each."""
    failure: CkptuiError | None = None
    try:
        model.ensure(cancel, again=True)
    except Cancelled:
        raise
    except CkptuiError as error:
        failure = error
    failure = changed() or failure
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
