"""Images whose bytes a graph decodes by itself: files as they are, several in one input, and pictures of a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptui.core.text import safe
from ckptui.errors import UsageError
from ckptui.predict.answers import Feed
from ckptui.predict.image import Form, Picture, preview_of
from ckptui.predict.material import BATCH, FLIPS, Material, changed_pixels
from ckptui.predict.recipe import extent

Array = np.ndarray[Any, Any]
LONGEST = 1024
"""Longest side of the pictures of a folder that are sent encoded: each is sent ten times."""


class EncodedMaterial(Material):
    """An image file whose bytes a graph decodes by itself. Changes are made on its pixels and encoded anew."""

    def __init__(
        self,
        picture: Picture,
        data: bytes,
        shape: Sequence[int | None] | None,
        encode: Callable[[Array], bytes],
        words: str,
        wrap: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """`shape` is the input's; `encode` makes a file of pixels, `wrap` what the graph takes of an image's bytes."""
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


class Encoded(Material):
    """Encoded images in one input as they were given, each with the material that changes it."""

    def __init__(self, values: Array, images: Sequence[EncodedMaterial]) -> None:
        """`values` are the strings, `images` a material of rank 1 for each."""
        self.path, self.words = images[0].path, images[0].words
        self.preview, self.preview_size = images[0].preview, images[0].preview_size
        self._values, self._images = values, tuple(images)

    def original(self) -> Feed:
        return Feed.of(self._values)

    def changed(self, name: str) -> Feed | None:
        made = [image.changed(name) for image in self._images]
        rows = [feed.first for feed in made if feed is not None]
        return Feed.of(np.concatenate(rows).reshape(self._values.shape)) if len(rows) == len(made) else None

    def among(self, others: Sequence[Material]) -> Feed | None:
        return None

    @property
    def mirrored(self) -> Mapping[str, bool]:
        return {name: all(image.mirrored[name] for image in self._images) for name in FLIPS}

    def range(self) -> tuple[tuple[int, ...], float, float]:
        """Shape of the strings, values of the first one's pixels."""
        return (tuple(self._values.shape), *self._images[0].range()[1:])


@dataclass(frozen=True, slots=True)
class EncodedRecipe:
    """How pictures of a folder become what a model that decodes them gets: every one encoded anew from its pixels."""

    form: Form
    encode: Callable[[Array], bytes]
    wrap: Callable[[bytes], bytes] | None = None
    """What the graph takes of an image's bytes: the bytes themselves, base64, or an Example with them."""
    sends: str = "PNG"
    """The format that `encode` writes."""

    @property
    def note(self) -> str:
        """What was done to every picture."""
        return f"every picture, changed or not, was sent as a {self.sends} of at most {LONGEST} pixels a side"

    def feed(self, pictures: Sequence[Picture]) -> Feed:
        """All of them in one batch; raises UsageError for numbers that are no picture."""
        files = []
        for picture in pictures:
            if picture.raw:
                raise UsageError(f"{safe(picture.path)} holds numbers, the model takes encoded images as bytes")
            data = self.encode(picture.pixels)
            files.append(self.wrap(data) if self.wrap else data)
        strings = np.empty(len(files), dtype=object)
        strings[:] = files
        rank = 1 if self.form.shape is None else len(self.form.shape)
        return Feed.of(strings.reshape((len(files), *[1] * (rank - 1))) if rank else strings[:1].reshape(()))


def encoded_form(entry: Mapping[str, Any]) -> Form:
    """The form of pictures for an input of strings: their own size and channels."""
    shape = entry.get("shape")
    given = None if shape is None else tuple(shape)
    return Form(str(entry["name"]), "string", given, None, 0, "bytes", given is None or bool(given), LONGEST)
