"""Decodes and resizes images in a process of its own, limited, so that a bomb or a crash costs one image.

Run as `python -m ckptui.predict.image_child`; it speaks the worker's frames and knows `decode`, `look`,
`decode-bytes`, `bytes` (the file itself), `encode` (pixels as a file) and `given` (files of arrays and requests, as the
inputs of a model).
"""

from __future__ import annotations

import io
import os
import resource
import stat
import tempfile
from typing import IO, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from ckptui.errors import CkptuiError
from ckptui.predict.array_image import as_image, fitted_numbers, read_array, sizable, stretched, too_large
from ckptui.predict.given_arrays import given
from ckptui.predict.serving_json import Target
from ckptui.predict.worker import cage, frames
from ckptui.predict.worker.errors import Refused, brief
from ckptui.predict.worker.packing import pack

TAKEN = "PNG, JPEG, GIF, BMP, WebP and .npy"
OTHERS = {
    "TIFF": [(0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0"), (0, b"MM\0+")],
    "AVIF": [(4, b"ftypavif"), (4, b"ftypavis")],
    "HEIC": [(4, b"ftyphei"), (4, b"ftyphev"), (4, b"ftypmif1"), (4, b"ftypmsf1")],
    "JPEG 2000": [(4, b"jP  \r\n"), (0, b"\xff\x4f\xff\x51")],
    "JPEG XL": [(4, b"JXL \r\n"), (0, b"\xff\x0a")],
    "PSD": [(0, b"8BPS")],
    "PDF": [(0, b"%PDF")],
    "SVG": [(0, b"<svg"), (0, b"<?xml")],
    "ICO": [(0, b"\0\0\1\0")],
    "a zip archive (.npz: give it with --input)": [(0, b"PK\3\4")],
}
"""Formats people have at hand: places and bytes they begin with."""
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
MAX_FILE = 512 << 20
MEMORY = 2 << 30
"""Address space: 64 Mpx as RGBA and its resized copy fit well."""
NPY_MAGIC = b"\x93NUMPY"
ORIENTATION = 0x0112
"""EXIF tag of how the camera was held."""


def decode(
    path: str, size: tuple[int, int] | None, channels: int, in_a_row: tuple[int, int, int] | None = None
) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """The image at `path` as uint8 [height, width, channels], resized to `size` (width, height) with BILINEAR.

    `channels` is 1 (mode L), 3 (RGB) or 0 (3 unless the file is grey). An `.npy` of other numbers comes back as
    they are, with `raw` set; `in_a_row` as in `as_image`. Raises Refused where there is no image, or one over the pixel
    cap.
    """
    with open_regular(path) as file:
        if file.read(6) == NPY_MAGIC:
            file.seek(0)
            return from_npy(file, path, size, channels, in_a_row)
        file.seek(0)
        return from_image(file, path, size, channels)


def from_image(
    file: IO[bytes], path: str, size: tuple[int, int] | None, channels: int
) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """What Pillow makes of a file, or of bytes in memory; raises as `decode`."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            facts = {"format": image.format, "size": list(image.size), "mode": image.mode, "raw": False}
            too_large(*image.size)
            image.load()
            facts["notes"] = notes_on(image) + stretched(image.size, size or image.size)
            return fitted(eight_bit(image), size, channels), facts
    except Refused:
        raise
    except UnidentifiedImageError as error:
        file.seek(0)
        raise not_taken(file.read(64), path) from error
    except Exception as error:  # Pillow raises anything at all on damaged files; its words are the answer
        said = str(error) if isinstance(error, (OSError, SyntaxError)) else brief(error)
        raise Refused(
            "image", f"{path} is damaged and can't be decoded: {said}", "Fetch it again, or name another file"
        ) from error


def not_taken(start: bytes, path: str) -> Refused:
    """What is no image of the formats that are taken, by its first bytes."""
    if not start:
        return Refused("image", f"{path} is empty", "Name another file")
    for name, begins in OTHERS.items():
        if any(start[at:].startswith(magic) for at, magic in begins):
            return Refused("image", f"{path}: {name} is not taken: {TAKEN} are", "Convert it, or name another file")
    return Refused("image", f"{path} is no image: {TAKEN} are taken", "Name another file")


def open_regular(path: str) -> IO[bytes]:
    """The file at `path` for reading; Refused for anything but a regular file of a sensible size."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Refused("image", f"{path} can't be opened: {error.strerror}") from error
    info = os.fstat(fd)
    if stat.S_ISDIR(info.st_mode):
        os.close(fd)
        raise Refused("image", f"{path} is a folder, no image", "Name the images in it, or give it with --images")
    if not stat.S_ISREG(info.st_mode) or info.st_size > MAX_FILE:
        os.close(fd)
        raise Refused("image", f"{path} is no regular file of at most {MAX_FILE >> 20} MiB")
    return os.fdopen(fd, "rb")


def notes_on(image: Image.Image) -> list[str]:
    """What is left out or decided for this file, so that a surprising answer can be traced to it."""
    notes = []
    try:
        turned = int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Pillow raises anything at all on a damaged EXIF block, and the picture is there all the same
        turned = 1
    if turned in range(2, 9):
        # tf.io.decode_image, decode_jpeg and keras.utils.load_img leave pixels as they are stored.
        notes.append(f"EXIF orientation {turned} not applied, as TensorFlow's and Keras' loaders do not")
    frames = int(getattr(image, "n_frames", 1))
    if frames > 1:
        notes.append(f"the first of {frames} frames")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        notes.append("transparency left out")
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        notes.append(f"converted from {image.mode}")
    if image.mode.startswith("I") or image.mode == "F":
        notes.append("16 bits a pixel scaled to 8")
    return notes


def eight_bit(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits; Pillow's own conversion would cut everything above 255 to white."""
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.float64)
    if image.mode.startswith("I;16") or (values.size and values.max() > 255):
        values = values / 257
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def fitted(image: Image.Image, size: tuple[int, int] | None, channels: int) -> np.ndarray[Any, Any]:
    """Converted to L or RGB, then resized with Pillow's BILINEAR."""
    grey = channels == 1 or (channels == 0 and image.mode in ("1", "L", "LA"))
    image = image.convert("L" if grey else "RGB")
    if size is not None and size != image.size:
        sizable(size)
        image = image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[..., None] if grey else pixels


def from_npy(
    file: IO[bytes], path: str, size: tuple[int, int] | None, channels: int, in_a_row: tuple[int, int, int] | None
) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """uint8 of 1 or 3 channels is an image like any other, all else the input itself."""
    array, notes = as_image(read_array(file, path), path, in_a_row)
    own = (array.shape[1], array.shape[0])
    facts = {"format": "NPY", "size": list(own), "mode": str(array.dtype)}
    if array.dtype != np.uint8 or array.shape[2] not in (1, 3):
        values, said = fitted_numbers(array, size, channels)
        return values, {**facts, "raw": True, "notes": notes + said}
    image = Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2] == 1 else array))
    notes += stretched(own, size or own)
    return fitted(image, size, channels), {**facts, "raw": False, "notes": notes}


def answer(doc: dict[str, Any], arrays: list[Any]) -> tuple[dict[str, Any], list[Any]]:
    """Carry out one request."""
    path = str(doc.get("path", "what was given"))
    try:
        return carried_out(doc, path, arrays)
    except Refused as error:
        return {"error": error.kind, "detail": error.detail, "hint": error.hint}, []
    except CkptuiError as error:
        return {"error": "usage", "detail": error.detail, "hint": error.hint}, []
    except MemoryError:
        return {"error": "image", "detail": f"{path} needs too much memory"}, []


def carried_out(doc: dict[str, Any], path: str, arrays: list[Any]) -> tuple[dict[str, Any], list[Any]]:
    """The answer to one request; Refused, CkptuiError and MemoryError say why there is none."""
    op = doc.get("op")
    if op == "given":
        target = Target(doc["inputs"], doc["parsing"], doc["signature"])
        found = given([(name, str(place)) for name, place in doc["files"]], target, doc["encoded"])
        entries, sent = pack(list(found.arrays.items()))
        return {"entries": entries, "notes": found.notes, "images": found.images}, sent
    if op == "encode":
        return {}, [written(arrays[0], str(doc.get("kind", "PNG")))]
    if op == "bytes":
        with open_regular(path) as file:
            return {}, [np.frombuffer(file.read(MAX_FILE), np.uint8)]
    if op == "decode-bytes":
        pixels, facts = from_image(io.BytesIO(arrays[0].tobytes()), path, None, 0)
        return facts, [pixels]
    size = doc.get("size")
    row = doc.get("row")
    pixels, facts = decode(path, tuple(size) if size else None, int(doc["channels"]), tuple(row) if row else None)
    return facts, [] if op == "look" else [pixels]


def written(pixels: np.ndarray[Any, Any], kind: str) -> np.ndarray[Any, Any]:
    """uint8 [h, w, c] with 1 or 3 channels as the bytes of a PNG, BMP or JPEG."""
    out = io.BytesIO()
    options = {"PNG": {"compress_level": 1}, "JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(out, kind, **options)
    return np.frombuffer(out.getvalue(), np.uint8)


def main() -> None:
    """Serve until the pipe ends."""
    requests, replies = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    cage.apply(tempfile.gettempdir())
    cage.limit(resource.RLIMIT_AS, MEMORY)
    Image.MAX_IMAGE_PIXELS = None  # decode() holds its own cap, before any pixel is decoded
    while (frame := frames.read_frame(requests)) is not None:
        reply, arrays = answer(*frame)
        frames.write_frame(replies, {**reply, "id": frame[0].get("id")}, arrays)


if __name__ == "__main__":
    main()
