"""Others beside the model: another save or export, another TensorFlow."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ckptui.core.catalogue import make
from ckptui.core.model import Finding, Listing, Run
from ckptui.core.text import safe
from ckptui.errors import Cancelled, CkptuiError, ModelDoesNotLoad
from ckptui.predict import compare
from ckptui.predict.answers import Feed
from ckptui.predict.borrow import Borrowed
from ckptui.predict.inputs import materials_of
from ckptui.predict.loading import Loaded, Order, named_inputs
from ckptui.predict.protocol import OTHER_TENSORFLOW
from ckptui.predict.reporting import newer_keras
from ckptui.predict.subject import Subject
from ckptui.predict.trust import damage_of
from ckptui.predict.wish import Wish

if TYPE_CHECKING:
    from ckptui.predict.course import Course


OWN_PYTHON = "ckptui's own Python may load it: leave out --tf-python"


@dataclass(frozen=True, slots=True)
class Against:
    """Another save or model whose answers stand beside the first one's."""

    listing: Listing
    architecture: str | None = None
    weights: Borrowed | None = None

    def order(self, wish: Wish) -> Order:
        """What is to be loaded for it."""
        artifact = self.listing.artifact
        chosen = (wish.signature, self.architecture, self.weights, wish.output, named_inputs(wish))
        return Order(artifact.path, artifact.kind, *chosen)


def against(course: Course, asked: Sequence[Subject]) -> Iterator[str | Run]:
    """The other save, in the process that was fresh."""
    if course.against is None:
        return
    listing = course.against.listing
    name, damage = name_of(listing.artifact.path), damage_of(listing)
    course.against_findings += damage
    yield f"against {name}"
    model = Loaded(course.fresh, course.against.order(course.wish))
    try:
        model.ensure(course.cancel)
        feeds = _fed_as(course, model.facts)
    except Cancelled:
        raise
    except CkptuiError as error:
        if isinstance(error, ModelDoesNotLoad):
            error = fitting(course, error, damage)
            path, advice = listing.artifact.path, error.hint or None
            course.against_findings.append(make("model-does-not-load", path, detail=error.detail, advice=advice))
        for subject in asked:
            yield subject.not_run(compare.AGAINST, error, name)
        return
    if model.bound is not None:
        course.notes.append(f"{name}: {model.bound.words}")
    for subject in asked:
        feed, words = feeds.get(id(subject), (subject.feed(), ""))
        if isinstance(feed, CkptuiError):
            yield subject.not_run(compare.AGAINST, feed, name)
        else:
            yield _answered(subject, model, compare.AGAINST, feed, name + words, course.cancel)


def fitting(course: Course, error: ModelDoesNotLoad, damage: Sequence[Finding]) -> ModelDoesNotLoad:
    """The same with a hint that helps: no TensorFlow makes a damaged file whole, and who named one knows the option."""
    if error.hint != OTHER_TENSORFLOW or not (damage or course.wish.tf_python):
        return error
    own = len(course.wish.tf_python) == 1 and bool(course.others)
    return ModelDoesNotLoad(error.detail, OWN_PYTHON if own and not damage else "", error.said, error.bound)


def _answered(
    subject: Subject,
    model: Loaded,
    name: str,
    feed: Feed,
    detail: str,
    cancel: threading.Event | None,
    changed: Callable[[], CkptuiError | None] = lambda: None,
) -> Run:
    """One row; a call that fails costs nothing else, a process that died of it is started again.

    `changed`: why what is loaded then is another model.
    """
    try:
        if model.worker.pid is None:
            model.ensure(cancel)
            again = changed()
            if again is not None:
                raise again
        return subject.elsewhere(model, name, feed, detail, cancel)
    except Cancelled:
        raise
    except CkptuiError as error:
        return subject.not_run(name, error, detail)


def _fed_as(course: Course, facts: dict[str, Any]) -> dict[int, tuple[Feed | CkptuiError, str]]:
    """Per subject what another model gets where that differs, and how; nothing where it takes the same.

    Another model's own first layers say how it wants its images. Where nothing is known of them, or the
    preprocessing was asked for, both get the same.
    """
    ours = course.model.facts
    shapes = [[(e["dtype"], e["shape"]) for e in f.get("inputs") or []] for f in (ours, facts)]
    known = bool(facts.get("first")) and facts["first"] != ours.get("first")
    if shapes[0] == shapes[1] and (course.wish.preprocess != "auto" or not known):
        return {}
    found: dict[int, tuple[Feed | CkptuiError, str]] = {}
    made = materials_of(course.wish, course.images, facts, course.reader, course.cancel)
    for subject, material in zip(course.subjects, made, strict=False):
        if isinstance(material, tuple):
            found[id(subject)] = material[1], ""
        else:
            same = subject.material is None or material.words == subject.material.words
            found[id(subject)] = material.original(), "" if same else f", {material.words}"
    return found


def other_versions(course: Course, asked: Sequence[Subject]) -> Iterator[str | Run]:
    """The same under every other Python, one after the other: each has TensorFlow's memory."""
    told: set[str] = set()
    for begin in course.others:
        worker = begin()
        yield f"under {safe(worker.python)}"
        detail = safe(worker.python)
        try:
            versions = worker.hello(course.cancel)
            detail = f"TensorFlow {safe(str(versions.get('tensorflow', '')))}"
            if detail in told or versions.get("tensorflow") == course.versions.get("tensorflow"):
                detail += f" in {safe(worker.python)}"
            told.add(detail)
            model = Loaded(worker, course.order)
            model.ensure(course.cancel)
            changed = course.changed()
            if changed is not None:
                raise changed
            for subject in asked:
                yield _answered(subject, model, compare.OTHER_TF, subject.feed(), detail, course.cancel, course.changed)
        except Cancelled:
            raise
        except ModelDoesNotLoad as error:
            for subject in asked:
                plain = ModelDoesNotLoad(error.detail, "" if error.hint == OTHER_TENSORFLOW else error.hint)
                why = newer_keras(course.saved_by, versions) or plain
                yield subject.not_run(compare.OTHER_TF, why, detail)
        except CkptuiError as error:
            for subject in asked:
                yield subject.not_run(compare.OTHER_TF, error, detail)
        finally:
            worker.close()


def name_of(path: str) -> str:
    """The last part of a path, made harmless."""
    return safe(os.path.basename(path.rstrip("/")) or path)
