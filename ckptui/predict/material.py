"""What is put into a model: an image or given arrays, as they are and changed in every way a run asks for.

A `Material` hides what lies behind: runs ask it for a `Feed` by the name of a change and need not know whether there
are pixels, encoded files or plain arrays.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ckptui.predict.answers import Feed
from ckptui.predict.image import Picture, preview_of
from ckptui.predict.recipe import Recipe, every_recipe, extent

__all__ = ["FLIPS", "PROBES", "ImageMaterial", "Material", "Recipe", "changed_pixels", "shuffled"]

Array = np.ndarray[Any, Any]

FLIPS = ("flip-left-right", "flip-up-down", "rotate-180")
PROBES = ("zeros", "ones", "noise", "the negative", "shuffled")
SEED = 0
BATCH = 8
"""Rows of a batch of others, at most."""
MAX_BATCH_VALUES = 64 << 20
TILES = 4
"""Rows and columns of the parts that `shuffled` moves around."""


class Material(ABC):
    """One thing to predict."""

    path: str
    words: str
    """What was done to it before the model gets it."""
    preview: bytes = b""
    preview_size: tuple[int, int] = (0, 0)
    pictured: bool = True
    """There is an image in it, which can be flipped."""

    @property
    def how(self) -> str:
        """Name of the preprocessing of its image; empty where it has none."""
        return ""

    @property
    def untried(self) -> bool:
        """It holds text, which no probe changes: what an answer does under probes says little."""
        return False

    def shown(self, feed: Feed) -> Array:
        """Of a feed made of it, the values that hold the image."""
        return feed.first

    @abstractmethod
    def original(self) -> Feed:
        """As it is."""

    @abstractmethod
    def changed(self, name: str) -> Feed | None:
        """With the flip or probe called `name`; None where that makes no sense for this material."""

    @abstractmethod
    def among(self, others: Sequence[Material]) -> Feed | None:
        """In the first row of a batch of others (of the probes where there are none); None: no such batch."""

    @property
    @abstractmethod
    def mirrored(self) -> Mapping[str, bool]:
        """Per flip: it equals its own flip, so that the flip can't tell anything."""

    def range(self) -> tuple[tuple[int, ...], float, float]:
        """Shape, smallest and largest value of what the model gets."""
        values = self.original().first
        return (tuple(values.shape), *extent(values))

    def preprocessings(self) -> Iterator[tuple[str, Feed | str]]:
        """What the model would get under every preprocessing, or why it can't; nothing where none applies."""
        yield from ()


class ImageMaterial(Material):
    """A decoded image under a recipe. Changes are made on the pixels, before preprocessing."""

    def __init__(self, picture: Picture, recipe: Recipe) -> None:
        self.path = picture.path
        self.picture = picture
        self.recipe = recipe
        self.words = "; ".join(
            ("none, the file holds the input itself" if picture.raw else recipe.words, *picture.notes)
        )
        self.preview, self.preview_size = preview_of(picture)

    @property
    def how(self) -> str:
        return "" if self.picture.raw else self.recipe.how

    def with_pixels(self, pixels: Array) -> Feed:
        """Other pixels of the same shape and dtype in the place of its own."""
        return self.recipe.feed([replace(self.picture, pixels=pixels)])

    def original(self) -> Feed:
        return self.recipe.feed([self.picture])

    def changed(self, name: str) -> Feed | None:
        pixels = changed_pixels(self.picture.pixels, name)
        return None if pixels is None else self.with_pixels(pixels)

    def among(self, others: Sequence[Material]) -> Feed | None:
        form, pixels = self.recipe.form, self.picture.pixels
        if not form.batched or form.rows == 1:
            return None
        same = [m.picture for m in others if isinstance(m, ImageMaterial) and m is not self]
        same = [p for p in same if p.pixels.shape == pixels.shape and p.raw == self.picture.raw]
        made = [changed_pixels(pixels, name) for name in ("noise", "the negative", "shuffled")]
        same += [replace(self.picture, pixels=changed) for changed in made if changed is not None]
        room = max(2, MAX_BATCH_VALUES // max(1, pixels.size))
        return self.recipe.feed([self.picture, *same][: min(BATCH, room)])

    def preprocessings(self) -> Iterator[tuple[str, Feed | str]]:
        if self.picture.raw:
            return
        for name, recipe in every_recipe(self.recipe, self.picture.pixels.shape[-1]):
            yield name, recipe if isinstance(recipe, str) else recipe.feed([self.picture])

    @property
    def mirrored(self) -> Mapping[str, bool]:
        pixels = self.picture.pixels
        flipped = {name: changed_pixels(pixels, name) for name in FLIPS}
        return {name: other is not None and np.array_equal(pixels, other) for name, other in flipped.items()}


def changed_pixels(pixels: Array, name: str) -> Array | None:
    """[h, w, c] with one change, in the dtype given; None for a change there is not."""
    if name == "flip-left-right":
        return np.ascontiguousarray(pixels[:, ::-1])
    if name == "flip-up-down":
        return np.ascontiguousarray(pixels[::-1])
    if name == "rotate-180":
        return np.ascontiguousarray(pixels[::-1, ::-1])
    low, high = (0.0, 255.0) if pixels.dtype == np.uint8 else _range(pixels)
    if name == "zeros":
        return np.full_like(pixels, low)
    if name == "ones":
        return np.full_like(pixels, high)
    if name == "the negative":
        return np.asarray(low + high - pixels.astype(np.float64)).astype(pixels.dtype)
    draw = np.random.default_rng(SEED)
    if name == "noise":
        whole = pixels.dtype == np.uint8
        drawn = (
            draw.integers(0, 256, pixels.shape) if whole else between(low, high, np.asarray(draw.random(pixels.shape)))
        )
        return np.asarray(drawn).astype(pixels.dtype)
    return shuffled(pixels, draw) if name == "shuffled" else None


def between(low: float, high: float, shares: Array) -> Array:
    """The values at `shares`, 0 to 1, of the way from low to high, also where their distance is no float64."""
    found: Array = low * (1 - shares) + high * shares
    return found


def _range(values: Array) -> tuple[float, float]:
    """Lowest and highest finite value, with 0 and 1 among them, so that a flat array still has a range."""
    finite = values[np.isfinite(values)]
    return float(np.min(finite, initial=0.0)), float(np.max(finite, initial=1.0))


def shuffled(pixels: Array, draw: np.random.Generator) -> Array:
    """The image cut into TILES x TILES parts (fewer where it is small) which change places; what is left over stays."""
    height, width = pixels.shape[0] // TILES, pixels.shape[1] // TILES
    if not height or not width:
        flat = pixels.reshape(-1, pixels.shape[-1])
        moved: Array = flat[draw.permutation(len(flat))].reshape(pixels.shape)
        return moved
    out: Array = pixels.copy()
    places = [(row * height, column * width) for row in range(TILES) for column in range(TILES)]
    for (top, left), at in zip(places, draw.permutation(len(places)), strict=True):
        y, x = places[int(at)]
        out[top : top + height, left : left + width] = pixels[y : y + height, x : x + width]
    return out
