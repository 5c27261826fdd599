"""V1 checkpoints in a folder, by their names: in several files, and those whose file is something else by now.

A V1 checkpoint has no suffix of its own: `model.ckpt-100` is known by its content, and where that is lost, by the meta
graph `model.ckpt-100.meta` that TensorFlow's Saver writes beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckptui.core.model import Found
from ckptui.core.names import step_of
from ckptui.readers.sniff import sniff

if TYPE_CHECKING:
    from ckptui.readers.folder import Folder

SHARD_V1 = re.compile(r"(.+)-([0-9]{5,10})-of-([0-9]{5,10})", re.DOTALL)
META = ".meta"


def v1_shards(folder: Folder, base: str, total: str) -> Found:
    """A V1 checkpoint in several files, under the pattern TensorFlow's own tools name it by."""
    pattern = re.compile(rf"{re.escape(base)}-[0-9]{{5,10}}-of-{total}")
    times = [_modified(folder, found) for found in folder.files if pattern.fullmatch(found)]
    name = f"{base}-?????-of-{total}"
    path = folder.join(name)
    return Found(path, "tf-checkpoint-v1", name, folder.path, step_of(base), modified=max(times, default=0.0))


def lost_v1(folder: Folder) -> Iterator[tuple[Found, list[str]]]:
    """V1 checkpoints none of whose files is one any more, and the names of those files; only beside a meta graph."""
    for meta in sorted(name for name in folder.files if name.endswith(META)):
        stem = meta.removesuffix(META)
        if not stem or f"{stem}.index" in folder.files or sniff(folder.join(meta)).kind != "meta-graph":
            continue
        if stem in folder.files:
            seen = sniff(folder.join(stem))
            if seen.kind is None:
                path = folder.join(stem)
                step = step_of(stem)
                yield Found(path, "tf-checkpoint-v1", stem, folder.path, step, modified=seen.modified), [stem]
            continue
        parts = [m for m in map(SHARD_V1.fullmatch, sorted(folder.files)) if m is not None and m[1] == stem]
        if parts and all(sniff(folder.join(part[0])).kind is None for part in parts):
            yield v1_shards(folder, stem, parts[0][3]), [part[0] for part in parts]


def _modified(folder: Folder, name: str) -> float:
    try:
        return folder.files[name].stat().st_mtime
    except OSError:
        return 0.0
