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

from ckptui.core.dtypes import np_dtype
from ckptui.core.text import safe, shape_text
from ckptui.errors import CkptuiError, NoSuchPath, UsageError
from ckptui.predict.client import Child
from ckptui.predict.preprocessing import PREPROCESS, choose, preprocess
from ckptui.predict.protocol import Reply

__all__ = [
    "PREPROCESS",
    "Form",
    "ImageReader",
    "Picture",
    "batch_of",
    "choose",
    "fit",
    "form_of",
    "preprocess",
    "preview_of",
]

Array = np.ndarray[Any, Any]

LEAST_SIDE = 8
"""Sides from which numbers without a batch axis, or in one row, are taken for an image."""
MAX_PREVIEW = 512
"""Largest side of a preview."""
IMAGE_DTYPES = (
    "float32",
    "float16",
    "bfloat16",
    "float64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
)
HINT = "give them with --input NAME=FILE (an image, .npy, .npz or Serving JSON)"
NO_IMAGE = "The model takes no image"
DECODE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image."""

    path: str
    pixels: Array
    """uint8 [height, width, channels] at the model's size; float32, or wider as in the file, for a raw .npy."""
    raw: bool
    """The file holds the model's input itself: no preprocessing applies."""
    size: tuple[int, int]
    """(width, height) in the file."""
    notes: tuple[str, ...] = ()
    """What decoding left out or had to decide: `the first of 12 frames`, `EXIF orientation 6 not applied`, ..."""


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
    """`hwc`, `chw`, `hw` (no channel axis), `flat`, or `bytes` for files that the graph decodes."""
    batched: bool = True
    """The shape begins with a batch axis."""
    longest: int = 0
    """Longest side of a picture; larger ones are made smaller. 0: any."""

    @property
    def rows(self) -> int:
        """Rows a batch must have; 0 where that is free."""
        return int(self.shape[0] or 0) if self.batched and self.shape else 0

    def sized(self, own: tuple[int, int]) -> tuple[int, int] | None:
        """(width, height) for a picture of size `own`: the model's; where it leaves one side open, in proportion."""
        if self.longest and max(own) > self.longest:
            share = self.longest / max(own)
            return max(1, round(own[0] * share)), max(1, round(own[1] * share))
        if self.size is not None or self.shape is None or self.layout in ("flat", "bytes"):
            return self.size
        places = {"hwc": (1, 2), "chw": (2, 3), "hw": (1, 2)}[self.layout]
        height, width = (self.shape[place if self.batched else place - 1] for place in places)
        if width:
            return width, max(1, round(own[1] * width / own[0]))
        return (max(1, round(own[0] * height / own[1])), height) if height else None


def form_of(inputs: Sequence[Mapping[str, Any]]) -> Form:
    """The image a model takes, from its inputs (`name`, `dtype`, `shape`). Raises UsageError when it takes none."""
    listed = ", ".join(f"{safe(str(e['name']))} {e['dtype']} {_listed(e['shape'])}" for e in inputs) or "none"
    hint = f"Its inputs: {listed}; {HINT}"
    if len(inputs) != 1:
        raise UsageError(f"it has {len(inputs)} inputs", hint, title="The model takes no single image")
    name, dtype, given = str(inputs[0]["name"]), str(inputs[0]["dtype"]), inputs[0]["shape"]
    shape = None if given is None else tuple(given)
    if dtype not in IMAGE_DTYPES:
        raise UsageError(f"its input is {dtype}", hint, title=NO_IMAGE)
    if shape is None:
        return Form(name, dtype, None, None, 0, "hwc")
    placed, batched = _placed(shape), True
    if placed is None or (shape[0] or 1) >= LEAST_SIDE:
        alone = _placed((None, *shape))
        if alone is not None and alone[0] is not None and alone[2] != "flat" and min(alone[0]) >= LEAST_SIDE:
            placed, batched = alone, False
    if placed is None or (placed[2] == "flat" and dtype.startswith("int")):
        raise UsageError(f"its input has the shape {_listed(shape)}", hint, title=NO_IMAGE)
    size, channels, layout = placed
    return Form(name, dtype, shape, size, channels, layout, batched)


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
    if len(shape) == 3 and all(side is None or side >= LEAST_SIDE for side in shape[1:]):
        return _size(shape[2], shape[1]), 1, "hw"
    if len(shape) == 2 and shape[1]:
        for channels in (1, 3):
            side = round((shape[1] / channels) ** 0.5)
            if side >= LEAST_SIDE and side * side * channels == shape[1]:
                return (side, side), channels, "flat"
    return None


def _size(width: int | None, height: int | None) -> tuple[int, int] | None:
    return (width, height) if width and height else None


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
        if values.dtype.kind in "iu":
            own = np.iinfo(values.dtype)
            values = np.clip(values, max(info.min, own.min), min(info.max, own.max))
        else:
            values = np.clip(np.rint(values), info.min, info.max)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values[None].astype(np_dtype(form.dtype)))


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
        row: tuple[int, int, int] | None = None,
    ) -> Picture:
        """The image at `path`, resized to `size` (width, height) with BILINEAR.

        `channels` 1 gives grey, 3 RGB, 0 whichever the file has. `row` is the height, width and channels of a model
        that takes all values in one row: an `.npy` with such a row is taken too.

        Raises:
            NoSuchPath: there is no such file. UsageError: it is no image, or over the pixel cap.
            WorkerFailed: the child did not survive it.
        """
        reply = self._ask("decode", path, size, channels, cancel, row)
        width, height = reply.doc["size"]
        notes = tuple(safe(str(note)) for note in reply.doc.get("notes") or ())
        return Picture(path, reply.arrays[0], bool(reply.doc["raw"]), (int(width), int(height)), notes)

    def fitted(self, path: str, form: Form, cancel: threading.Event | None = None) -> Picture:
        """The image at `path` as `form` wants it; raises as `decode`, and as `fit` for a raw array."""
        size = form.size
        if size is None:
            width, height = self._ask("look", path, None, 0, cancel).doc["size"]
            size = form.sized((int(width), int(height)))
        row = (size[1], size[0], form.channels) if form.layout == "flat" and size is not None else None
        picture = self.decode(path, size, form.channels, cancel, row)
        fit(picture, form)
        return picture

    def file_bytes(self, path: str, cancel: threading.Event | None = None) -> bytes:
        """The bytes of the file at `path` as they are; raises as `decode` where it is no regular file."""
        return bytes(self._ask("bytes", path, None, 0, cancel).arrays[0].tobytes())

    def decode_bytes(self, data: bytes, what: str, cancel: threading.Event | None = None) -> Picture:
        """The image that `data` encodes, in its own size; `what` names it. Raises as `decode`."""
        args = {"path": what, "size": None, "channels": 0}
        reply = self.ask("decode-bytes", args, [np.frombuffer(data, np.uint8)], cancel=cancel, limit=DECODE_SECONDS)
        width, height = reply.doc["size"]
        return Picture(what, reply.arrays[0], False, (int(width), int(height)))

    def encode(self, pixels: Array, cancel: threading.Event | None = None, kind: str = "PNG") -> bytes:
        """uint8 [h, w, c] as a PNG or BMP, without loss, or as a JPEG of quality 100."""
        reply = self.ask("encode", {"kind": kind}, [pixels], cancel=cancel, limit=DECODE_SECONDS)
        return bytes(reply.arrays[0].tobytes())

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
        row: tuple[int, int, int] | None = None,
    ) -> Reply:
        if not os.path.exists(path):
            raise NoSuchPath(path)
        args = {"path": os.path.abspath(path), "size": list(size) if size else None, "channels": channels, "row": row}
        return self.ask_of({os.path.abspath(path): path}, op, args, cancel, DECODE_SECONDS)

    def ask_of(
        self,
        paths: Mapping[str, str],
        op: str,
        args: dict[str, Any],
        cancel: threading.Event | None,
        limit: float,
    ) -> Reply:
        """As `ask`; what it says of absolute paths names them as the user wrote them: `paths` gives these."""
        try:
            return self.ask(op, args, cancel=cancel, limit=limit)
        except CkptuiError as error:
            error.detail = as_written(error.detail, paths)
            raise


def as_written(text: str, paths: Mapping[str, str]) -> str:
    """A message with the user's own paths in the place of absolute ones, the longest first."""
    for place in sorted(paths, key=len, reverse=True):
        text = text.replace(safe(place), safe(paths[place]))
    return text


def fit(picture: Picture, form: Form) -> None:
    """Raises UsageError where a raw array does not have the model's shape."""
    if not picture.raw:
        return
    height, width, channels = picture.pixels.shape
    size = form.sized((width, height))
    wrong_size = size is not None and (width, height) != size
    if wrong_size or (form.channels and channels != form.channels):
        found = shape_text(picture.pixels.shape)
        raise UsageError(f"{safe(picture.path)} holds {found}, the model takes {_listed(form.shape)}")


def preview_of(picture: Picture) -> tuple[bytes, tuple[int, int]]:
    """8-bit RGB rows for drawing and their (width, height), every nth pixel of a large one.

    An array that is no 8-bit image is stretched from its own range.
    """
    step = max(1, -(-max(picture.pixels.shape[:2]) // MAX_PREVIEW))
    pixels = picture.pixels[::step, ::step]
    if pixels.dtype != np.uint8:
        finite = np.nan_to_num(pixels.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        pixels = np.rint((finite - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
    if pixels.shape[-1] != 3:
        pixels = np.repeat(pixels[..., :1], 3, axis=-1)
    return np.ascontiguousarray(pixels).tobytes(), (pixels.shape[1], pixels.shape[0])
