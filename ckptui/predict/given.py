"""Inputs as they are given, one or several: arrays, strings, images among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptui.predict.answers import Feed, same_bits
from ckptui.predict.given_probes import probe
from ckptui.predict.image import LEAST_SIDE, Picture, preview_of
from ckptui.predict.material import (
    BATCH,
    FLIPS,
    MAX_BATCH_VALUES,
    PROBES,
    Material,
    changed_pixels,
)
from ckptui.predict.recipe import extent

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """One input of a call."""

    name: str | None
    values: Array
    free: bool = True
    """Its first axis is a batch of any size."""
    material: Material | None = None
    """The image it was made of."""

    @property
    def numeric(self) -> bool:
        """It holds numbers."""
        return self.values.dtype.kind not in "OSU"

    @property
    def image(self) -> bool:
        """It looks like images: [n, h, w, c] of 1 or 3 channels and sides of at least 8, or was made of one."""
        shape = self.values.shape
        shaped = self.numeric and len(shape) == 4 and shape[3] in (1, 3) and min(shape[1:3]) >= LEAST_SIDE
        return self.material.pictured if self.material is not None else shaped and shape[0] > 0

    @property
    def tried(self) -> bool:
        """Probes change all of it: numbers, and no text beside them."""
        return not self.material.untried if self.material is not None else self.numeric

    def mirrored(self, name: str) -> bool:
        """It equals its own flip."""
        if self.material is not None:
            return self.material.mirrored[name]
        other = self.changed(name)
        return other is not None and np.array_equal(self.values, other)

    def changed(self, name: str) -> Array | None:
        """With a flip or probe; None where it makes no sense for this part."""
        if self.material is not None:
            feed = self.material.changed(name)
            return None if feed is None else feed.first
        if name in FLIPS:
            return np.stack([_flipped(row, name) for row in self.values]) if self.image else None
        return probe(self.values, name) if self.numeric and self.values.size else None


def _flipped(row: Array, name: str) -> Array:
    made = changed_pixels(row, name)
    assert made is not None
    return made


class GivenMaterial(Material):
    """Inputs as the user gave them, by name."""

    def __init__(self, path: str, parts: Sequence[Part], words: str) -> None:
        self.path = path
        self.parts = tuple(parts)
        self.words = words
        self._shown = next((part for part in self.parts if part.image), None)
        if self._shown is not None and self._shown.material is not None:
            self.preview, self.preview_size = self._shown.material.preview, self._shown.material.preview_size
        elif self._shown is not None:
            pixels = self._shown.values[0]
            size = (pixels.shape[1], pixels.shape[0])
            self.preview, self.preview_size = preview_of(Picture(path, pixels, True, size))

    def original(self) -> Feed:
        return Feed(tuple((part.name, part.values) for part in self.parts))

    def changed(self, name: str) -> Feed | None:
        if name not in FLIPS + PROBES:
            return None
        made = [part.changed(name) for part in self.parts]
        new = [part.values if other is None else other for part, other in zip(self.parts, made, strict=True)]
        if all(same_bits(part.values, other) for part, other in zip(self.parts, new, strict=True)):
            # Of a flip that changes nothing the answer is known; of a probe nothing could be learnt.
            flips = name in FLIPS and any(other is not None for other in made)
            return self.original() if flips else None
        return Feed(tuple((part.name, values) for part, values in zip(self.parts, new, strict=True)))

    def among(self, others: Sequence[Material]) -> Feed | None:
        if not all(part.free and part.values.ndim and part.values.shape[0] == 1 for part in self.parts):
            return None
        mine = self.original()
        feeds = [other.original() for other in others if other is not self]
        feeds += [feed for name in ("noise", "the negative", "shuffled") if (feed := self.changed(name)) is not None]
        room = max(2, MAX_BATCH_VALUES // max(1, sum(part.values.size for part in self.parts)))
        rows = [feed for feed in feeds if _stackable(mine, feed)][: min(BATCH, room) - 1]
        if not rows:
            return None
        columns = zip(*([values for _, values in feed.parts] for feed in (mine, *rows)), strict=True)
        named = zip(mine.parts, columns, strict=True)
        return Feed(tuple((name, np.concatenate(column)) for (name, _), column in named))

    @property
    def mirrored(self) -> Mapping[str, bool]:
        if self._shown is None:
            return {}
        images = [part for part in self.parts if part.image]
        return {name: all(part.mirrored(name) for part in images) for name in FLIPS}

    @property
    def untried(self) -> bool:
        return not all(part.tried for part in self.parts)

    def shown(self, feed: Feed) -> Array:
        """The part that is an image, else the first with numbers."""
        return feed.parts[self.parts.index(self._main)][1]

    @property
    def how(self) -> str:
        material = self._main.material
        return material.how if material is not None else ""

    @property
    def _main(self) -> Part:
        return self._shown or next((part for part in self.parts if part.numeric), self.parts[0])

    def range(self) -> tuple[tuple[int, ...], float, float]:
        """Of the part that is an image, else of the first with numbers."""
        if self._shown is not None and self._shown.material is not None:
            return self._shown.material.range()
        return (tuple(self._main.values.shape), *extent(self._main.values))

    def preprocessings(self) -> Iterator[tuple[str, Feed | str]]:
        if self._shown is None or self._shown.material is None:
            return
        for name, made in self._shown.material.preprocessings():
            if isinstance(made, str):
                yield name, made
                continue
            image = made.first
            yield name, Feed(tuple((p.name, image if p is self._shown else p.values) for p in self.parts))


def _stackable(mine: Feed, other: Feed) -> bool:
    """Whether rows of the two go into one batch, and are not the same."""
    if [name for name, _ in mine.parts] != [name for name, _ in other.parts]:
        return False
    pairs = [(a, b) for (_, a), (_, b) in zip(mine.parts, other.parts, strict=True)]
    alike = all(b.ndim and b.shape == a.shape and b.dtype == a.dtype for a, b in pairs)
    return alike and not all(same_bits(a, b) for a, b in pairs)
