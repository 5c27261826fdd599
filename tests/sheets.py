"""Reads a sheet back from its pixels: where frames are, and what is in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ckptui.sheet.canvas import TONES

Bytes = npt.NDArray[np.uint8]
BORDER = 3
"""Line and space around a picture."""


def opened(path: Path | str) -> Bytes:
    """(height, width, 3) of a PNG."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.mode == "RGB"
        return np.asarray(image)


def rgb(colour: str) -> tuple[int, int, int]:
    """The bytes of `#rrggbb`."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


@dataclass(frozen=True)
class Framed:
    """A frame found on a sheet: its outer rectangle."""

    x: int
    y: int
    width: int
    height: int

    def cells(self, sheet: Bytes, rows: int, columns: int) -> Bytes:
        """The colour in the middle of every weight."""
        inner = sheet[self.y + BORDER : self.y + self.height - BORDER, self.x + BORDER : self.x + self.width - BORDER]
        down, right = inner.shape[0] // rows, inner.shape[1] // columns
        assert inner.shape[:2] == (rows * down, columns * right)
        return inner[down // 2 :: down, right // 2 :: right]


def frames(sheet: Bytes, tone: str, least: int = 20) -> list[Framed]:
    """Every rectangle drawn in exactly that tone, from its edges alone; in reading order."""
    there = (sheet == rgb(TONES[tone])).all(axis=-1)
    edges = np.diff(there.astype(np.int8), axis=1, prepend=0, append=0)
    # runs come in pairs of edges, row by row
    starts, stops = np.argwhere(edges == 1), np.argwhere(edges == -1)
    widths = stops[:, 1] - starts[:, 1]
    found = []
    for (y, x), width in zip(starts[widths >= least].tolist(), widths[widths >= least].tolist(), strict=True):
        if y and there[y - 1, x : x + width].all():
            continue
        sides = there[y:, x] & there[y:, x + width - 1]
        height = int(np.argmin(np.append(sides, False)))
        whole = there[y : y + height, x : x + width].all()
        if height >= 10 and there[y + height - 1, x : x + width].all() and not whole:
            found.append(Framed(x, y, width, height))
    return found


def kernel(*shape: int, seed: int = 0) -> npt.NDArray[Any]:
    """Weights as a trained layer has them: no symmetry, nothing dead, on no generator's grid."""
    values: npt.NDArray[Any] = np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)
    return values
