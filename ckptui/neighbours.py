"""What lies around a save: its run, a model whose architecture it fits, images to try."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ckptui.core.model import Listing
from ckptui.core.text import counted, safe
from ckptui.errors import CkptuiError

MODEL_SUFFIXES = (".keras", ".h5", ".hdf5")
FITTING_SHARE = 0.5
"""Share of a save's weights that another's architecture must hold by name and shape to be borrowed."""
MOST_CANDIDATES = 8
"""Files looked into for an architecture."""


def _model_files(path: str) -> list[str]:
    """Files nearby that may hold an architecture, nearest first, of the same name and `.keras` before others."""
    stem = os.path.basename(path).split(".")[0]
    found: list[str] = []
    for place in _around(path):
        try:
            names = sorted(entry.path for entry in os.scandir(place) if entry.is_file())
        except OSError:
            continue
        here = [name for name in names if name.endswith(MODEL_SUFFIXES) and name != os.path.abspath(path)]
        found += sorted(
            here, key=lambda name: (os.path.basename(name).split(".")[0] != stem, not name.endswith(".keras"))
        )
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


@dataclass(frozen=True, slots=True)
class LookedAt:
    """A file nearby that might lend its architecture."""

    path: str
    fitting: int
    """Weights of the save that it holds too, by name and shape."""
    of: int
    """Weights of the save."""
    unusable: str = ""
    """Why it can lend nothing, whatever fits."""

    @property
    def fits(self) -> bool:
        """It holds enough of them."""
        return not self.unusable and self.fitting > 0 and self.fitting >= self.of * FITTING_SHARE

    @property
    def _share(self) -> str:
        return f"{self.fitting} of {counted(self.of, 'weight')} fit"

    @property
    def words(self) -> str:
        """`digits.keras: 3 of 8 weights fit`."""
        name = safe(os.path.basename(self.path))
        return f"{name}: {self.unusable or self._share}"


def models_near(session: Opens, path: str) -> list[LookedAt]:
    """Every .keras and .h5 nearby, and how many weights of the save at `path` it has by name and shape."""
    weights, found = _weights(session.open(path)), []
    for candidate in _model_files(path):
        try:
            listing = session.open(candidate)
        except CkptuiError as error:
            found.append(LookedAt(candidate, 0, len(weights), error.title.lower()))
            continue
        why = "it is damaged" if listing.artifact.status == "error" else ""
        why = why or ("" if listing.architecture else "it holds no architecture")
        found.append(LookedAt(listing.artifact.path, len(weights & _weights(listing)), len(weights), why))
    return found


def best_of(near: Sequence[LookedAt]) -> str | None:
    """The one that shares most weights, by name and shape; the nearest of equals, None where none fits."""
    fitting = [looked for looked in near if looked.fits]
    return max(fitting, key=lambda looked: looked.fitting).path if fitting else None


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
