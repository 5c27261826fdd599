"""Images as the model gets them: decoded in a limited child, fitted to the model's input, preprocessed."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ckptui.core.text import shape_text
from ckptui.errors import NoSuchPath, UsageError
from ckptui.predict.client import Child
from ckptui.predict.protocol import Reply

Array = np.ndarray[Any, Any]

PREPROCESS = ("auto", "0..1", "-1..1", "0..255", "caffe", "torch")
"""auto asks the model's own first layers; the names after `-1..1` are Keras' imagenet_utils modes."""
CAFFE_MEAN = (103.939, 116.779, 123.68)
TORCH_MEAN = (0.485, 0.456, 0.406)
TORCH_STD = (0.229, 0.224, 0.225)
AUGMENTATION = ("InputLayer", "Resizing", "CenterCrop", "ZeroPadding2D", "Reshape", "Cast")
"""Layers, beside all called Random*, that an image passes before its values are scaled."""
SCALING_OPS = ("TrueDivide", "Divide", "Multiply", "Subtract", "Add", "TFOpLambda")
"""Operations on values that stand in front of a model in place of a Rescaling layer."""
LARGE_SCALE = 0.1
"""A Rescaling by less than this takes pixels of 0..255; by more, values of 0..1."""
DECODE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image."""

    path: str
    pixels: Array
    """uint8 [height, width, channels] at the model's size; float32, untouched, for a raw .npy."""
    raw: bool
    """The file holds the model's input itself: no preprocessing applies."""
    size: tuple[int, int]
    """(width, height) in the file."""


@dataclass(frozen=True, slots=True)
class Form:
    """How the model wants an image."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    """As the model states it, batch first."""
    size: tuple[int, int] | None
    """(width, height); None: any, the image's own."""
    channels: int
    """1 or 3; 0: any."""
    layout: str
    """`hwc`, `chw`, `hw` (no channel axis) or `flat`."""


def form_of(inputs: Sequence[Mapping[str, Any]]) -> Form:
    """The image a model takes, from its inputs (`name`, `dtype`, `shape`). Raises UsageError when it takes none."""
    listed = ", ".join(f"{e['name']} {e['dtype']} {_listed(e['shape'])}" for e in inputs) or "none"
    hint = f"Its inputs: {listed}"
    if len(inputs) != 1:
        raise UsageError(f"it has {len(inputs)} inputs", hint, title="The model takes no single image")
    name, dtype, given = str(inputs[0]["name"]), str(inputs[0]["dtype"]), inputs[0]["shape"]
    shape = None if given is None else tuple(given)
    if dtype not in ("float32", "float16", "bfloat16", "float64", "uint8", "int32", "int64", "int8", "int16"):
        raise UsageError(f"its input is {dtype}", hint, title="The model takes no image")
    if shape is None:
        return Form(name, dtype, None, None, 0, "hwc")
    placed = _placed(shape)
    if placed is None or (placed[2] == "flat" and dtype.startswith("int")):
        raise UsageError(f"its input has the shape {_listed(shape)}", hint, title="The model takes no image")
    size, channels, layout = placed
    return Form(name, dtype, shape, size, channels, layout)


def _listed(shape: Sequence[int | None] | None) -> str:
    return "of unknown shape" if shape is None else shape_text(shape)


def _placed(shape: tuple[int | None, ...]) -> tuple[tuple[int, int] | None, int, str] | None:
    """(size, channels, layout) of a batch-first shape; None where no image fits."""
    if len(shape) == 4:
        last, first = shape[3], shape[1]
        if last in (1, 3):
            return _size(shape[2], shape[1]), int(last), "hwc"
        if first in (1, 3):
            return _size(shape[3], shape[2]), int(first), "chw"
        return (_size(shape[2], shape[1]), 0, "hwc") if last is None else None
    if len(shape) == 3 and (shape[1] or 2) > 1 and (shape[2] or 2) > 1:
        return _size(shape[2], shape[1]), 1, "hw"
    if len(shape) == 2 and shape[1]:
        for channels in (1, 3):
            side = round((shape[1] / channels) ** 0.5)
            if side >= 8 and side * side * channels == shape[1]:
                return (side, side), channels, "flat"
    return None


def _size(width: int | None, height: int | None) -> tuple[int, int] | None:
    return (width, height) if width and height else None


def choose(asked: str, first: Sequence[Mapping[str, Any]], dtype: str) -> tuple[str, str]:
    """The preprocessing to apply and the words for it; `auto` goes by the model's first layers and its dtype."""
    if asked not in PREPROCESS:
        raise UsageError(f"unknown preprocessing {asked!r}", f"Known: {', '.join(PREPROCESS)}")
    if asked != "auto":
        return asked, asked
    if dtype.startswith(("uint", "int")):
        return "0..255", f"0..255, the model takes {dtype}"
    for layer in first:
        kind = str(layer.get("class"))
        if kind in AUGMENTATION or kind.startswith("Random"):
            continue
        if kind == "Rescaling":
            scale = [abs(float(value)) for value in layer.get("scale", [1.0])]
            if scale and max(scale) >= LARGE_SCALE:
                break
            return "0..255", "0..255, the model rescales"
        if kind == "Normalization":
            return "0..255", "0..255, the model normalises"
        if kind in SCALING_OPS:
            return "0..255", "0..255, the model scales by itself"
        break
    return "0..1", "0..1"


def preprocess(pixels: Array, how: str) -> Array:
    """uint8 [h, w, c] as float32 values: divided by 255 for `0..1`, and so on; `caffe` and `torch` need RGB."""
    values = pixels.astype(np.float32)
    if how == "0..255":
        return values
    unit: Array = values / np.float32(255)
    if how == "0..1":
        return unit
    if how == "-1..1":
        signed: Array = values / np.float32(127.5) - np.float32(1)
        return signed
    if pixels.shape[-1] != 3:
        raise UsageError(f"{how} preprocessing needs 3 channels, the model takes {pixels.shape[-1]}")
    if how == "caffe":
        blue_first: Array = values[..., ::-1] - np.array(CAFFE_MEAN, np.float32)
        return blue_first
    scaled: Array = (unit - np.array(TORCH_MEAN, np.float32)) / np.array(TORCH_STD, np.float32)
    return scaled


def batch_of(values: Array, form: Form) -> Array:
    """A batch of one in the layout and dtype the model wants; `values` is [h, w, c]."""
    if form.layout == "chw":
        values = values.transpose(2, 0, 1)
    elif form.layout == "hw":
        values = values[..., 0]
    elif form.layout == "flat":
        values = values.reshape(-1)
    if form.dtype.startswith(("uint", "int")):
        info = np.iinfo(form.dtype)
        values = np.clip(np.rint(values), info.min, info.max).astype(form.dtype)
    return np.ascontiguousarray(values[None])


class ImageReader(Child):
    """The child that decodes images, kept for the next one."""

    def __init__(self, command: Sequence[str] | None = None) -> None:
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
        super().__init__(
            command or [sys.executable, "-m", "ckptui.predict.image_child"],
            what="image reader",
            env={"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
            silence=DECODE_SECONDS,
        )

    def decode(
        self,
        path: str,
        size: tuple[int, int] | None = None,
        channels: int = 0,
        cancel: threading.Event | None = None,
    ) -> Picture:
        """The image at `path`, resized to `size` (width, height) with BILINEAR.

        `channels` 1 gives grey, 3 RGB, 0 whichever the file has.

        Raises:
            NoSuchPath: there is no such file. UsageError: it is no image, or over the pixel cap.
            WorkerFailed: the child did not survive it.
        """
        reply = self._ask("decode", path, size, channels, cancel)
        width, height = reply.doc["size"]
        return Picture(path, reply.arrays[0], bool(reply.doc["raw"]), (int(width), int(height)))

    def look(self, path: str, cancel: threading.Event | None = None) -> None:
        """Decode the image at `path` in its own size, for the errors of `decode` alone."""
        self._ask("look", path, None, 0, cancel)

    def _ask(
        self,
        op: str,
        path: str,
        size: tuple[int, int] | None,
        channels: int,
        cancel: threading.Event | None,
    ) -> Reply:
        if not os.path.exists(path):
            raise NoSuchPath(path)
        args = {"path": os.path.abspath(path), "size": list(size) if size else None, "channels": channels}
        return self.ask(op, args, cancel=cancel, limit=DECODE_SECONDS)


def fit(picture: Picture, form: Form) -> None:
    """Raises UsageError where a raw array does not have the model's shape."""
    if not picture.raw:
        return
    height, width, channels = picture.pixels.shape
    wrong_size = form.size is not None and (width, height) != form.size
    if wrong_size or (form.channels and channels != form.channels):
        found = shape_text(picture.pixels.shape)
        raise UsageError(f"{picture.path} holds {found}, the model takes {_listed(form.shape)}")


def preview_of(picture: Picture) -> tuple[bytes, tuple[int, int]]:
    """8-bit RGB rows for drawing and their (width, height); a raw array is stretched from its own range."""
    pixels = picture.pixels
    if picture.raw:
        finite = np.nan_to_num(pixels.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        pixels = np.rint((finite - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
    if pixels.shape[-1] != 3:
        pixels = np.repeat(pixels[..., :1], 3, axis=-1)
    return pixels.tobytes(), (pixels.shape[1], pixels.shape[0])
