"""How long a gallery of 512 filters takes from the key that asks for it until its pictures are on the screen."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import crc32c
import numpy as np

from benchmarks.measure import Terminal
from benchmarks.saves import HEADER, _entry, write_index

SHAPES = ((3, 3, 512, 512), (3, 3, 3, 512))
FRAMES = 8
"""Framed filters that must be drawn; a frame comes with its picture."""


def write_filters(prefix: Path) -> Path:
    """A checkpoint of convolution kernels, each followed by a bias to come from."""
    items, offset = [HEADER], 0
    draws = np.random.default_rng(0)
    with open(f"{prefix}.data-00000-of-00001", "wb") as data:
        for number, shape in enumerate(SHAPES):
            for role, size in (("bias", (shape[-1],)), ("kernel", shape)):
                values = (draws.normal(size=size) * 0.05).astype("<f4").tobytes()
                data.write(values)
                entry = _entry(1, size, offset, len(values), crc32c.crc32c(values))
                items.append((f"conv{number}/{role}".encode(), entry))
                offset += len(values)
    write_index(Path(f"{prefix}.index"), items)
    return prefix


def drawn(seen: bytes) -> bool:
    """Are there filters on the screen?"""
    return seen.count("╭".encode()) >= FRAMES


def gallery_times(prefix: Path, kernel: int, rounds: int) -> list[float]:
    """Seconds from `j` onto a kernel and `f` until its filters are drawn, each from another tensor."""
    taken = []
    for turn in range(rounds + 1):
        screen = Terminal((str(prefix),))
        try:
            screen.until(lambda seen: b"conv1/kernel" in seen)
            # the automatic scan of the save begins late enough to look like a settled screen
            time.sleep(2.5)
            screen.settle(quiet=0.5, at_most=5)
            # rows are in the order of the file: bias, kernel, bias, kernel
            for _ in range(2 * kernel):
                screen.key(b"j", bool)
                screen.settle(quiet=0.5, at_most=3)
            screen.settle(quiet=0.5, at_most=3)
            spent = screen.key(b"jf", drawn)
        finally:
            screen.close()
        if turn:
            taken.append(spent)
    return taken


def gallery_rows(folder: Path, rounds: int) -> list[tuple[str, str, str, str]]:
    """A row of the table for each kernel: median and 90th percentile."""
    place = folder / "gallery" / "ckpt-1"
    place.parent.mkdir()
    write_filters(place)
    rows = []
    for number, shape in enumerate(SHAPES):
        taken = sorted(gallery_times(place, number, rounds))
        median, late = statistics.median(taken) * 1000, taken[min(len(taken) - 1, int(len(taken) * 0.9))] * 1000
        what = f"`f` on a {'x'.join(map(str, shape))} kernel until its filters are drawn"
        rows.append((what, f"{median:.0f} ms (p90 {late:.0f} ms)", "200 ms", f"{median / 200:.2f} of it"))
    return rows


if __name__ == "__main__":
    for row in gallery_rows(Path(sys.argv[1]), int(sys.argv[2])):
        print(" | ".join(row))
