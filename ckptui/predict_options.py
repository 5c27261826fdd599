"""The options that say how a model is called, for every command that calls one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import click

PREPROCESS = ("auto", "0..1", "-1..1", "0..255", "caffe", "torch")
MOST_CHANNELS = 16
"""Numbers that --mean and --std take."""
MOST_ANSWERS = 1000
"""The highest --top."""


class Numbers(click.ParamType[tuple[float, ...]]):
    """`M` or `M,M,M`: finite numbers, one for all channels or one each; `above_zero` for what is divided by."""

    name = "numbers"

    def __init__(self, *, above_zero: bool = False) -> None:
        self.above_zero = above_zero

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[float, ...]:
        """The numbers. Raises BadParameter."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of numbers. Write them like 123.7,116.8,103.9", parameter, context)
        if len(numbers) > MOST_CHANNELS:
            self.fail(f"{len(numbers)} numbers are more than a picture has channels", parameter, context)
        if not all(map(math.isfinite, numbers)):
            self.fail(f"{value!r} holds a number that is not finite", parameter, context)
        if self.above_zero and min(numbers) <= 0:
            self.fail(f"{value!r} holds a number that is not above 0. Pixels are divided by it", parameter, context)
        return numbers


_OPTIONS = (
    click.option("--images", "images_dir", metavar="DIR", help="A folder of images: what only many of them show."),
    click.option(
        "--preprocess",
        type=click.Choice(PREPROCESS),
        default="auto",
        show_default=True,
        help="What the pixels are turned into; auto reads the model.",
    ),
    click.option("--mean", type=Numbers(), metavar="M[,M,M]", help="Subtracted from pixels of 0..255; with --std."),
    click.option("--std", type=Numbers(above_zero=True), metavar="S[,S,S]", help="What they are divided by then."),
    click.option("--all-preprocessing", is_flag=True, help="Try every one, and show which change the answer."),
    click.option(
        "--input",
        multiple=True,
        metavar="[NAME=]FILE",
        help="What an input gets: .npy, .npz, Serving JSON, an image; may be given several times.",
    ),
    click.option("--labels", metavar="FILE", help="One label a line; default: labels.txt beside the model."),
    click.option(
        "--top",
        type=click.IntRange(1, MOST_ANSWERS),
        metavar="N",
        default=5,
        show_default=True,
        help="Answers listed of each run.",
    ),
    click.option("--signature", metavar="NAME", help="Signature of a SavedModel."),
    click.option("--output", metavar="NAME", help="The output on show, where there are several."),
    click.option(
        "--architecture", metavar="ARTIFACT", help="A .keras or .h5 whose layers the weights of MODEL go into."
    ),
    click.option("--against", metavar="B", help="Another save or model, answered beside the first."),
    click.option("--expect", metavar="FILE", help="Answers recorded elsewhere, held against these."),
    click.option(
        "--tf-python",
        multiple=True,
        metavar="PYTHON",
        help="Python of the environment whose TensorFlow predicts; each further one answers beside it.",
    ),
    click.option("--allow-flagged", is_flag=True, help="Run a model though ops or layers in it reach outside."),
    click.option("--gpu", is_flag=True, help="Let the worker see the GPU."),
)


def prediction_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a prediction to a command; it gets them by the names of `predict.wish.Wish`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
