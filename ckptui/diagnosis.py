"""Why a model misbehaves: every check that bears on a symptom, one after the other, judged together."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ckptui.core.causes_judged import judge
from ckptui.core.causes_kinds import Gathered
from ckptui.core.model import ArchitectureRow, Listing, Predicted, PredictReport, Run, WhyReport
from ckptui.core.naming import own_names
from ckptui.core.relation_rows import NOT_WEIGHTS
from ckptui.core.settling import settled
from ckptui.core.text import safe
from ckptui.errors import CkptuiError, UsageError
from ckptui.inquiry import Diagnosing, Inquiry, Skipped, Step, WhyTold

if TYPE_CHECKING:
    from ckptui.core.causes import Symptom

MOST_IMAGES = 4
"""Images found beside a model that are tried; of those named all are."""
MOST_NOISE = 1 << 22
"""Values of noise that one input gets at most."""
NOISE_SIDE = 96
"""Pixels of the noise that takes the place of an image."""


class DiagnosisUseCases:
    """The part of a session that asks why."""

    def why(
        self: Diagnosing,
        model: str,
        images: Sequence[str] = (),
        *,
        symptom: Symptom | None = None,
        predict: bool = True,
        cancel: threading.Event | None = None,
        **options: Any,
    ) -> Iterator[WhyTold]:
        """Run all checks that bear on a symptom (None: on all three) and rank the causes; the report comes last.

        Storage, values, filters, the saves around it, then behaviour. A step that fails or can't be taken is told as
        such and stops nothing. Without `images` those beside the model are used, else noise; `predict` False asks no
        model anything. `options` are those of a prediction (see `predict.wish.Wish`).

        Raises:
            NoSuchPath, NotASave: nothing is there that looks like a save.
            Flagged: the model holds ops or layers that reach outside, and `allow_flagged` was not given.
            Cancelled: `cancel` was set before the end.
        """
        inquiry = _Diagnosis(self, model, tuple(images), symptom, dict(options), cancel)
        yield from inquiry.steps_of(predict)
        yield inquiry.report()


class _Diagnosis(Inquiry):
    """The whole question: with what the model answers, and judged."""

    def steps_of(self, predict: bool) -> Iterator[WhyTold]:
        """Every step in order."""
        found = self.session.resolve(self.model)
        yield from self.taken("storage", self.storage(found))
        if predict:
            from ckptui.predict.trust import allowed

            # asked before anything slow is done; the prediction asks again, with what it borrows
            allowed([self.listed()], bool(self.options.get("allow_flagged")))
        yield from self.taken("values", self.values())
        yield from self.taken("filters", self.filters())
        yield from self.taken("run", self.relations())
        yield from self.taken("behaviour", self._behaviour(predict))
        yield from self.taken("many-images", self._many())

    # ------------------------------------------------------------------ behaviour

    def _behaviour(self, predict: bool) -> Step:
        """Every run of a prediction."""
        if not predict:
            raise Skipped("it was not to be asked (--no-predict)")
        there = [path for path in self.images if os.path.exists(path)]
        if self.images and not there:
            raise Skipped(f"no such image: {', '.join(safe(path) for path in self.images[:3])}")
        self.notes += [f"no such image: {safe(path)}" for path in self.images if path not in there]
        if not there and not self.options.get("input"):
            there = _spread(self.session.sibling_images(self.path), MOST_IMAGES)
            if there:
                self.notes.append("no image was named: those beside the model were used")
        with contextlib.ExitStack() as stack:
            noise = not there and not self.options.get("input")
            if noise:
                there = _noise(stack.enter_context(tempfile.TemporaryDirectory(prefix="ckptui-")))
                self.notes.append("no image was named and none lies beside the model: noise was used")
            try:
                yield from self._asked(there, noise)
            except UsageError:
                given = _noise_inputs(self.listed(), os.path.dirname(there[0])) if noise else ()
                if not given:
                    raise
                # it takes no image: every input gets noise of its own shape
                self.options["input"] = given
                yield from self._asked((), noise)
        assert self.predicted is not None
        self.images = tuple(image.path for image in self.predicted.images)
        if not any(run.name == "original" and not run.error for i in self.predicted.images for run in i.runs):
            failed = next((f for f in self.predicted.findings if f.code == "model-does-not-load"), None)
            raise CkptuiError(failed.detail if failed else "no image was answered", title="The model gave no answer")
        names = dict.fromkeys(r.name for i in self.predicted.images for r in i.runs if not r.error)
        count = f"{len(self.images)} image{'s' if len(self.images) != 1 else ''}"
        self.checked.append(f"{count}: {', '.join(names)}" + (", probes" if self.predicted.images[0].probes else ""))
        return f"{count}, {', '.join(names)}"

    def _asked(self, images: Sequence[str], noise: bool) -> Iterator[str | Run | Predicted]:
        for item in self.session.predict(self.model, images, cancel=self.cancel, **self._wishes(noise)):
            if isinstance(item, PredictReport):
                self.predicted = _renamed(item) if noise else item
                # a flip of noise is noise: it says nothing of images
                own = [f for f in item.findings if not (noise and f.code.startswith("flip-"))]
                self.findings = settled(self.findings, own)
            else:
                yield item

    def _wishes(self, noise: bool) -> dict[str, Any]:
        """The options of the prediction; every preprocessing is tried unless one was asked for."""
        wishes = {name: value for name, value in self.options.items() if value is not None}
        if not noise and wishes.get("preprocess", "auto") == "auto" and not wishes.get("input"):
            wishes.setdefault("all_preprocessing", True)
        return wishes

    def _many(self) -> Step:
        """The part of the prediction that is about a folder of images."""
        yield from ()
        if not self.options.get("images_dir"):
            raise Skipped("no folder of images was named; --images DIR with 20 or more tells what one image can't")
        many = self.predicted.many if self.predicted is not None else None
        if many is None:
            raise Skipped(f"nothing was predicted: {self.unpredicted}" if self.unpredicted else "no image was answered")
        self.checked.append(f"{many.images} images of a folder under flips and controls")
        return f"{many.images} images, {len(many.failed)} that could not be read"

    # ------------------------------------------------------------------ the end

    def report(self) -> WhyReport:
        """Everything judged together."""
        gathered = self._gathered()
        judged = judge(gathered, self.checked)
        art = self.artifact
        model: dict[str, Any] = {"path": art.path, "kind": art.kind, "label": art.label}
        model |= dict(self.predicted.model) if self.predicted is not None else {}
        notes = (*self.notes, *(self.predicted.notes if self.predicted is not None else ()))
        return WhyReport(
            model,
            self.symptom,
            judged.shown,
            judged.causes,
            judged.ruled_out,
            tuple(self.steps),
            tuple(self.findings),
            self.images,
            judged.verdict,
            tuple(dict.fromkeys(notes)),
        )

    def _gathered(self) -> Gathered:
        listing = self.listed()
        about = {f.tensor for f in self.findings if f.tensor}
        tensors = [t for t in listing.tensors if t.name in about] if about else []
        done = {step.name for step in self.steps if step.state == "done"}
        kernels = any(step.name == "filters" and "no kernels" in step.detail for step in self.steps)
        relation: Mapping[str, Any] | None = self.compared.relation if self.compared is not None else None
        pairs = self.compared.pairs if self.compared is not None else ()
        return Gathered(
            path=self.path,
            kind=self.artifact.kind,
            findings=tuple(self.findings),
            layers={t.name: t.layer for t in tensors},
            names=own_names(tensors),
            spare=frozenset(t.name for t in tensors if t.role in NOT_WEIGHTS),
            architecture=self._architecture(),
            operations=listing.operations if self.artifact.kind == "saved-model" else (),
            report=self.predicted,
            unpredicted=self.unpredicted,
            death=self._death(),
            normalizing=tuple(dict.fromkeys(t.layer for t in listing.tensors if t.role == "moving-mean" and t.layer)),
            relation=relation,
            against=str(self.options.get("against") or ""),
            changed=tuple(p.b or p.a or "" for p in pairs if p.status != "identical" and p.role not in NOT_WEIGHTS),
            strangers=tuple(self.strangers),
            kin=tuple(self.kin),
            symptom=self.symptom,
            values_read="values" in done,
            filters_read="filters" in done or kernels,
            folder_asked=bool(self.options.get("images_dir")),
        )

    def _death(self) -> tuple[str, str]:
        """How the input gets lost, where the layers were looked at."""
        from ckptui.predict.dying import death_of

        death = death_of(self.predicted.layers) if self.predicted is not None and self.predicted.layers else None
        return (death.how, death.words) if death is not None else ("", "")

    def _architecture(self) -> tuple[ArchitectureRow, ...]:
        """The save's layers; of weights alone those of the model they go into."""
        own = self.listed().architecture
        if self.artifact.kind == "meta-graph":
            return ()
        if own or self.artifact.kind not in ("tf-checkpoint", "keras-weights"):
            return own
        with contextlib.suppress(CkptuiError):
            borrowed = self.options.get("architecture") or self.session.sibling_model(self.path)
            return self.session.open(str(borrowed)).architecture if borrowed else ()
        return ()


def _spread(paths: Sequence[str], most: int) -> list[str]:
    """At most so many of the paths, evenly spread."""
    return [paths[n * len(paths) // most] for n in range(most)] if len(paths) > most else list(paths)


def _noise(folder: str) -> list[str]:
    """Two images of noise, seeded, as files."""
    import numpy as np

    draw = np.random.default_rng(0)
    paths = []
    for number in (1, 2):
        paths.append(os.path.join(folder, f"noise-{number}.npy"))
        np.save(paths[-1], draw.integers(0, 256, (NOISE_SIDE, NOISE_SIDE, 3), dtype=np.uint8))
    return paths


def _noise_inputs(listing: Listing, folder: str) -> tuple[str, ...]:
    """`NAME=FILE` with noise for every input of numbers that the save tells; empty where one is of another kind.

    Inputs are those of the serving signature, or of the Keras layers; an unknown extent is 1. Floats are normal, small
    integers 0 or 1, so that whatever they index is there.
    """
    import numpy as np

    wanted = next((s for s in listing.signatures if s.name == "serving_default"), next(iter(listing.signatures), None))
    shapes = [(e.name, e.dtype, e.shape) for e in wanted.inputs] if wanted is not None else []
    for row in listing.architecture if not shapes else ():
        shape = row.config.get("batch_shape") or row.config.get("batch_input_shape")
        if row.class_name == "InputLayer" and row.depth == 0:
            shapes.append((row.name, str(row.config.get("dtype", "float32")), tuple(shape) if shape else None))
    draw = np.random.default_rng(0)
    given: list[str] = []
    for number, (name, dtype, shape) in enumerate(shapes):
        # one item, which the prediction makes a batch of
        item = shape[1:] if shape and shape[0] is None else shape
        sizes = [extent or 1 for extent in item] if item is not None else None
        if sizes is None or not dtype.startswith(("float", "int", "uint")) or math.prod(sizes) > MOST_NOISE:
            return ()
        values = draw.normal(size=sizes) if dtype.startswith("float") else draw.integers(0, 2, sizes)
        given.append(f"{name}={os.path.join(folder, f'noise-input-{number}.npy')}")
        np.save(os.path.join(folder, f"noise-input-{number}.npy"), values.astype(dtype))
    return tuple(given)


def _renamed(report: PredictReport) -> PredictReport:
    """The report without the paths of files that are gone."""
    named = [replace(image, path=os.path.basename(image.path).removesuffix(".npy")) for image in report.images]
    return replace(report, images=tuple(named))
