"""The vocabulary of predictions: runs of one image, probes, many images, layers, and the whole report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ckptui.core.vocabulary import Finding, jsonable


@dataclass(frozen=True, slots=True)
class Output:
    """One named output of one call."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    values: tuple[float, ...] = ()
    """In C order; empty for text, and where there are more than are kept."""
    texts: tuple[str, ...] = ()
    """The strings of an output that is text, made harmless."""

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "values": jsonable(self.values),
            "texts": list(self.texts),
        }


@dataclass(frozen=True, slots=True)
class Run:
    """One prediction of one image under one condition."""

    name: str
    """original | flip-left-right | flip-up-down | rotate-180 | repeat | in-batch | reload | fresh-process |
    training-mode | against | other-tensorflow"""
    top: tuple[tuple[int, str, float], ...]
    """(index, label, score), best first."""
    output: tuple[float, ...]
    """The output on show, in C order."""
    max_abs_diff: float | None
    """Largest difference to `original` in float64, over all outputs or of the one asked for by name.

    None for `original` and for a failed run.
    """
    top1_changed: bool | None
    seconds: float
    """Of one call."""
    error: str = ""
    """Why there is no answer."""
    identical: bool | None = None
    """Every bit of every output equals the original's."""
    detail: str = ""
    """Which save, which TensorFlow, which sequence: what tells two runs of one name apart."""
    outputs: tuple[Output, ...] = ()
    """Every output; the values of the one on show are in `output` alone."""
    unasked: bool = False
    """The run has no meaning for this model: `error` says why, and nothing is wrong. Not part of the JSON."""

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "top": [list(t) for t in jsonable(self.top)],
            "output": jsonable(self.output),
            "max_abs_diff": jsonable(self.max_abs_diff),
            "top1_changed": self.top1_changed,
            "seconds": self.seconds,
            "identical": self.identical,
            "error": self.error,
            "detail": self.detail,
            "outputs": [output.to_json() for output in self.outputs],
        }


@dataclass(frozen=True, slots=True)
class Probe:
    """How far an input that has nothing to do with the image moves the output."""

    name: str
    """zeros | ones | noise | the negative | shuffled"""
    max_abs: float
    identical: bool

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "max_abs_diff": jsonable(self.max_abs), "identical": self.identical}


@dataclass(frozen=True, slots=True)
class Variant:
    """The image under another preprocessing."""

    preprocess: str
    low: float
    """Smallest value the model gets."""
    high: float
    top: tuple[tuple[int, str, float], ...]
    max_abs_diff: float | None
    top1_changed: bool | None
    chosen: bool = False
    """The one the runs were made with."""
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "preprocess": self.preprocess,
            "range": jsonable([self.low, self.high]),
            "top": [list(t) for t in jsonable(self.top)],
            "max_abs_diff": jsonable(self.max_abs_diff),
            "top1_changed": self.top1_changed,
            "chosen": self.chosen,
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class Expectation:
    """The answer of an image held against the one recorded for it."""

    path: str
    """The file of recorded answers."""
    max_abs_diff: float | None
    top1_changed: bool | None
    identical: bool
    within: bool
    """Equal as far as the recorded digits go."""
    top: tuple[tuple[int, str, float], ...] = ()
    """The recorded answer's best."""
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "max_abs_diff": jsonable(self.max_abs_diff),
            "top1_changed": self.top1_changed,
            "identical": self.identical,
            "within": self.within,
            "top": [list(t) for t in jsonable(self.top)],
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class Predicted:
    """One image, or one set of inputs, through one model: what the model got, and every run."""

    path: str
    preprocess: str
    """What was really applied, and why: `0..255, the model rescales`, ..."""
    shape: tuple[int, ...]
    """Shape of the batch the model gets."""
    low: float
    """Smallest value the model gets."""
    high: float
    runs: tuple[Run, ...]
    verdict: str = ""
    """One or two sentences: what the runs mean together."""
    preview: bytes = b""
    """The decoded, resized image as 8-bit RGB rows, for drawing."""
    preview_size: tuple[int, int] = (0, 0)
    """(width, height) of the preview."""
    probes: tuple[Probe, ...] = ()
    variants: tuple[Variant, ...] = ()
    expected: Expectation | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "preprocess": self.preprocess,
            "shape": list(self.shape),
            "range": jsonable([self.low, self.high]),
            "verdict": self.verdict,
            "runs": [r.to_json() for r in self.runs],
            "probes": [p.to_json() for p in self.probes],
            "preprocessings": [v.to_json() for v in self.variants],
            "expected": self.expected.to_json() if self.expected else None,
        }


@dataclass(frozen=True, slots=True)
class Move:
    """How far one change of the picture moves the answer, over many images."""

    name: str
    """flip-left-right, flip-up-down, rotate-180; controls: shift-1, noise, brightness, rotate-15, rotate-90, shear"""
    control: bool
    mean: float
    """Mean change of the answer: total variation of probabilities, else the share of the answers' own spread."""
    low: float
    """Bounds of the 95 % interval of the mean."""
    high: float
    changed: float
    """Share of images with another best answer."""
    changed_low: float
    changed_high: float

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "control": self.control,
            "mean": jsonable(self.mean),
            "interval": jsonable([self.low, self.high]),
            "top1_changed": jsonable(self.changed),
            "top1_changed_interval": jsonable([self.changed_low, self.changed_high]),
        }


@dataclass(frozen=True, slots=True)
class ManyImages:
    """What a folder of images says about a model."""

    path: str
    images: int
    """That were decoded and answered."""
    failed: tuple[str, ...]
    """The others, each with its reason."""
    measure: str
    """What `mean` of a Move is: `total variation`, `share of the spread`."""
    moves: tuple[Move, ...]
    spread: float
    """Largest difference between the answers to two images."""
    classes: tuple[tuple[str, int], ...]
    """(label, images) of the best answers, most frequent first."""
    verdict: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "images": self.images,
            "failed": list(self.failed),
            "measure": self.measure,
            "moves": [move.to_json() for move in self.moves],
            "spread": jsonable(self.spread),
            "classes": [list(entry) for entry in self.classes],
            "verdict": self.verdict,
        }


@dataclass(frozen=True, slots=True)
class LayerSpread:
    """How far a layer's output follows the input, over the probes."""

    layer: str
    class_name: str
    shape: tuple[int | None, ...]
    spread: float
    """Largest difference of one value between two probes."""
    scale: float
    """Largest magnitude."""
    zeros: float
    """Share of values that are exactly 0."""
    finite: bool
    weights: tuple[str, ...] = ()
    """Names of its weights, as the loaded model calls them."""
    fed: bool = True
    """What it is given differs between the probes; False for an input of the model."""
    sources: tuple[int, ...] = ()
    """Places of the rows whose outputs it takes."""
    outputs: tuple[str, ...] = ()
    """Outputs of the model that it gives."""
    activation: str = ""
    """Name of the function it ends in."""
    flat: float = 0.0
    """Share of values where that function flattens out: 0 and 1 of a sigmoid."""

    def to_json(self) -> dict[str, Any]:
        return {
            "layer": self.layer,
            "class": self.class_name,
            "shape": list(self.shape),
            "spread": jsonable(self.spread),
            "scale": jsonable(self.scale),
            "zeros": jsonable(self.zeros),
            "finite": self.finite,
            "weights": list(self.weights),
        }


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What the warm prediction worker does at this moment."""

    pid: int | None
    state: Literal["none", "starting", "ready", "busy", "loading"]
    memory: int = 0
    """Resident bytes; 0 where it does not run."""
    tensorflow: str = ""
    """Its version, once it said so."""
    sandbox: tuple[str, ...] = ()
    """What could not be enforced on it here, a sentence each."""


@dataclass(frozen=True, slots=True)
class PredictReport:
    """The whole answer of `predict`."""

    model: Mapping[str, Any]
    """{"path", "kind", "loader", "others", "signature", "input", "tensorflow", "sandbox", ...}"""
    images: tuple[Predicted, ...]
    findings: tuple[Finding, ...] = ()
    many: ManyImages | None = None
    layers: tuple[LayerSpread, ...] = ()
    """Of a Keras model whose output does not follow its input: layer by layer, in order."""
    dies_at: str | None = None
    """The first layer whose output no longer varies while its input does."""
    notes: tuple[str, ...] = field(default=())
    """What could not be enforced or asked here."""
