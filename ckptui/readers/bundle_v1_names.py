"""Which files a V1 checkpoint has by its path, and what may stand in the place of one."""

from __future__ import annotations

import os
import re

from ckptui.core.catalogue import make
from ckptui.core.model import Finding
from ckptui.core.sayings import says
from ckptui.readers.sniff import sniff

PATTERN = "-?????-of-"
MAX_FILES = 100_000


def files_of(path: str) -> tuple[list[str], int]:
    """The files of a V1 checkpoint, those that should be there among them, and how many they should be."""
    folder, name = os.path.split(path)
    stem, mark, total = name.partition(PATTERN)
    if os.path.lexists(path) or not mark or not re.fullmatch("[0-9]{1,10}", total):
        return [path], 1
    shard = re.compile(rf"{re.escape(stem)}-([0-9]{{5,10}})-of-{total}", re.DOTALL)
    try:
        names = {int(m[1]): n for n in os.listdir(folder or ".") if (m := shard.fullmatch(n))}
    except OSError:
        names = {}
    count = int(total)
    wanted = range(min(count, MAX_FILES)) if names else ()
    numbers = sorted({*names, *wanted})
    return [os.path.join(folder, names.get(n) or f"{stem}-{n:05d}-of-{total}") for n in numbers], count


def foreign(path: str, artifact: str, size: int) -> Finding | None:
    """What stands in a file's place: nothing, zeros, or something that is no table."""
    if not size:
        saying = says("v1-table", file=path, reason="file is too short to be an sstable")
        evidence = {"file": path, "found": 0, "bytes": 0, "tensorflow_says": saying}
        return make("empty-file", artifact, detail=f"{path} has 0 bytes", evidence=evidence)
    seen = sniff(path)
    if seen.kind in ("tf-checkpoint-v1", "tf-checkpoint") or not seen.looks_like:
        return None
    saying = says("v1-table", file=path, reason="not an sstable (bad magic number)")
    evidence = {**seen.evidence, "file": path, "looks_like": seen.looks_like, "tensorflow_says": saying}
    return make("not-a-model", artifact, detail=f"{path}: found instead: {seen.looks_like}", evidence=evidence)
