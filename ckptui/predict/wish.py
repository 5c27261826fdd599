"""What is asked of a prediction: every option of `predict`, in one place."""

from __future__ import annotations

from dataclasses import dataclass


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
