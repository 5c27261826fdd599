"""The workers of a session: a warm one a Python, a fresh one a prediction; one prediction at a time."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

from ckptui.core.model import Finding, Listing, Predicted, PredictReport, Run, WorkerState
from ckptui.errors import Cancelled, CkptuiError, UsageError, WorkerFailed
from ckptui.predict import compare
from ckptui.predict.borrow import Borrowed
from ckptui.predict.client import Worker
from ckptui.predict.course import Course, prepare
from ckptui.predict.image import ImageReader
from ckptui.predict.inputs import signature_asked
from ckptui.predict.labels import labels_for
from ckptui.predict.loading import Loaded, Order, named_inputs
from ckptui.predict.recorded import read_recorded
from ckptui.predict.rivals import Against
from ckptui.predict.sandbox import not_enforced
from ckptui.predict.signature import check_signature
from ckptui.predict.trust import damage_of
from ckptui.predict.wish import Wish

Told = str | Run | Predicted | PredictReport
Place = tuple[str | None, bool]
"""Which Python, and whether it may use the GPU."""

Doing = Literal["none", "starting", "ready", "busy", "loading"]

CALLABLE = ("keras-archive", "keras-h5", "saved-model")
WEIGHTS_ONLY = ("keras-weights", "tf-checkpoint", "tf-checkpoint-v1")


class Predictor:
    """Keeps a warm worker a Python, and the image reader; one prediction at a time, others wait for their turn."""

    def __init__(self, *, nice: int = 0) -> None:
        self._nice = nice
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._workers: dict[Place, Worker] = {}
        self._loaded: dict[Place, Loaded] = {}
        self._images = ImageReader()
        self._fresh: Worker | None = None
        self._starting: dict[Place, threading.Thread] = {}
        self._versions: dict[Place, dict[str, Any]] = {}
        self._doing: dict[Place, Doing] = {}

    def predict(
        self,
        listing: Listing,
        images: Sequence[str],
        *,
        weights: Borrowed | None = None,
        wish: Wish | None = None,
        against: Against | None = None,
        flagged: tuple[Finding, ...] = (),
        cancel: threading.Event | None = None,
    ) -> Iterator[Told]:
        """Run `images` through the model in every way of `compare.ROWS`.

        Yields lines of state, per image a Predicted without runs as soon as it is decoded, every Run as it is done,
        the whole Predicted, and the PredictReport last (without images where the model does not load). `flagged` is
        told in the report: whoever calls this has let it pass. What the listing says is damaged is told there too.

        Raises:
            UsageError: nothing to predict is given, nothing usable, no such signature, or the model takes no image.
            WorkerFailed: the worker died. Cancelled: `cancel` was set.
        """
        wish = wish or Wish()
        if not images and not wish.input and not wish.images_dir:
            raise UsageError("no image is given", "Name at least one PNG, JPEG, GIF, BMP, WebP or .npy")
        path, kind = listing.artifact.path, listing.artifact.kind
        self._check(path, kind, weights is not None)
        if kind == "saved-model":
            wish = replace(wish, signature=signature_asked(wish))
        check_signature(listing, wish.signature)
        labels = labels_for(path, images, wish.labels)
        recorded = read_recorded(wish.expect) if wish.expect else None
        order = Order(path, kind, wish.signature, wish.architecture, weights, wish.output, named_inputs(wish))
        place = (wish.tf_python[0] if wish.tf_python else None, wish.gpu)
        self._wait(cancel)
        began = time.monotonic()
        fresh = self._fresh = Worker(place[0], gpu=place[1], nice=self._nice)
        try:
            worker = self._worker(place)
            needed = wish.wants(compare.FRESH) or (against is not None and wish.wants(compare.AGAINST))
            versions = yield from self._begin(place, images, fresh if needed else None, cancel)
            model = self._loaded.get(place)
            if model is None or model.order.identity() != order.identity():
                model = self._loaded[place] = Loaded(worker, order)
            else:
                model.order = order
            course = Course(order, images, wish, labels, self._images, model, fresh, versions)
            course.against, course.recorded, course.others = against, recorded, self._others(wish)
            course.flagged, course.damage, course.cancel = flagged, damage_of(listing), cancel
            course.seconds["start"] = time.monotonic() - began
            course.began, course.saved_by = began, str(listing.artifact.writer.get("keras") or "")
            self._doing[place] = "busy"
            yield from course.run()
        finally:
            self._doing.pop(place, None)
            fresh.close()
            self._fresh = None
            self._turn.release()

    def _worker(self, place: Place) -> Worker:
        with self._lock:
            if place not in self._workers:
                self._workers[place] = Worker(place[0], gpu=place[1], nice=self._nice)
            return self._workers[place]

    def _others(self, wish: Wish) -> list[Callable[[], Worker]]:
        """Workers under the other Pythons; beside a single one that is named ckptui's own, where it has TensorFlow."""
        others: list[str | None] = list(wish.tf_python[1:])
        named = wish.tf_python[0] if len(wish.tf_python) == 1 else None
        if named is not None and not _same_program(named) and importlib.util.find_spec("tensorflow") is not None:
            others.append(None)
        return [functools.partial(Worker, python, gpu=wish.gpu, nice=self._nice) for python in others]

    def warm_up(self, tf_python: str | None = None, gpu: bool = False) -> None:
        """Have the worker import TensorFlow in a thread of its own; a failure is told when it is asked in earnest."""
        place = (tf_python, gpu)
        worker = self._worker(place)
        with self._lock:
            if place in self._starting or worker.pid is not None:
                return
            thread = threading.Thread(target=self._warm, args=(place,), name="ckptui-warm-up", daemon=True)
            self._starting[place] = thread
            thread.start()

    def _warm(self, place: Place) -> None:
        try:
            self._versions[place] = self._worker(place).hello()
        except CkptuiError:
            self._versions.pop(place, None)
        finally:
            with self._lock:
                self._starting.pop(place, None)

    def state(self, tf_python: str | None = None, gpu: bool = False) -> WorkerState:
        """What the warm worker under this Python does; asks nobody, so that a busy one can be looked at."""
        place = (tf_python, gpu)
        worker = self._workers.get(place)
        pid = worker.pid if worker is not None else None
        versions = self._versions.get(place) or {}
        said = str(versions.get("tensorflow", "")) if pid is not None else ""
        # before `hello` has answered nothing is known: that is not the same as nothing enforced
        kept = not_enforced(versions.get("cage") or {}) if pid is not None and versions else ()
        idle: Doing = "busy" if worker is not None and worker.settling else "ready"
        doing: Doing = self._doing.get(place, idle if pid is not None else "none")
        if place in self._starting:
            doing = "starting"
        model = self._loaded.get(place)
        if doing == "busy" and worker is not None and model is not None and worker.holds is not model:
            doing = "loading"
        return WorkerState(pid, doing, worker.memory if worker is not None else 0, said, kept)

    @staticmethod
    def _check(path: str, kind: str, filled: bool) -> None:
        if kind in WEIGHTS_ONLY and not filled:
            raise UsageError(
                f"{path} holds weights and no model",
                "Name a save, or a Keras config, with its architecture: --architecture ARTIFACT",
                title="No architecture",
            )
        if kind not in CALLABLE + WEIGHTS_ONLY and not filled:
            raise UsageError(f"{path} is of kind {kind}", "Predict with a .keras, .h5 or SavedModel", title="No model")

    def _wait(self, cancel: threading.Event | None) -> None:
        while not self._turn.acquire(timeout=0.05):
            if cancel is not None and cancel.is_set():
                raise Cancelled("it waited for another prediction")

    def _begin(
        self, place: Place, images: Sequence[str], fresh: Worker | None, cancel: threading.Event | None
    ) -> Generator[str, None, dict[str, Any]]:
        """Start the worker where it does not run, and `fresh` beside it, which is wanted later; its versions."""
        worker = self._worker(place)
        starting = self._starting.get(place)
        warm = worker.pid is not None and starting is None
        if not warm:
            self._look(images, cancel)
            yield "starting TensorFlow"
            self._doing[place] = "starting"
        if fresh is not None:
            prepare(fresh, cancel)
        # Whoever warms it up holds it until TensorFlow is there: waiting for that can be cancelled, a lock can't.
        while starting is not None and starting.is_alive():
            if cancel is not None and cancel.is_set():
                raise Cancelled("it waited for the worker to start")
            starting.join(0.02)
        try:
            versions = worker.hello(cancel)
        except WorkerFailed:
            if not warm:
                raise
            # It died while nobody asked it anything: that is no failure of this prediction.
            yield "starting TensorFlow again"
            versions = worker.hello(cancel)
        self._versions[place] = versions
        return versions

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

    def close(self) -> None:
        """End every child; a prediction under way in another thread ends as Cancelled."""
        for child in (self._fresh, self._images, *self._workers.values()):
            if child is not None:
                child.close()
        self._loaded.clear()


def _same_program(python: str) -> bool:
    """Whether it is the Python that runs here; links are not followed, they tell environments apart."""
    found = shutil.which(python) or python
    return os.path.abspath(found) == os.path.abspath(sys.executable)
