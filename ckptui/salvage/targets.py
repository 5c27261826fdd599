"""Where a salvage may write: never beside the save it comes from, never over anything that exists."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from ckptui.core.model import Kind
from ckptui.core.salvage import Target
from ckptui.errors import UsageError

REPORT = ".salvage.json"
"""What the report's name adds to the target's."""
_REFUSED = (".h5", ".hdf5", ".keras", ".npy", ".pb", ".index", ".json")
_SHARD = re.compile(r"\.data-[0-9]{5,}-of-[0-9]{5,}$")
_FORMATS = "A path without a suffix is a checkpoint's prefix; .npz, .safetensors and .weights.h5 choose that format"


@dataclass(frozen=True, slots=True)
class Place:
    """A target that was looked at."""

    path: str
    """Absolute; a checkpoint's prefix or a file."""
    target: Target

    @property
    def folder(self) -> str:
        """Where everything is made."""
        return os.path.dirname(self.path)

    @property
    def report(self) -> str:
        """Path of the report."""
        return self.path + REPORT


def target_of(path: str) -> Target:
    """The format that a target's name asks for.

    Raises:
        UsageError: it ends in something that is not written, or in what only a part of a checkpoint is called.
    """
    name = os.path.basename(path).lower()
    if name.endswith(".weights.h5"):
        return ".weights.h5"
    if name.endswith(".npz"):
        return ".npz"
    if name.endswith(".safetensors"):
        return ".safetensors"
    if name.endswith(_REFUSED) or _SHARD.search(name):
        raise UsageError(f"nothing is written as {os.path.basename(path)}", _FORMATS)
    return "checkpoint"


def look_at(path: str, source: str, kind: Kind) -> Place:
    """The place that `path` names, for what comes from the save `source`; nothing in the save is read.

    Raises:
        UsageError: it lies in the folder of one of the save's files or below a SavedModel, exists, or can't be made.
    """
    target = target_of(path)
    if os.path.isdir(path) or not os.path.basename(path):
        example = os.path.join(path, "rescued")
        raise UsageError(f"{path} is a folder", f"Name the checkpoint in it: -o {example}")
    place = Place(os.path.abspath(path), target)
    if not os.path.isdir(place.folder):
        raise UsageError(f"the folder {place.folder} does not exist", "Create it, or choose another")
    _keep_away(place, source, kind)
    for taken in _taken(place):
        raise UsageError(f"{taken} exists", "A salvage replaces nothing: choose another name")
    if not os.access(place.folder, os.W_OK | os.X_OK):
        raise UsageError(f"nothing can be written in {place.folder}", "Choose another folder")
    return place


def _keep_away(place: Place, source: str, kind: Kind) -> None:
    folder = os.path.realpath(place.folder)
    hint = "A salvage never writes beside its source: choose another folder"
    if os.path.isdir(source) and kind == "saved-model":
        root = os.path.realpath(source)
        if folder == root or folder.startswith(root + os.sep):
            raise UsageError(f"{place.path} lies inside the save {source}", hint)
    for own in _folders(source, kind):
        if folder == own:
            raise UsageError(f"{place.path} lies in the folder of the save {source}", hint)


def _folders(source: str, kind: Kind) -> set[str]:
    """The real folders of all files of a save, and of the names that lead to them."""
    if kind == "saved-model":
        below = {os.path.join(source, name) for name in ("", "variables", "assets")}
        files = [os.path.join(source, "variables", name) for name in _names(os.path.join(source, "variables"))]
        return {os.path.realpath(folder) for folder in below} | {_folder(os.path.realpath(file)) for file in files}
    parent, base = os.path.split(source)
    stem = base.partition("-?????-of-")[0]
    files = [os.path.join(parent, name) for name in _names(parent or ".") if name.startswith(stem)]
    parts = f"{source}_temp"
    return {
        os.path.realpath(parent or "."),
        os.path.realpath(parts),
        *(_folder(os.path.realpath(file)) for file in files if os.path.isfile(file)),
    }


def _folder(path: str) -> str:
    return os.path.dirname(path)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _taken(place: Place) -> list[str]:
    """Whatever exists under one of the names that would be written."""
    names = [place.path, place.report]
    if place.target == "checkpoint":
        base = os.path.basename(place.path)
        names += [f"{place.path}.index", f"{place.path}.meta"]
        parts = sorted(name for name in _names(place.folder) if name.startswith(f"{base}.data-"))
        names += [os.path.join(place.folder, name) for name in parts]
    return [name for name in names if os.path.lexists(name)]
