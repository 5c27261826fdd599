"""Materials that are no single decoded image: arrays as given, files that the graph itself decodes, mixtures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptui.predict.answers import Feed, same_bits
from ckptui.predict.image import LEAST_SIDE, Picture, preview_of
from ckptui.predict.material import (
    BATCH,
    FLIPS,
    MAX_BATCH_VALUES,
    PROBES,
    SEED,
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
        return self.material is not None or (shaped and shape[0] > 0)

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


def probe(values: Array, name: str) -> Array | None:
    """Other numbers of the same shape and dtype; whole numbers stay within the range seen, so that ids stay valid."""
    if values.dtype.kind == "b":
        made = {"zeros": np.zeros_like(values), "ones": np.ones_like(values), "the negative": ~values}
        if name in made:
            return made[name]
    draw = np.random.default_rng(SEED)
    if name == "shuffled":
        return _shuffled(values, draw)
    if name == "noise" and values.dtype.kind == "b":
        return np.asarray(draw.integers(0, 2, values.shape)).astype(bool)
    if values.dtype.kind == "c":
        return np.zeros_like(values) if name == "zeros" else None
    if values.dtype.kind in "iu":
        return _whole_probe(values, name, draw)
    low, high = extent(values)
    low, high = min(low, 0.0), max(high, 1.0)
    plain = values.astype(np.float64)
    floats: dict[str, Callable[[], Array]] = {
        "zeros": lambda: np.zeros(values.shape),
        "ones": lambda: np.ones(values.shape),
        "noise": lambda: np.asarray(draw.uniform(low, high, values.shape)),
        "the negative": lambda: np.asarray(low + high - plain),
    }
    return floats[name]().astype(values.dtype) if name in floats else None


def _whole_probe(values: Array, name: str, draw: np.random.Generator) -> Array | None:
    low, high = values.min(), values.max()
    if name in ("zeros", "ones"):
        return np.full_like(values, low if name == "zeros" else high)
    if name == "noise":
        return np.asarray(draw.integers(low, high, values.shape, dtype=values.dtype, endpoint=True))
    # low + high may not fit the dtype; the distance to high does, as its unsigned twin.
    return (low + (high - values)).astype(values.dtype) if name == "the negative" else None


def _shuffled(values: Array, draw: np.random.Generator) -> Array | None:
    """Every row's values in another order, the same for all rows."""
    if not values.ndim:
        return None
    flat = values.reshape(values.shape[0], -1) if values.ndim > 1 else values.reshape(1, -1)
    order = draw.permutation(flat.shape[1])
    if np.array_equal(order, np.arange(len(order))):
        order = order[::-1]
    moved: Array = flat[:, order].reshape(values.shape)
    return moved


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
        found = {}
        for name in FLIPS:
            pairs = [(part.values, part.changed(name)) for part in self.parts if part.image]
            found[name] = all(other is not None and np.array_equal(values, other) for values, other in pairs)
        return found

    def range(self) -> tuple[tuple[int, ...], float, float]:
        """Of the part that is an image, else of the first with numbers."""
        if self._shown is not None and self._shown.material is not None:
            return self._shown.material.range()
        shown = self._shown or next((part for part in self.parts if part.numeric), self.parts[0])
        return (tuple(shown.values.shape), *extent(shown.values))

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


class EncodedMaterial(Material):
    """An image file whose bytes a graph decodes by itself. Changes are made on its pixels and sent as PNG."""

    def __init__(
        self,
        picture: Picture,
        data: bytes,
        shape: Sequence[int | None] | None,
        encode: Callable[[Array], bytes],
        words: str,
        wrap: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """`shape` is the input's; `encode` makes a PNG of pixels, `wrap` what the graph takes of an image's bytes."""
        self.path = picture.path
        self.picture = picture
        self.words = words
        self.preview, self.preview_size = preview_of(picture)
        self._encode, self._wrap = encode, wrap
        self._rank = 1 if shape is None else len(shape)
        self._fixed = shape[0] if shape else None
        self._made: dict[str, Feed] = {"": self._feed([data])}

    def _feed(self, files: Sequence[bytes]) -> Feed:
        several = [files[place % len(files)] for place in range(self._fixed or len(files))]
        strings = np.empty(len(several), dtype=object)
        strings[:] = [self._wrap(one) if self._wrap else one for one in several]
        return Feed.of(strings.reshape((len(several), *[1] * (self._rank - 1)) if self._rank else ()))

    def original(self) -> Feed:
        return self._made[""]

    def changed(self, name: str) -> Feed | None:
        if name not in self._made:
            pixels = changed_pixels(self.picture.pixels, name)
            if pixels is None:
                return None
            self._made[name] = self._feed([self._encode(pixels)])
        return self._made[name]

    def among(self, others: Sequence[Material]) -> Feed | None:
        if not self._rank or self._fixed is not None:
            return None
        rows = [other.original() for other in others if isinstance(other, EncodedMaterial) and other is not self]
        names = ("noise", "the negative", "shuffled")
        rows += [feed for name in names if (feed := self.changed(name)) is not None]
        stacked = [self.original(), *rows][:BATCH]
        return Feed.of(np.concatenate([feed.first for feed in stacked]))

    @property
    def mirrored(self) -> Mapping[str, bool]:
        pixels = self.picture.pixels
        flips = {name: changed_pixels(pixels, name) for name in FLIPS}
        return {name: other is not None and np.array_equal(pixels, other) for name, other in flips.items()}

    def range(self) -> tuple[tuple[int, ...], float, float]:
        """Shape of the batch of strings; the values are those of the decoded pixels."""
        return (tuple(self.original().first.shape), *extent(self.picture.pixels))
