"""What is asked of a prediction: every option of `predict`, in one place."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Wish:
    """The options of one prediction; the names are those of the command line."""

    preprocess: str = "auto"
    """A name of `image.PREPROCESS`, or `mean/std` with both given."""
    mean: tuple[float, ...] = ()
    """Subtracted from pixels of 0..255, one for all channels or one each, before the division by `std`."""
    std: tuple[float, ...] = ()
    all_preprocessing: bool = False
    input: tuple[str, ...] = ()
    """`NAME=FILE`, or FILE alone: arrays (.npy, .npz), Serving JSON; an image may be named so too."""
    images_dir: str | None = None
    """A folder of images, for what only many of them show."""
    labels: str | None = None
    top: int = 5
    signature: str | None = None
    output: str | None = None
    architecture: str | None = None
    against: str | None = None
    """Another save or model, answered beside the first."""
    expect: str | None = None
    """A file of answers recorded elsewhere."""
    tf_python: tuple[str, ...] = ()
    """The first predicts, the others answer beside it."""
    allow_flagged: bool = False
    gpu: bool = False
    runs: tuple[str, ...] | None = None
    """Rows of `compare.ROWS` to run beside the original; None: all of them, and the probes."""

    layers: bool = False
    """Look at every layer of a Keras model whatever it answers; otherwise only where nothing moves its answer."""

    def wants(self, run: str) -> bool:
        """Is this row asked for?"""
        return self.runs is None or run in self.runs


def wish_of(options: dict[str, Any]) -> Wish:
    """A Wish from keywords: those that are None are left at their defaults, a single Python may be a string.

    Raises TypeError for a keyword that is no option, as a call of a function would.
    """
    given = {name: value for name, value in options.items() if value is not None}
    unknown = sorted(given.keys() - {field.name for field in fields(Wish)})
    if unknown:
        raise TypeError(f"no option of a prediction is called {unknown[0]}")
    for name in ("tf_python", "input"):
        if isinstance(given.get(name), str):
            given[name] = (given[name],)
    for name in ("tf_python", "input", "mean", "std", "runs"):
        if name in given:
            given[name] = tuple(given[name])
    return Wish(**given)
