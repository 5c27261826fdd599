"""The layers of a save that a comparison of configurations is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ckptui.core.layer_fields import class_of
from ckptui.core.model import ArchitectureRow, Listing

CODE = "config-changed"
TRAINING_ONLY = frozenset(
    {"Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout", "GaussianDropout",
     "GaussianNoise", "ActivityRegularization", "RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation",
     "RandomContrast", "RandomBrightness", "RandomCrop", "RandomHeight", "RandomWidth", "RandomShear",
     "RandomErasing", "RandomGrayscale", "RandomHue", "RandomSaturation", "RandomSharpness", "RandomColorJitter",
     "RandomGaussianBlur", "RandomInvert", "RandomPosterization", "RandomColorDegeneration", "RandomApply",
     "RandomPerspective", "RandomElasticTransform", "RandAugment", "MixUp", "CutMix", "AugMix",
     "Identity"}
)  # fmt: skip
"""Pass their input on as it is when a model answers."""
_OPS = frozenset({"TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod"})
"""Calls of plain functions: every version of Keras has its own form of them."""


@dataclass(frozen=True, slots=True)
class Side:
    """The layers of one save that a finding can be about."""

    rows: tuple[ArchitectureRow, ...]
    inputs: tuple[ArchitectureRow, ...]
    every: tuple[ArchitectureRow, ...]


def layers_of(listing: Listing) -> tuple[ArchitectureRow, ...]:
    """The rows of an architecture; the ones of a meta graph are its variables."""
    return () if listing.artifact.kind == "meta-graph" else listing.architecture


def side_of(every: tuple[ArchitectureRow, ...]) -> Side:
    """What is compared of an architecture: not its inputs, nor what passes its input on when a model answers."""
    rows = tuple(
        row
        for row in every
        if class_of(row.class_name) not in TRAINING_ONLY | {"InputLayer"} and row.class_name not in _OPS
    )
    inputs = tuple(row for row in every if class_of(row.class_name) == "InputLayer" and row.depth == 0)
    return Side(rows, inputs, every)


def change(field: str, a: Any, b: Any) -> dict[str, Any]:
    """One entry of a finding's `changes`."""
    return {"field": field, "a": a, "b": b}


def name_of(row: ArchitectureRow) -> str:
    """What to call a layer, also one without a name."""
    return row.name or f"a {kind_of(row)}"


def kind_of(row: ArchitectureRow) -> str:
    """Its class, see `class_of`."""
    return class_of(row.class_name)
