"""What lies around a save: its run, a model whose architecture it fits, images to try."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from ckptui.core.model import Listing
from ckptui.errors import CkptuiError

MODEL_SUFFIXES = (".keras", ".h5", ".hdf5")
FITTING_SHARE = 0.5
"""Share of a save's weights that another's architecture must hold by name and shape to be borrowed."""
MOST_CANDIDATES = 8
"""Files looked into for an architecture."""


def _model_files(path: str) -> list[str]:
    """Files nearby that may hold an architecture, nearest first, `.keras` before others."""
    found: list[str] = []
    for place in _around(path):
        try:
            names = sorted(entry.path for entry in os.scandir(place) if entry.is_file())
        except OSError:
            continue
        here = [name for name in names if name.endswith(MODEL_SUFFIXES) and name != os.path.abspath(path)]
        found += sorted(here, key=lambda name: not name.endswith(".keras"))
    return found[:MOST_CANDIDATES]


def _weights(listing: Listing) -> set[tuple[str, tuple[int, ...]]]:
    """Variable names and shapes of a save's model weights."""
    aside = ("slot", "counter", "step", "rng-state", "metric", "object-graph")
    return {((t.object_path or t.name).removesuffix(":0"), t.shape) for t in listing.tensors if t.role not in aside}


IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")


class Opens(Protocol):
    """Who can open a save: the session."""

    def open(self, path: str) -> Listing:
        """The listing of the save at a path."""


def _around(path: str) -> Iterator[Path]:
    """The folder of a save and the two above it."""
    folder = Path(path).resolve().parent
    yield folder
    yield from list(folder.parents)[:2]


def fitting_model(session: Opens, path: str) -> str | None:
    """The undamaged .keras or .h5 nearby that shares most weights, by name and shape, with the save at `path`."""
    weights = _weights(session.open(path))
    least = len(weights) * FITTING_SHARE
    best: tuple[float, str] | None = None
    for candidate in _model_files(path):
        try:
            listing = session.open(candidate)
        except CkptuiError:
            continue
        fitting = len(weights & _weights(listing))
        usable = listing.artifact.status != "error" and bool(listing.architecture)
        if usable and fitting and fitting >= least and fitting > (best[0] if best else 0):
            best = fitting, listing.artifact.path
    return best[1] if best else None


def images_near(path: str) -> list[str]:
    """Images beside the save or up to two folders above, there or in an `images` folder; sorted by name."""
    for folder in _around(path):
        for place in (folder, folder / "images"):
            try:
                names = sorted(entry.path for entry in os.scandir(place) if entry.is_file())
            except OSError:
                continue
            images = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
            if images:
                return images
    return []
