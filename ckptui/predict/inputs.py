"""From what the user named to what is predicted: images, `--input` files, Serving JSON, serialized Examples."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckptui.errors import Cancelled, CkptuiError
from ckptui.predict.image import ImageReader, form_of
from ckptui.predict.material import ImageMaterial, Material
from ckptui.predict.recipe import recipe_of
from ckptui.predict.wish import Wish


def materials_of(
    wish: Wish,
    images: Sequence[str],
    facts: Mapping[str, Any],
    reader: ImageReader,
    cancel: threading.Event | None = None,
) -> Iterator[Material | tuple[str, CkptuiError]]:
    """Everything that is to be predicted, one after the other, for the model of `facts` (the worker's load reply).

    An image that fails is a pair of its path and the error, and costs only itself.
    Raises UsageError where the model takes nothing of the kind; Cancelled, WorkerFailed as `ImageReader.ask`.
    """
    form = form_of(facts["inputs"])
    recipe = recipe_of(wish, facts, form)
    for path in images:
        try:
            yield ImageMaterial(reader.fitted(path, form, cancel), recipe)
        except Cancelled:
            raise
        except CkptuiError as error:
            yield path, error
