"""Predictions from start to end: a warm worker and a fresh one, every image through every run, one report."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ckptui.core.catalogue import make
from ckptui.core.model import Finding, Listing, Predicted, PredictReport, Run
from ckptui.core.text import safe
from ckptui.errors import Cancelled, CkptuiError, ModelDoesNotLoad, UsageError, WorkerFailed
from ckptui.predict import compare
from ckptui.predict.borrow import Borrowed
from ckptui.predict.client import Worker
from ckptui.predict.image import Form, ImageReader, choose, fit, form_of
from ckptui.predict.labels import Labels, labels_for
from ckptui.predict.loading import Bound, Loaded, Order
from ckptui.predict.signature import check_signature
from ckptui.predict.subject import Subject

Told = str | Run | Predicted | PredictReport

CALLABLE = ("keras-archive", "keras-h5", "saved-model")
WEIGHTS_ONLY = ("keras-weights", "tf-checkpoint")


@dataclass(frozen=True, slots=True)
class _Wish:
    """The options of one prediction."""

    preprocess: str
    labels: Labels
    top: int
    cancel: threading.Event | None


class Predictor:
    """Keeps a warm worker a Python, and the image reader; one prediction at a time, others wait for their turn."""

    def __init__(self, *, nice: int = 0) -> None:
        self._nice = nice
        self._turn = threading.Lock()
        self._workers: dict[tuple[str | None, bool], Worker] = {}
        self._loaded: dict[tuple[str | None, bool], Loaded] = {}
        self._images = ImageReader()
        self._fresh: Worker | None = None

    def predict(
        self,
        listing: Listing,
        images: Sequence[str],
        *,
        weights: Borrowed | None = None,
        architecture: str | None = None,
        preprocess: str = "auto",
        labels: str | None = None,
        top: int = 5,
        signature: str | None = None,
        output: str | None = None,
        tf_python: str | None = None,
        gpu: bool = False,
        cancel: threading.Event | None = None,
    ) -> Iterator[Told]:
        """Run `images` through the model: original, flips, repeat, reload, fresh process.

        Yields lines of state, per image a Predicted without runs as soon as it is decoded, every Run as it is done,
        the whole Predicted, and the PredictReport last (without images where the model does not load).

        Raises:
            UsageError: no image given, none usable, no such signature, or the model takes no image.
            WorkerFailed: the worker died. Cancelled: `cancel` was set.
        """
        if not images:
            raise UsageError("no image is given", "Name at least one PNG, JPEG, GIF, BMP, WebP or .npy")
        path, kind = listing.artifact.path, listing.artifact.kind
        self._check(path, kind, architecture)
        check_signature(listing, signature)
        wish = _Wish(preprocess, labels_for(path, images, labels), top, cancel)
        order = Order(path, kind, signature, architecture, weights, output)
        self._wait(cancel)
        fresh = self._fresh = Worker(tf_python, gpu=gpu, nice=self._nice)
        try:
            yield from self._predict(order, images, wish, (tf_python, gpu), fresh)
        finally:
            fresh.close()
            self._fresh = None
            self._turn.release()

    @staticmethod
    def _check(path: str, kind: str, architecture: str | None) -> None:
        if kind in WEIGHTS_ONLY and architecture is None:
            raise UsageError(
                f"{path} holds weights and no model",
                "Name a .keras or .h5 with its architecture: --architecture ARTIFACT",
                title="No architecture",
            )
        if kind not in CALLABLE + WEIGHTS_ONLY:
            raise UsageError(f"{path} is of kind {kind}", "Predict with a .keras, .h5 or SavedModel", title="No model")

    def _wait(self, cancel: threading.Event | None) -> None:
        while not self._turn.acquire(timeout=0.05):
            if cancel is not None and cancel.is_set():
                raise Cancelled("it waited for another prediction")

    def _predict(
        self,
        order: Order,
        images: Sequence[str],
        wish: _Wish,
        place: tuple[str | None, bool],
        fresh: Worker,
    ) -> Iterator[Told]:
        worker = self._workers.get(place)
        if worker is None:
            worker = self._workers[place] = Worker(place[0], gpu=place[1], nice=self._nice)
        warm = worker.pid is not None
        if not warm:
            self._look(images, wish.cancel)
            yield "starting TensorFlow"
        try:
            versions = worker.hello(wish.cancel)
        except WorkerFailed:
            if not warm:
                raise
            # It died while nobody asked it anything: that is no failure of this prediction.
            yield "starting TensorFlow again"
            versions = worker.hello(wish.cancel)
        _warm_up(fresh, wish.cancel)
        model = self._loaded.get(place)
        if model is None or model.order.identity() != order.identity():
            model = self._loaded[place] = Loaded(worker, order)
        else:
            model.order = order
        yield f"loading {safe(os.path.basename(order.path.rstrip('/')))}"
        try:
            model.ensure(wish.cancel)
        except ModelDoesNotLoad as error:
            yield _refused(order, versions, error)
            return
        if model.bound is not None:
            yield model.bound.words
        form = form_of(model.facts["inputs"])
        how = choose(wish.preprocess, model.facts.get("first", ()), form.dtype)
        subjects = [Subject(path, wish.labels, wish.top) for path in images]
        partly = model.bound.words if model.bound is not None and model.bound.missing else ""
        for subject in subjects:
            subject.facts.partly = partly
            yield f"predicting {safe(os.path.basename(subject.path))}"
            yield from self._first_runs(subject, model, form, how, wish.cancel)
        asked = [subject for subject in subjects if subject.failed is None]
        for subject in subjects if not asked else ():
            assert subject.failed is not None
            raise subject.failed
        yield "reloading"
        yield from _again(asked, compare.RELOAD, model, wish.cancel)
        yield "in a fresh process"
        yield from _again(asked, compare.FRESH, Loaded(fresh, order), wish.cancel)
        predicted = tuple(subject.predicted() for subject in subjects)
        yield from predicted
        findings = _load_findings(model)
        findings += compare.findings_of(order.path, [subject.facts for subject in subjects])
        described = _described(order, model.facts, versions, model.bound)
        yield PredictReport(described, predicted, tuple(findings))

    def _look(self, images: Sequence[str], cancel: threading.Event | None) -> None:
        """Raise what is wrong with the first image where not one of them can be decoded; one is enough to go on."""
        failure: CkptuiError | None = None
        for path in images:
            try:
                self._images.look(path, cancel)
            except Cancelled:
                raise
            except CkptuiError as error:
                failure = failure or error
            else:
                return
        if failure is not None:
            raise failure

    def _first_runs(
        self,
        subject: Subject,
        model: Loaded,
        form: Form,
        how: tuple[str, str],
        cancel: threading.Event | None,
    ) -> Iterator[Run | Predicted]:
        """Decode, then everything that needs no second load; an image that fails costs only itself."""
        try:
            picture = self._images.decode(subject.path, form.size, form.channels, cancel)
            fit(picture, form)
            subject.prepare(picture, form, *how)
            yield subject.predicted()
            yield subject.original(model, cancel)
        except Cancelled:
            raise
        except CkptuiError as error:
            if model.worker.pid is None:
                raise
            yield subject.fail(error)
            return
        for name in (compare.FLIP_LR, compare.FLIP_UD):
            yield subject.flipped(model, name, cancel)
        yield subject.repeated(model, cancel)
        subject.probed(model, cancel)
        subject.silenced(model, cancel)

    def close(self) -> None:
        """End every child; a prediction under way in another thread ends as Cancelled."""
        for child in (self._fresh, self._images, *self._workers.values()):
            if child is not None:
                child.close()
        self._loaded.clear()


def _warm_up(fresh: Worker, cancel: threading.Event | None) -> None:
    """Let the fresh process import TensorFlow beside the first runs."""

    def begin() -> None:
        # Its failure is met, and told, when the fresh process is asked for its prediction.
        with contextlib.suppress(CkptuiError):
            fresh.hello(cancel)

    threading.Thread(target=begin, name="ckptui-fresh", daemon=True).start()


def _again(subjects: Sequence[Subject], name: str, model: Loaded, cancel: threading.Event | None) -> Iterator[Run]:
    """Load anew and run every image once more; a load that fails is a row of each."""
    failure: CkptuiError | None = None
    try:
        if subjects:
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
        yield subject.not_again(name, failure)


def _described(
    order: Order, facts: dict[str, Any], versions: dict[str, Any], bound: Bound | None = None
) -> dict[str, Any]:
    """`model` of the predict document."""
    described: dict[str, Any] = {
        "path": order.path,
        "kind": order.kind,
        "loader": facts.get("loader", ""),
        "signature": facts.get("signature") or None,
        "input": (facts.get("inputs") or [None])[0],
        "output": facts.get("output"),
        "tensorflow": versions.get("tensorflow", ""),
        "keras": versions.get("keras", ""),
        "python": versions.get("python", ""),
        "others": facts.get("others", []),
    }
    if order.architecture is not None:
        described["architecture"] = order.architecture
    if bound is not None:
        described["bound"] = bound.words
    return described


def _refused(order: Order, versions: dict[str, Any], error: ModelDoesNotLoad) -> PredictReport:
    """The report of a model that no loader takes."""
    finding = make(
        "model-does-not-load",
        order.path,
        detail=error.detail,
        evidence={"tensorflow": versions.get("tensorflow", ""), "keras": versions.get("keras", "")},
        advice=error.hint or None,
    )
    return PredictReport(_described(order, {}, versions), (), (finding,))


def _load_findings(model: Loaded) -> list[Finding]:
    """What filling an architecture from a checkpoint left open."""
    bound, found = model.bound, []
    if bound is not None and bound.missing:
        found.append(
            make(
                "weights-missing",
                model.order.path,
                detail=f"{bound.words} into {model.order.architecture}; the rest keeps that file's values",
                evidence={"bound": bound.bound, "total": bound.total, "missing": list(bound.missing)},
            )
        )
    if bound is not None and bound.refused:
        found.append(
            make(
                "weights-unexpected",
                model.order.path,
                detail=f"{len(bound.refused)} value(s) of the checkpoint found no place",
                evidence={"refused": list(bound.refused)},
            )
        )
    return found
