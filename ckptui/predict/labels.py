"""Names for the outputs: `labels.txt`, one a line, beside the model or the image."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ckptui.core.text import counted, safe
from ckptui.errors import NoSuchPath, UsageError

NAME = "labels.txt"
MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Labels:
    """Names of the outputs, and whether someone named the file or it merely lies near."""

    names: tuple[str, ...] = ()
    asked: bool = False
    path: str = ""
    """The file they are from."""

    def fitting(self, outputs: int) -> tuple[str, ...]:
        """The names for that many outputs: a file that merely lies near must name each of them."""
        return self.names if self.asked or len(self.names) == outputs else ()

    def misfit(self, outputs: int) -> str:
        """`3 labels for 10 outputs`, of a file that was asked for; empty where they fit."""
        if not self.asked or len(self.names) == outputs:
            return ""
        return f"{counted(len(self.names), 'label')} for {counted(outputs, 'output')}"


def labels_for(model: str, images: Sequence[str], asked: str | None) -> Labels:
    """The labels asked for, else those found near. Raises as `read_labels`."""
    found = asked or find_labels(model, images)
    return Labels(read_labels(found), asked is not None, found) if found else Labels()


def find_labels(model: str, images: Sequence[str]) -> str | None:
    """The nearest `labels.txt`: in the model's folder (for a SavedModel in it too), the one above, the image's.

    The image's folder counts where it is the model's, below it, or beside it: elsewhere it is of another project.
    """
    start = Path(model).absolute()
    places = [start, start.parent, start.parent.parent]
    places += [Path(image).absolute().parent for image in images[:1] if _of_one_project(start, Path(image).absolute())]
    for place in places:
        with contextlib.suppress(OSError):
            if (place / NAME).is_file():
                return str(place / NAME)
    return None


def _of_one_project(model: Path, image: Path) -> bool:
    """Whether the image's folder lies at or below the model's folder, or is a neighbour of it in a folder of both."""
    home, folder = (Path(os.path.realpath(path.parent)) for path in (model, image))
    return folder.is_relative_to(home) or (folder.parent == home.parent and home.parent != Path(home.anchor))


def read_labels(path: str) -> tuple[str, ...]:
    """One label a line, made harmless. Raises NoSuchPath, UsageError (no text, too large)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise NoSuchPath(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NoSuchPath(f"{path} is no regular file")
    with os.fdopen(fd, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES or b"\0" in data:
        raise UsageError(f"{path} holds no labels", "One label a line, as UTF-8 text")
    return tuple(safe(line.strip(), 80) for line in data.decode("utf-8", "replace").splitlines())
