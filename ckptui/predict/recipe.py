"""How a decoded image becomes what the model gets: the recipe, chosen once for a model, and every other one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ckptui.core.model import Variant
from ckptui.predict.answers import Answer, Feed
from ckptui.predict.image import Form, Picture, batch_of
from ckptui.predict.preprocessing import PREPROCESS, SIGNED, choose, preprocess
from ckptui.predict.wish import Wish

if TYPE_CHECKING:
    from ckptui.predict.material import Material

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a decoded image becomes what the model gets."""

    form: Form
    how: str
    """Name of the preprocessing: `0..1`, ..., `mean/std`."""
    words: str
    """The same with its reason."""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    """Of `mean/std`, for pixels of 0..255."""

    note: ClassVar[str] = ""
    """What is to be told of many pictures sent this way."""

    def values(self, picture: Picture) -> Array:
        """[h, w, c] as the model gets it; a raw array is the input itself."""
        return picture.pixels if picture.raw else preprocess(picture.pixels, self.how, self.mean, self.std)

    def feed(self, pictures: Sequence[Picture]) -> Feed:
        """All of them in one batch; of a model with a batch of fixed size the first ones, repeated where too few."""
        rows = [batch_of(self.values(picture), self.form) for picture in pictures]
        fixed = self.form.rows
        if not self.form.batched:
            return Feed.of(rows[0][0])
        if fixed:
            rows = [rows[place % len(rows)] for place in range(fixed)]
        return Feed.of(np.concatenate(rows))


def recipe_of(wish: Wish, facts: Mapping[str, Any], form: Form) -> Recipe:
    """The recipe for images of `form`: what was asked for, or what the worker's facts of the model say.

    Raises UsageError for a preprocessing there is not, and for one that does not fit the channels.
    """
    how, words = choose(wish.preprocess, facts.get("first") or (), form.dtype, mean=wish.mean, std=wish.std)
    if form.channels:
        preprocess(np.zeros((1, 1, form.channels), np.uint8), how, wish.mean, wish.std)
    if form.rows > 1:
        words += f"; the model takes batches of {form.rows}, the rows are filled up with the same"
    if form.layout == "flat" and form.size is not None:
        words += f"; {form.size[1]}×{form.size[0]} pixels in a row"
    return Recipe(form, how, words, wish.mean, wish.std)


def variants_of(material: Material) -> Iterator[tuple[str, Feed | str]]:
    """The same image under every preprocessing there is: (name, what the model gets, or why it can't get that).

    Nothing for a material without pixels of its own: arrays given as they are, files the graph itself decodes.
    """
    return material.preprocessings()


def every_recipe(recipe: Recipe, channels: int) -> Iterator[tuple[str, Recipe | str]]:
    """Every preprocessing as a recipe beside `recipe`, or why it makes no sense for the model's dtype or channels."""
    names = [name for name in PREPROCESS if name != "auto"]
    names += [recipe.how] if recipe.how not in names else []
    whole = recipe.form.dtype.startswith(("uint", "int"))
    for name in names:
        if whole and name not in ("0..255", SIGNED, recipe.how):
            yield name, f"the model takes {recipe.form.dtype}, which holds no fractions"
        elif recipe.form.dtype == "int8" and name == "0..255":
            yield name, "the model takes int8, which ends at 127"
        elif name in ("caffe", "torch") and channels != 3:
            yield name, f"needs 3 channels, the model takes {channels}"
        else:
            yield name, replace(recipe, how=name, words=name)


def variant(
    name: str,
    made: Feed | str,
    original: Answer,
    answer: Answer | str,
    top: tuple[tuple[int, str, float], ...] = (),
    *,
    chosen: bool = False,
    shown: Array | None = None,
) -> Variant:
    """The row of one preprocessing: `answer` is the model's, or why there is none; `top` its best, with labels.

    `shown` is the image in what was made, where that is not its first part.
    """
    if isinstance(made, str):
        return Variant(name, 0.0, 0.0, (), None, None, chosen, made)
    low, high = extent(made.first if shown is None else shown)
    if isinstance(answer, str):
        return Variant(name, low, high, (), None, None, chosen, answer)
    return Variant(name, low, high, top, original.apart(answer), best(original) != best(answer), chosen)


def best(answer: Answer) -> int:
    """Index of the largest value of the output on show, of a single integer itself; -1 where there is none."""
    if answer.main.size == 1 and answer.main.dtype.kind in "iu":
        return int(answer.main.reshape(-1)[0])
    flat = answer.main.astype(np.float64).reshape(-1)
    flat = np.where(np.isnan(flat), -np.inf, flat)
    return int(np.argmax(flat)) if flat.size else -1


def extent(values: Array) -> tuple[float, float]:
    """Smallest and largest finite value; zeros where there is none, or text."""
    if values.dtype.kind in "OSU":
        return 0.0, 0.0
    plain = values.astype(np.float64)
    finite = plain[np.isfinite(plain)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
