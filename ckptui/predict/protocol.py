"""What client and child say to each other: frames (one module for both ends), and refusals as errors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ckptui.core.text import safe
from ckptui.errors import Blocked, CkptuiError, ModelDoesNotLoad, OutOfMemory, UsageError, WorkerFailed
from ckptui.predict.worker.errors import KEPT_SAFE
from ckptui.predict.worker.frames import FrameBuffer, FrameError, encode

__all__ = ["OTHER_TENSORFLOW", "FrameBuffer", "FrameError", "Reply", "encode", "refusal"]

OTHER_TENSORFLOW = "Another TensorFlow may load it: --tf-python PATH"

OWN_CODE = re.compile(r"Unknown (?:layer|object|activation)|Could not (?:locate|find) (?:class|function|object)")
"""What Keras says where a file names code that it does not hold."""
EXPORT = "The code of a layer or function is not in the file: where it is, model.export(FOLDER) writes a SavedModel"
OTHER_VALUES = "Where it wants other values: --preprocess, or --input NAME=FILE with an array as it is"


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one request."""

    doc: dict[str, Any]
    arrays: Sequence[Any]
    seconds: float
    """From the first byte sent to the last byte received."""


def refusal(doc: dict[str, Any]) -> CkptuiError | None:
    """The error a reply carries, by its kind; None for an answer. Every text in it is made harmless."""
    kind = doc.get("error")
    if kind is None:
        return None
    detail, hint = safe(str(doc.get("detail", ""))), safe(str(doc.get("hint", "")))
    said = tuple(safe(str(one)) for one in doc.get("said") or ())
    if kind == "load" and KEPT_SAFE in detail:
        return ModelDoesNotLoad(detail, "Build the model in code of your own and load the weights alone", said)
    if kind == "load" and OWN_CODE.search(detail):
        return ModelDoesNotLoad(detail, hint or EXPORT, said)
    if kind == "load":
        return ModelDoesNotLoad(detail, hint or OTHER_TENSORFLOW, said)
    if kind == "missing":
        return WorkerFailed(detail, hint, title="TensorFlow is missing")
    if kind == "blocked":
        return Blocked(detail, hint)
    if kind == "memory":
        return OutOfMemory(detail, hint)
    if kind == "image":
        return UsageError(detail, hint, title="No image")
    if kind == "usage":
        return UsageError(detail, hint)
    if kind == "input":
        return UsageError(detail, hint or OTHER_VALUES, title="The model can't take this image")
    return WorkerFailed(detail, hint)
