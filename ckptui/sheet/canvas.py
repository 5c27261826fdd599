"""Words, lines and pixels on an image, by Pillow alone: no font of the machine is needed."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ckptui.core.colours import GAP, Pixels
from ckptui.core.text import PLAIN_SIGNS, safe

BACKGROUND = "#14151b"
TONES: dict[str, str] = {
    "error": "#f7768e",
    "warning": "#e0af68",
    "odd": "#bb9af7",
    "muted": "#858ba0",
    "info": "#7aa2f7",
    "plain": "#d5d9e6",
    "dim": "#858ba0",
    "faint": "#2d3140",
    "frame": "#3d4358",
}
"""The colours of the workbench; a flag's tone names its own."""
ELLIPSIS = "…"
_SIGNS = {"−": "-", "×": "x", "–": "-", "—": "-", "→": "->", "✖": "x", "▲": "!"}


@lru_cache(16)
def font(size: int) -> Any:
    """Pillow's own font in that size."""
    return ImageFont.load_default(size)


@lru_cache(4096)
def _known(char: str) -> bool:
    """Has the font a picture of this character? What it lacks is all one box."""
    return char == " " or font(16).getmask(char).getbbox() is None or _mask(char) != _mask("\uffff")


def _mask(char: str) -> tuple[tuple[int, int], bytes]:
    mask = font(16).getmask(char)
    return mask.size, bytes(mask)


@lru_cache(8192)
def printable(text: str) -> str:
    """Text from anywhere as the font can show it: `safe`, own signs by a likeness, other characters as escapes."""
    out = []
    for char in safe(text, 400):
        if char.isascii() or _known(char):
            out.append(char)
        elif char in _SIGNS or char in PLAIN_SIGNS:
            out.append(_SIGNS.get(char, PLAIN_SIGNS.get(char, "")))
        else:
            code = ord(char)
            out.append(f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return "".join(out)


@lru_cache(16384)
def width_of(text: str, size: int) -> int:
    """Pixels a printable text is wide."""
    return -(-int(font(size).getlength(text) * 64) // 64)


def fitted(text: str, width: int, size: int, *, middle: bool = False) -> str:
    """Shorten to `width` pixels: the end goes, or of names the middle."""
    text = printable(text)
    if width_of(text, size) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        keep = (low + high + 1) // 2
        if width_of(_shortened(text, keep, middle), size) <= width:
            low = keep
        else:
            high = keep - 1
    return _shortened(text, low, middle)


def _shortened(text: str, keep: int, middle: bool) -> str:
    if not middle:
        return text[:keep].rstrip() + ELLIPSIS
    tail = keep // 2
    return text[: keep - tail] + ELLIPSIS + text[len(text) - tail :]


class Canvas:
    """An image with the background of the workbench."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), BACKGROUND)
        self._draw = ImageDraw.Draw(self.image)
        self.width = width

    def text(
        self, x: int, y: int, text: str, tone: str = "plain", size: int = 13, *, most: int | None = None,
        middle: bool = False, right: bool = False,
    ) -> int:  # fmt: skip
        """Write `text` with its upper left (`right`: upper right) corner at x, y; where it ends."""
        words = fitted(text, most if most is not None else self.width, size, middle=middle)
        length = width_of(words, size)
        x = x - length if right else x
        self._draw.text((x, y), words, fill=TONES[tone], font=font(size))
        return x + length

    def frame(self, x: int, y: int, width: int, height: int, tone: str, thick: int = 1) -> None:
        """The outline of a rectangle of that outer size."""
        self._draw.rectangle((x, y, x + width - 1, y + height - 1), outline=TONES[tone], width=thick)

    def bar(self, x: int, y: int, width: int, height: int, tone: str) -> None:
        """A filled rectangle."""
        self._draw.rectangle((x, y, x + width - 1, y + height - 1), fill=TONES[tone])

    def hatch(self, x: int, y: int, width: int, height: int, tone: str) -> None:
        """A rectangle of slanted lines, in a frame."""
        for place in range(-height, width, 8):
            start, end = max(place, 0), min(place + height, width)
            self._draw.line((x + start, y + start - place, x + end - 1, y + end - place - 1), fill=TONES["faint"])
        self.frame(x, y, width, height, tone)

    def pixels(self, x: int, y: int, pixels: Pixels, down: int, right: int, broken: npt.NDArray[np.bool_]) -> None:
        """Paste 0xRRGGBB pixels, each `down` x `right` large; those in `broken` (same shape) are hatched."""
        self.image.paste(Image.fromarray(enlarged(pixels, down, right, broken)), (x, y))


def enlarged(
    pixels: Pixels, down: int, right: int, broken: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.uint8]:
    """(h, w) of 0xRRGGBB as (h * down, w * right, 3) bytes; gaps show the background, broken pixels are hatched."""
    empty = int(BACKGROUND[1:], 16)
    packed = np.where(pixels == GAP, empty, pixels).repeat(down, axis=0).repeat(right, axis=1)
    if broken is not None and broken.any() and min(down, right) >= 3:
        mask = broken.repeat(down, axis=0).repeat(right, axis=1)
        slant = np.add.outer(np.arange(packed.shape[0]), np.arange(packed.shape[1])) % 6 < 2
        packed = np.where(mask & slant, empty, packed)
    channels = [(packed >> shift & 255).astype(np.uint8) for shift in (16, 8, 0)]
    return np.stack(channels, axis=-1)
