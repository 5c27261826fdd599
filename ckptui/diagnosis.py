"""Why a model misbehaves: every check that bears on a symptom, one after the other, judged together."""

from __future__ import annotations

import contextlib
import math
import os
import struct
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ckptui.core.causes_cut import cut_off
from ckptui.core.causes_judged import judge
from ckptui.core.causes_kinds import Gathered
from ckptui.core.causes_weights import torn
from ckptui.core.model import ArchitectureRow, Predicted, PredictReport, Run, Signature, WhyReport
from ckptui.core.names import clean
from ckptui.core.naming import own_names
from ckptui.core.random_ops import with_seen
from ckptui.core.relation_rows import NOT_WEIGHTS
from ckptui.core.settling import settled
from ckptui.core.text import number_text, safe
from ckptui.errors import CkptuiError, UsageError
from ckptui.inquiry import Diagnosing, Inquiry, Skipped, Step, WhyTold, counted

if TYPE_CHECKING:
    from ckptui.core.causes import Symptom

MOST_IMAGES = 4
"""Images found beside a model that are tried; of those named all are."""
_SEVERAL = (None, "constant", "flip")
"""Symptoms for which the images that are named get company: one image proves neither."""
MOST_NOISE = 1 << 22
"""Values of noise that one input gets at most."""
MOST_LAYERS = 200
"""Layers of a model that are all looked at unasked: some seconds; of a larger one where its answer is constant."""
FAR = 20.0
"""A bias beyond this, and so many times beyond every other, may outweigh whatever a layer is given."""
NO_IMAGE = "The model takes no "
"""How the title of a refusal begins that is about the inputs of the model, and not about a file."""
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
            raise Skipped("the model was not to be asked", "leave out --no-predict")
        if cut := cut_off(self.path, self.artifact.kind, self.findings):
            raise Skipped(cut, "`ckptui predict` tries it all the same")
        there = [path for path in self.images if os.path.exists(path)]
        if self.images and not there:
            raise Skipped(f"no such image: {', '.join(safe(path) for path in self.images[:3])}")
        self.notes += [f"no such image: {safe(path)}" for path in self.images if path not in there]
        there += self._further(there)
        with contextlib.ExitStack() as stack:
            noise = not there and not self.options.get("input")
            if noise:
                there = _noise(stack.enter_context(tempfile.TemporaryDirectory(prefix="ckptui-")))
                self.notes.append("no image was named and none lies beside the model: noise was used")
            try:
                yield from self._asked(there, noise)
            except UsageError as error:
                if self.options.get("input") or not (noise or error.title.startswith(NO_IMAGE)):
                    raise
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ckptui-"))
                given = _noise_inputs(self.listed().signatures, self._architecture(), folder, self._raw_scale())
                if not given:
                    raise
                self.notes = [note for note in self.notes if not note.startswith(("no image", "further images"))]
                why = error.title if error.title.startswith(NO_IMAGE) else f"{NO_IMAGE}image"
                self.notes.append(f"{why[:1].lower()}{why[1:]}: every input was given noise")
                self.options["input"] = given
                yield from self._asked((), True)
        assert self.predicted is not None
        self.images = tuple(image.path for image in self.predicted.images)
        if not any(run.name == "original" and not run.error for i in self.predicted.images for run in i.runs):
            failed = next((f for f in self.predicted.findings if f.code == "model-does-not-load"), None)
            raise CkptuiError(failed.detail if failed else "no image was answered", title="The model gave no answer")
        names = dict.fromkeys(r.name for i in self.predicted.images for r in i.runs if not r.error)
        count = counted(len(self.images), "image")
        self.checked.append(f"{count}: {', '.join(names)}" + (", probes" if self.predicted.images[0].probes else ""))
        return f"{count}, {', '.join(names)}"

    def _further(self, named: Sequence[str]) -> list[str]:
        """Images beside the model, where none or few are named: whether answers are the same shows in several."""
        if self.options.get("input") or (named and (self.options.get("expect") or self.symptom not in _SEVERAL)):
            return []
        known = {os.path.realpath(path) for path in named}
        beside = [path for path in self.session.sibling_images(self.path) if os.path.realpath(path) not in known]
        added = _spread(beside, max(MOST_IMAGES - len(named), 0))
        names = ", ".join(safe(os.path.basename(path)) for path in added)
        if added and named:
            self.notes.append(f"further images, from beside the model: {names}")
        elif added:
            self.notes.append(f"no image was named: those beside the model were used ({names})")
        return added

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
        if self.symptom == "constant" or len(self._architecture()) <= MOST_LAYERS:
            wishes["layers"] = True
        return wishes

    def _many(self) -> Step:
        """The part of the prediction that is about a folder of images."""
        yield from ()
        if not self.options.get("images_dir"):
            raise Skipped("no folder of images was named; 20 or more tell what one can't", "--images DIR")
        many = self.predicted.many if self.predicted is not None else None
        if many is None:
            raise Skipped(f"nothing was predicted: {self.unpredicted}" if self.unpredicted else "no image was answered")
        self.checked.append(f"{many.images} images of a folder under flips and controls")
        failed = f", {counted(len(many.failed), 'file')} that could not be read" if many.failed else ""
        return f"{counted(many.images, 'image')}{failed}"

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
            operations=with_seen(
                listing.operations if self.artifact.kind == "saved-model" else (),
                self.predicted.model if self.predicted is not None else None,
            ),
            report=self.predicted,
            unpredicted=self.unpredicted,
            predict_by=self.predict_by,
            death=self._death(),
            ending=self._ending(),
            far_off=self._far_off(),
            collapsed=self._collapsed(),
            branches=self._branches(),
            unreached=self._unreached(),
            normalizing=tuple(dict.fromkeys(t.layer for t in listing.tensors if t.role == "moving-mean" and t.layer)),
            relation=relation,
            against=str(self.options.get("against") or ""),
            changed=tuple(p.b or p.a or "" for p in pairs if p.status != "identical" and p.role not in NOT_WEIGHTS),
            strangers=tuple(self.strangers),
            kin=tuple(self.kin),
            symptom=self.symptom,
            values_read="values" in done,
            filters_read="filters" in done or kernels,
            read=self.read,
            kernels=self.kernels,
            folder_asked=bool(self.options.get("images_dir")),
        )

    def _death(self) -> tuple[str, str]:
        """How the input gets lost, where the layers were looked at."""
        from ckptui.predict.dying import death_of

        death = death_of(self.predicted.layers) if self.predicted is not None and self.predicted.layers else None
        return (death.how, death.words) if death is not None else ("", "")

    def _ending(self) -> tuple[str, ...]:
        """The ranges of what the layer where the input ends holds: a bias far off tells why it does."""
        report = self.predicted
        branches = self._branches()
        where = (report.dies_at if report is not None else None) or (branches[0][0] if branches else None)
        if where is None:
            return ()
        held = [
            t for t in self.listed().tensors if t.layer in (where, where.rpartition("/")[2]) and t.name in self.ranges
        ]
        held = [t for t in held if t.role not in NOT_WEIGHTS]
        names = own_names(held)
        told = [(names.get(t.name) or clean(t.name), *map(number_text, self.ranges[t.name])) for t in held]
        return tuple(
            f"{name} lies between {low} and {high}" if low != high else f"{name} is {low} throughout"
            for name, low, high in told
        )

    def _collapsed(self) -> tuple[tuple[str, str], ...]:
        """Moving variances of several channels that are 0 in each."""
        held = [t for t in self.listed().tensors if t.role == "moving-variance" and t.shape and math.prod(t.shape) > 1]
        damaged = torn(self.findings)
        flat = [t for t in held if self.ranges.get(t.name) == (0.0, 0.0) and t.name not in damaged]
        names = own_names(flat)
        return tuple((t.layer or "", names.get(t.name) or clean(t.name)) for t in flat)

    def _far_off(self) -> tuple[str, str] | None:
        """The bias that lies furthest from 0, where that is far beyond every other: nothing gets past it."""
        held = [t for t in self.listed().tensors if t.role in ("bias", "beta") and t.name in self.ranges]
        reach = {t.name: max(map(abs, self.ranges[t.name])) for t in held}
        furthest = max(held, key=lambda t: reach[t.name], default=None)
        if furthest is None or reach[furthest.name] < FAR:
            return None
        # an export lists a variable twice
        others = [reach[t.name] for t in held if (t.layer or t.name) != (furthest.layer or furthest.name)]
        if reach[furthest.name] < FAR * max(others, default=1.0):
            return None
        name = own_names(held).get(furthest.name) or clean(furthest.name)
        low, high = map(number_text, self.ranges[furthest.name])
        told = f"is {low} throughout" if low == high else f"lies between {low} and {high}"
        beyond = f", no other bias beyond {number_text(max(others))}" if others else ""
        return furthest.layer or name, f"{name} {told}{beyond}"

    def _branches(self) -> tuple[tuple[str, str], ...]:
        """Layers that lose the input beside others that keep it."""
        from ckptui.predict.dying import dead_branches

        found = dead_branches(self.predicted.layers) if self.predicted is not None else ()
        return tuple((death.layer, death.words) for death in found)

    def _unreached(self) -> tuple[str, ...]:
        """Inputs that no layer on the way to an output takes."""
        from ckptui.predict.dying import unreached

        return unreached(self.predicted.layers) if self.predicted is not None else ()

    def _raw_scale(self) -> float:
        """How far from 0 the raw data lies that a Normalization of the save was adapted to; 1 where there is none."""
        rows = self._architecture()
        sure = {weight for row in rows if row.class_name == "Normalization" for weight in row.weights}
        scale = 1.0
        for tensor in self.listed().tensors:
            word = (tensor.object_path or clean(tensor.name)).rpartition("/")[2]
            if tensor.role != "other" or tensor.name not in self.ranges:
                continue
            far = max(map(abs, self.ranges[tensor.name]))
            if word == "variance" or (tensor.name in sure and word == "1"):
                scale = max(scale, math.sqrt(far))
            elif word == "mean" or (tensor.name in sure and word == "0"):
                scale = max(scale, far)
        return scale

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
    """Two images of noise, seeded, as BMP files: an array would be given to inputs that take no image, too."""
    import numpy as np

    draw = np.random.default_rng(0)
    paths = []
    for number in (1, 2):
        pixels = draw.integers(0, 256, (NOISE_SIDE, NOISE_SIDE, 3), dtype=np.uint8).tobytes()
        sizes = 54 + len(pixels), 0, 54, 40, NOISE_SIDE, NOISE_SIDE, 1, 24, 0, len(pixels), 0, 0, 0, 0
        paths.append(os.path.join(folder, f"noise-{number}.bmp"))
        with open(paths[-1], "wb") as file:
            file.write(b"BM" + struct.pack("<IIIIiiHHIIiiII", *sizes) + pixels)
    return paths


def _noise_inputs(
    signatures: Sequence[Signature], architecture: Sequence[ArchitectureRow], folder: str, scale: float = 1.0
) -> tuple[str, ...]:
    """`NAME=FILE` with noise for every input of numbers that the save tells; empty where one is of another kind.

    Inputs are those of the serving signature, or of the Keras layers; an unknown extent is 1. Floats are normal,
    `scale` wide: far from the data a model was trained on everything saturates. Small integers are 0 or 1, so that
    whatever they index is there.
    """
    import numpy as np

    wanted = next((s for s in signatures if s.name == "serving_default"), next(iter(signatures), None))
    shapes = [(e.name, e.dtype, e.shape) for e in wanted.inputs] if wanted is not None else []
    for row in architecture if not shapes else ():
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
        values = draw.normal(0, scale, sizes) if dtype.startswith("float") else draw.integers(0, 2, sizes)
        given.append(f"{name}={os.path.join(folder, f'noise-input-{number}.npy')}")
        np.save(os.path.join(folder, f"noise-input-{number}.npy"), values.astype(dtype))
    return tuple(given)


def _renamed(report: PredictReport) -> PredictReport:
    """The report without the paths of files that are gone."""
    named = [
        replace(image, path=os.path.basename(image.path).removesuffix(".npy").removesuffix(".bmp"))
        for image in report.images
    ]
    return replace(report, images=tuple(named))
