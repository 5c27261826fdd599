"""Keras saves that are more than one file, as discovery meets them: sharded weights, models saved as folders."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ckptui.core.model import Found
from ckptui.core.names import step_of
from ckptui.core.sayings import says
from ckptui.readers.keras_shard_map import MAP_SUFFIX, base_of, is_map, map_of, shards_among
from ckptui.readers.notices import notice

if TYPE_CHECKING:
    from ckptui.readers.folder import Folder

WEIGHTS = ("model.weights.h5", "model.weights.npz")
DESCRIPTIONS = ("config.json", "metadata.json")
KERAS_PARTS = (*WEIGHTS, *DESCRIPTIONS)
KERAS_ASSETS = "assets"
SUFFIX = ".keras"


def weight_map(folder: Folder, name: str) -> Found | None:
    """The sharded weights whose map is `name`, or one of whose shards it is; None where it is neither."""
    own = name if name.endswith(MAP_SUFFIX) else map_of(name)
    if own not in folder.files or not is_map(folder.join(own)):
        return None
    shards = shards_among(list(folder.files), base_of(own))
    times = [_modified(folder, one) for one in (own, *shards)]
    label = os.path.basename(own)
    return Found(folder.join(own), "keras-weights", label, folder.path, step_of(label), modified=max(times))


def weight_maps(folder: Folder, taken: set[str]) -> list[Found]:
    """Every save in shards of a folder; its files are added to `taken`."""
    saves = []
    for name in sorted(name for name in folder.files if name.endswith(MAP_SUFFIX) and name not in taken):
        found = weight_map(folder, name)
        if found is not None:
            saves.append(found)
            taken.update((name, *shards_among(list(folder.files), base_of(name))))
    return saves


def is_keras_folder(folder: Folder) -> bool:
    """Whether the folder is a Keras model saved with `zipped=False`, or what is left of one."""
    weights = any(name in folder.files for name in WEIGHTS)
    described = any(name in folder.files for name in DESCRIPTIONS)
    return (weights and described) or (_is_called_so(folder) and (weights or described))


def keras_folder(folder: Folder) -> Found:
    """The model a folder is."""
    parts = [name for name in KERAS_PARTS if name in folder.files]
    label = os.path.basename(os.path.abspath(folder.path))
    modified = max((_modified(folder, name) for name in parts), default=0.0)
    above = os.path.dirname(os.path.abspath(folder.path)) if folder.path == "." else os.path.dirname(folder.path)
    return Found(folder.path, "keras-archive", label, above or ".", step_of(label), modified=modified)


def hollow_keras_folder(folder: Folder) -> Found | None:
    """A folder called `.keras` that holds nothing of a model, nor other folders; None for any other."""
    if not _is_called_so(folder) or folder.folders or is_keras_folder(folder):
        return None
    found = keras_folder(folder)
    names = sorted(folder.files)[:20]
    evidence = {
        "looks_like": "folder",
        "names": names,
        "count": len(folder.files),
        "tensorflow_says": says("no-archive", file=folder.path),
    }
    detail = "a folder without config.json and weights; Keras says the file is not found, but the folder is there"
    finding = notice("not-a-model", folder.path, detail, evidence)
    return Found(found.path, found.kind, found.label, found.folder, found.step, findings=(finding,))


def _is_called_so(folder: Folder) -> bool:
    return os.path.basename(os.path.abspath(folder.path)).lower().endswith(SUFFIX)


def _modified(folder: Folder, name: str) -> float:
    try:
        return folder.files[name].stat().st_mtime
    except OSError:
        return 0.0
