"""Many images through one model: how far flips and controls move the answers, and whether they differ at all."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from ckptui.core.model import Finding, ManyImages
from ckptui.core.text import counted, safe
from ckptui.errors import Cancelled, CkptuiError, NoSuchPath, UsageError
from ckptui.predict.answers import Answer, Feed
from ckptui.predict.controls import CHANGES, changed
from ckptui.predict.flip_judgement import LEAST_IMAGES
from ckptui.predict.image import Form, ImageReader, Picture
from ckptui.predict.labels import Labels
from ckptui.predict.loading import Loaded
from ckptui.predict.many_tally import Tally
from ckptui.predict.material import changed_pixels

Array = np.ndarray[Any, Any]

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".npy")
MOST_IMAGES = 2000
MOST_LOOKED_AT = 200_000
"""Entries of folders looked at."""
BATCH = 32
BATCH_BYTES = 16 << 20
"""Bytes of float32 input a call gets, about."""
TOGETHER = 1e-4
"""An answer may move by this share of its scale when its image stands in a batch; beyond, images go one by one."""


class Prepares(Protocol):
    """What turns pictures into one call: a `Recipe` or an `EncodedRecipe`."""

    @property
    def form(self) -> Form: ...

    @property
    def note(self) -> str:
        """What the report has to say of it."""

    def feed(self, pictures: Sequence[Picture]) -> Feed: ...


@dataclass(frozen=True, slots=True)
class Gathered:
    """The files to decode, and what else there was."""

    paths: tuple[str, ...]
    of: int
    """Files called like images in all."""

    @property
    def words(self) -> str:
        """`2,000 of 60,000 images, evenly from the sorted list`; nothing where all are taken."""
        if len(self.paths) == self.of:
            return ""
        return f"{len(self.paths):,} of {self.of:,} images, evenly spread over the sorted list"


def gather(folder: str, most: int = MOST_IMAGES) -> Gathered:
    """Regular files called like images in a folder and those below it, sorted by path.

    Of more than `most` every n-th is taken, so that a folder a class is no matter. Links to folders are not followed.
    Raises NoSuchPath: no such folder. UsageError: no image in it.
    """
    if not os.path.isdir(folder):
        raise NoSuchPath(f"{folder} is no folder")
    found: list[str] = []
    seen = 0
    for place, folders, names in os.walk(folder):
        folders.sort()
        seen += len(names)
        found += [os.path.join(place, n) for n in names if n.lower().endswith(SUFFIXES) and not n.startswith(".")]
        if seen > MOST_LOOKED_AT:
            break
    found = sorted(path for path in found if os.path.isfile(path))
    if not found:
        raise UsageError(f"{folder} holds no PNG, JPEG, GIF, BMP, WebP or .npy", title="No image")
    if len(found) <= most:
        return Gathered(tuple(found), len(found))
    return Gathered(tuple(found[place * len(found) // most] for place in range(most)), len(found))


class Asker:
    """Answers to pictures, several a call as far as the model keeps them apart."""

    def __init__(self, model: Loaded, recipe: Prepares, cancel: threading.Event | None) -> None:
        self._model = model
        self._recipe = recipe
        self._cancel = cancel
        self._fixed = recipe.form.rows
        self.size = (self._fixed or BATCH) if recipe.form.batched else 1
        """Pictures a call gets at most."""
        self.why_single = ""
        """Why they go one by one, where it is not the model's own shape that says so."""

    def fits(self, picture: Picture) -> int:
        """How many of such a picture go into a call."""
        return self._fixed or max(1, min(self.size, BATCH_BYTES // max(1, picture.pixels.size * 4)))

    def rows(self, pictures: Sequence[Picture]) -> list[Array]:
        """The output on show for each picture, without its batch axis. Raises as `Loaded.call`."""
        found: list[Array] = []
        while len(found) < len(pictures):
            part = pictures[len(found) : len(found) + min(self.size, self.fits(pictures[0]))]
            got = self._several(part) if len(part) > 1 and not self._fixed else None
            found += got if got is not None else [row for picture in part for row in self._alone(picture)]
        return found

    def compare(self, picture: Picture, row: Array) -> None:
        """Ask one by one from here on where a picture alone has another answer than among others."""
        if self._fixed or self.size == 1:
            return
        alone = self._alone(picture)[0]
        if alone.shape != row.shape or not near(alone, row, TOGETHER):
            self._single("an image's answer depends on the batch it stands in")

    def _single(self, why: str) -> None:
        self.size, self.why_single = 1, why

    def _several(self, pictures: Sequence[Picture]) -> list[Array] | None:
        try:
            main = self._call(pictures)
        except UsageError:
            # A model that takes no batch says so in its own way; alone, each image has its own say.
            self._single("the model refuses a batch of images")
            return None
        if not main.ndim or main.shape[0] != len(pictures):
            self._single("the model gives one answer a batch")
            return None
        return list(main)

    def _alone(self, picture: Picture) -> list[Array]:
        main = self._call([picture] * (self._fixed or 1))
        return [main[0] if main.ndim and main.shape[0] == (self._fixed or 1) else main]

    def _call(self, pictures: Sequence[Picture]) -> Array:
        answers, _ = self._model.call(self._recipe.feed(pictures), 1, self._cancel)
        answer: Answer = answers[0]
        if not answer.main.size:
            raise UsageError("the output holds no numbers", title="Nothing to compare")
        return answer.main.astype(np.float64)


def near(one: Array, other: Array, share: float) -> bool:
    """Equal up to a share of the larger of both; not where one is not finite."""
    scale = max(float(np.abs(one).max(initial=0.0)), float(np.abs(other).max(initial=0.0)))
    return bool(np.abs(one - other).max(initial=0.0) <= share * scale)


def many_images(
    model: Loaded,
    folder: str,
    recipe: Prepares,
    reader: ImageReader,
    labels: Labels,
    cancel: threading.Event | None = None,
    most: int = MOST_IMAGES,
) -> Iterator[str | ManyImages | Finding]:
    """Put every image of a folder through the model, as it is and under every flip and control.

    Yields lines of progress, the ManyImages, then findings (constant-output, flip-changes-prediction). A file that
    can't be decoded or that the model refuses is named and left out. Under 20 images there are numbers and no verdict.

    Raises:
        NoSuchPath, UsageError: no folder, no image in it, or not one that could be used.
        WorkerFailed, Cancelled: as `Loaded.call`.
    """
    gathered = gather(folder, most)
    count = len(gathered.paths)
    yield gathered.words or f"{count:,} images in {safe(os.path.basename(folder.rstrip('/')))}"
    asker = Asker(model, recipe, cancel)
    tally = Tally(labels, model.order.path, folder)
    failed: list[str] = []
    waiting: list[Picture] = []
    for place, path in enumerate(gathered.paths):
        picture = _decoded(path, folder, recipe.form, reader, cancel, failed)
        if picture is not None:
            if waiting and waiting[0].pixels.shape != picture.pixels.shape:
                _through(asker, tally, waiting, folder, failed, cancel)
                waiting = []
            waiting.append(picture)
        if waiting and (len(waiting) >= asker.fits(waiting[0]) or place == count - 1):
            _through(asker, tally, waiting, folder, failed, cancel)
            waiting = []
            yield f"image {place + 1:,} of {count:,}, as it is and under {len(CHANGES)} changes"
    if not tally.images:
        raise UsageError(
            f"none of {counted(count, 'file')} in {folder} could be used: {failed[0]}", title="No usable image"
        )
    if tally.constant:
        tally.probed = _probed(asker, tally)
    notes = [gathered.words, recipe.note, f"images went one by one: {asker.why_single}" if asker.why_single else ""]
    yield tally.result(failed, [note for note in notes if note])
    yield from tally.findings()


def _decoded(
    path: str, folder: str, form: Form, reader: ImageReader, cancel: threading.Event | None, failed: list[str]
) -> Picture | None:
    """The picture; None, and its name with the reason in `failed`, where there is none."""
    try:
        picture = reader.fitted(path, form, cancel)
    except Cancelled:
        raise
    except CkptuiError as error:
        failed.append(_named(path, folder, error))
        return None
    return picture


def _named(path: str, folder: str, error: CkptuiError) -> str:
    name = safe(os.path.relpath(path, folder))
    return f"{name}: {safe(error.detail.replace(path, '').strip())}"


def _through(
    asker: Asker,
    tally: Tally,
    pictures: Sequence[Picture],
    folder: str,
    failed: list[str],
    cancel: threading.Event | None,
) -> None:
    """One chunk of pictures of one shape; where the model refuses it, one after another, so that one costs itself."""
    try:
        answers = _answers(asker, pictures, first=not tally.images)
    except UsageError as error:
        if len(pictures) > 1:
            for picture in pictures:
                _through(asker, tally, [picture], folder, failed, cancel)
        else:
            failed.append(_named(pictures[0].path, folder, error))
        return
    for place, picture in enumerate(pictures):
        rows = {name: answers[name][place] for name in answers}
        why = tally.add(picture, hashed(picture), rows)
        if why:
            failed.append(f"{safe(os.path.relpath(picture.path, folder))}: {why}")


def _answers(asker: Asker, pictures: Sequence[Picture], *, first: bool) -> dict[str, list[Array]]:
    """Answers to all pictures by the name of the change; "" is the picture as it is, "again" once more so."""
    found = {"": asker.rows(pictures)}
    if first:
        if len(pictures) > 1:
            asker.compare(pictures[0], found[""][0])
            found[""] = asker.rows(pictures) if asker.size == 1 else found[""]
        found["again"] = asker.rows(pictures)
    for name in CHANGES:
        found[name] = asker.rows([replace(p, pixels=changed(p.pixels, name)) for p in pictures])
    return found


def _probed(asker: Asker, tally: Tally) -> float:
    """How far noise and the negative of the first picture move the answer that all images share."""
    picture, usual = tally.sample
    made = [changed_pixels(picture.pixels, name) for name in ("noise", "the negative", "zeros", "ones")]
    rows = asker.rows([replace(picture, pixels=pixels) for pixels in made if pixels is not None])
    return max(float(np.abs(row - usual).max(initial=0.0)) for row in rows)


def hashed(picture: Picture) -> bytes:
    """What tells two pictures apart: their pixels."""
    return hashlib.blake2b(np.ascontiguousarray(picture.pixels).tobytes(), digest_size=16).digest()


__all__ = ["LEAST_IMAGES", "MOST_IMAGES", "Asker", "Gathered", "gather", "many_images"]
