"""Preprocessing of pixels: the arithmetic of each kind, and which one a model's own first layers ask for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ckptui.core.text import counted
from ckptui.errors import UsageError

Array = np.ndarray[Any, Any]

PREPROCESS = ("auto", "0..1", "-1..1", "0..255", "caffe", "torch")
"""auto asks the model's own first layers; the names after `0..255` are Keras' imagenet_utils modes."""
MEAN_STD = "mean/std"
"""(pixel - mean) / std, the numbers given by the user."""
SIGNED = "-128..127"
"""Pixels less 128: what int8 holds of them. Only `auto` takes it."""
CAFFE_MEAN = (103.939, 116.779, 123.68)
TORCH_MEAN = (0.485, 0.456, 0.406)
TORCH_STD = (0.229, 0.224, 0.225)
BEFORE_SCALING = frozenset(
    {"inputlayer", "resizing", "centercrop", "zeropadding2d", "cropping2d", "upsampling2d", "flatten", "permute"}
    | {"dropout", "spatialdropout2d", "reshape", "cast", "tofloat", "identity", "copy", "stopgradient", "ensureshape"}
    | {"stack", "unstack", "concatenate", "concat", "concatv2", "split", "splitv", "pack", "unpack", "slice"}
    | {"expanddims", "squeeze", "transpose", "permutedimensions", "moveaxis", "swapaxes", "broadcastto"}
    | {"roll", "rot90"}
    | {"repeat", "tile", "pad", "padv2", "gather", "gatherv2", "take", "clip", "clipbyvalue", "maximum", "minimum"}
    | {"resize", "resizev2", "resizeimages", "resizewithpad", "resizewithcroporpad", "resizebilinear", "resizebicubic"}
    | {"resizenearestneighbor", "resizearea", "cropimages", "centralcrop", "croptoboundingbox", "padimages"}
    | {"padtoboundingbox", "spacetodepth", "rgbtograyscale", "grayscaletorgb", "mean", "reducemean"}
    | {"convertimagedtype", "converttotensor", "identityn"}
)
"""Layers and functions, lowered and without `_`, that an image passes before its values are scaled.

So it passes all called Random*. They move, size, cut or average values and leave their range as it is.
"""
SLICES = ("GetItem", "SlicingOpLambda")
"""Pick channels or turn an axis round, as Keras 3 and 2 have them."""
DIVISIONS = ("truedivide", "divide", "truediv", "div", "realdiv")
"""Operations that stand in front of a model in place of a Rescaling, where their numbers are not known; lowered."""
LARGE_SCALE = 0.1
"""A Rescaling by less than this takes pixels of 0..255; by more, values of 0..1."""
FAR_OFFSET = 10.0
"""A Rescaling whose offset is as many times its scale, or more, is centred on pixels of 0..255."""
SLACK = 1.001
"""Moments kept as float32 may leave their bound by this factor."""
RANGES = (("0..1", 0.0, 1.0), ("-1..1", -1.0, 1.0), ("0..255", 0.0, 255.0))


def choose(
    asked: str,
    first: Sequence[Mapping[str, Any]],
    dtype: str,
    *,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> tuple[str, str]:
    """The preprocessing to apply and the words for it; `auto` goes by the model's first layers and its dtype.

    `first` are the worker's facts: `class`, and for those that scale `scale` and `offset`, `mean`, `variance` and
    `unadapted`, or `op`, `constant` and `reversed`, and the `function` of what Keras 2 wrapped; none for a model that
    has no layers to look at. A given `mean` or `std` replaces `auto`.
    """
    if asked not in (*PREPROCESS, MEAN_STD):
        raise UsageError(f"unknown preprocessing {asked!r}", f"Known: {', '.join(PREPROCESS)}")
    if mean or std:
        if asked not in ("auto", MEAN_STD):
            raise UsageError(f"mean and std are given, and {asked} too", "Leave one of them out")
        return MEAN_STD, mean_std_words(mean, std)
    if asked == MEAN_STD:
        raise UsageError(f"{MEAN_STD} is asked for and neither is given", "Give a mean, a std or both")
    if asked != "auto":
        return asked, asked
    if dtype == "int8":
        return SIGNED, f"{SIGNED}, pixels less 128: the model takes int8"
    if dtype.startswith(("uint", "int")):
        return "0..255", f"0..255, the model takes {dtype}"
    return by_layers(first)


def by_layers(first: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """What the first layers that scale ask for, and the words for it."""
    if not first:
        return "0..1", "0..1, nothing in the model tells; --all-preprocessing shows whether it matters"
    found, notes = ("0..1", "0..1, the model itself does not scale"), []
    for layer in first:
        kind = str(layer.get("class"))
        plain = _plain(layer)
        if plain in BEFORE_SCALING or plain.startswith(("random", "statelessrandom")):
            continue
        if kind == "Normalization" and layer.get("unadapted"):
            notes.append(NEVER_ADAPTED)
            continue
        if layer.get("reverses"):
            notes.append("the model turns an axis of its input round")
            continue
        judged, leaves = _judged(layer, kind)
        found = judged or found
        if judged is not None or not leaves:
            break
    how, words = found
    return how, "; ".join((words, *notes))


NEVER_ADAPTED = "Normalization in the model was never adapted: it does not scale"


def _judged(layer: Mapping[str, Any], kind: str) -> tuple[tuple[str, str] | None, bool]:
    """What one layer asks for, if it does; and whether it hands values on as they are."""
    if kind == "Rescaling":
        scale, offset = numbers(layer.get("scale", 1.0)), numbers(layer.get("offset", 0.0))
        told = f"× {_listed(scale)}"
        if any(offset):
            single = len(set(offset)) == 1
            told += f" - {_listed([-offset[0]])}" if single and offset[0] < 0 else f" + {_listed(offset)}"
        return _affine(scale, offset, f"the model rescales ({told})")
    if kind in ("Normalization", "BatchNormalization"):
        return (None if layer.get("invert") else _normalization(layer, kind)), False
    if layer.get("op"):
        return _operation(layer)
    if _plain(layer) in DIVISIONS:
        return ("0..255", "0..255, the model scales by itself"), False
    return None, kind in SLICES


def _plain(layer: Mapping[str, Any]) -> str:
    """The function that Keras 2 wrapped, else the class: lowered, without `_`."""
    return str(layer.get("function") or layer.get("class")).lower().replace("_", "")


def _operation(layer: Mapping[str, Any]) -> tuple[tuple[str, str] | None, bool]:
    """What arithmetic with a constant asks for; nothing where it divides the constant by the values."""
    op, turned, constant = layer.get("op"), bool(layer.get("reversed")), numbers(layer.get("constant"))
    if not constant or (op == "divide" and (turned or 0 in constant)):
        return None, False
    told = _listed(constant)
    if op == "divide":
        return _affine([1 / value for value in constant], [0.0], f"the model scales by itself (÷ {told})")
    if op == "multiply":
        return _affine(constant, [0.0], f"the model scales by itself (× {told})")
    words = {"subtract": f"{told} - values" if turned else f"- {told}", "add": f"+ {told}"}.get(str(op))
    return _affine([1.0], constant, f"the model scales by itself ({words})") if words else (None, False)


def _affine(scale: Sequence[float], offset: Sequence[float], words: str) -> tuple[tuple[str, str] | None, bool]:
    """The pixels that values × scale + offset is made for."""
    largest = max((abs(value) for value in scale), default=1.0)
    shift = max((abs(value) for value in offset), default=0.0)
    if largest < LARGE_SCALE or shift >= FAR_OFFSET * largest:
        return ("0..255", f"0..255, {words}"), False
    if largest == 1.0 and not shift:
        return None, True
    return ("0..1", f"0..1, {words}"), False


def _normalization(layer: Mapping[str, Any], kind: str) -> tuple[str, str] | None:
    """What a Normalization was adapted to.

    Values within [a, b] of mean m have at most the variance (b - m)(m - a) (Bhatia and Davis, 2000), so the narrowest
    range whose bound holds for every channel is taken. A BatchNormalization tells only where its moments are those of
    pixels: its statistics at 0 and 1 tell nothing.
    """
    means, variances = numbers(layer.get("mean", ())), numbers(layer.get("variance", ()))
    if not means or len(means) != len(variances):
        return None if kind == "BatchNormalization" else ("0..255", "0..255, the model normalises")
    if kind == "BatchNormalization" and all(m == 0 for m in means):
        return None
    std = [math.sqrt(max(value, 0.0)) for value in variances]
    told = f"(mean {_listed(means)}, std {_listed(std)})"
    pairs = list(zip(means, variances, strict=True))
    for how, low, high in RANGES:
        if all(low <= m <= high and v <= SLACK * (high - m) * (m - low) for m, v in pairs):
            return how, f"{how}, the model normalises {told}"
    if kind == "BatchNormalization":
        return None
    return "0..255", f"0..255, the model normalises {told}, which fits no usual range"


def numbers(given: Any) -> list[float]:
    """Finite numbers of a fact, which may be one, a list, or anything else."""
    several = given if isinstance(given, (list, tuple)) else [given]
    plain = [float(v) for v in several if isinstance(v, (int, float)) and not isinstance(v, bool)]
    return [value for value in plain if math.isfinite(value)]


def _listed(values: Sequence[float]) -> str:
    """`0.00392`, `[0.485, 0.456, 0.406]`, the first three of many."""
    told = [_told(value) for value in values[:3]]
    if len(set(values)) == 1:
        return told[0]
    return f"[{', '.join(told)}{', …' if len(values) > 3 else ''}]"


def _told(value: float) -> str:
    """Three digits, four where the fourth is to be seen: 127.5 is not 128."""
    short = f"{value:.3g}"
    return short if abs(float(short) - value) <= 3e-3 * abs(value) else f"{value:.4g}"


def mean_std_words(mean: Sequence[float], std: Sequence[float]) -> str:
    """`mean 127.5, std 127.5`: what is subtracted, what divides."""
    for name, values in (("mean", mean), ("std", std)):
        if not all(math.isfinite(value) for value in values):
            raise UsageError(f"a {name} is no finite number")
    if any(value == 0 for value in std):
        raise UsageError("a std of 0 can't divide anything")
    return f"mean {_listed(mean or (0.0,))}, std {_listed(std or (1.0,))}, of pixels 0..255"


def preprocess(pixels: Array, how: str, mean: Sequence[float] = (), std: Sequence[float] = ()) -> Array:
    """uint8 [h, w, c] as float32 values: divided by 255 for `0..1`, and so on; `caffe` and `torch` need RGB.

    `mean/std` computes (pixel - mean) / std with one number for all channels or one each.
    """
    values = pixels.astype(np.float32)
    channels = pixels.shape[-1]
    if how == "0..255":
        return values
    if how == SIGNED:
        signed: Array = values - np.float32(128)
        return signed
    if how == MEAN_STD:
        given: Array = (values - _fitting("mean", mean or (0.0,), channels)) / _fitting("std", std or (1.0,), channels)
        return given
    unit: Array = values / np.float32(255)
    if how == "0..1":
        return unit
    if how == "-1..1":
        both: Array = values / np.float32(127.5) - np.float32(1)
        return both
    if channels != 3:
        raise UsageError(f"{how} preprocessing needs 3 channels, the model takes {channels}")
    if how == "caffe":
        blue_first: Array = values[..., ::-1] - np.array(CAFFE_MEAN, np.float32)
        return blue_first
    scaled: Array = (unit - np.array(TORCH_MEAN, np.float32)) / np.array(TORCH_STD, np.float32)
    return scaled


def _fitting(name: str, values: Sequence[float], channels: int) -> Array:
    if len(values) not in (1, channels):
        raise UsageError(f"{len(values)} numbers are given for {name}, the model takes {counted(channels, 'channel')}")
    return np.array(values, np.float32)
