"""Which files a V1 checkpoint has by its path, and what may stand in the place of one."""

from __future__ import annotations

import os
import re

from ckptui.core.catalogue import make
from ckptui.core.model import Finding
from ckptui.core.sayings import says
from ckptui.errors import CkptuiError
from ckptui.readers import mangled
from ckptui.readers.magic import lfs_pointer
from ckptui.readers.sniff import sniff
from ckptui.readers.source import Source

PATTERN = "-?????-of-"
MAX_FILES = 100_000
SAMPLE = 1 << 20
"""Bytes that are looked at for what a text copy leaves."""


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
    if seen.kind in ("tf-checkpoint-v1", "tf-checkpoint"):
        return None
    head = _head(path)
    kind = None if seen.looks_like else mangled.text_mode(head)
    if kind is None and not seen.looks_like:
        return None
    looks_like = f"a V1 checkpoint with {mangled.WORDS[kind]}" if kind is not None else seen.looks_like
    reason = "not an sstable (bad magic number)"
    facts: dict[str, object] = {**(lfs_pointer(head) or {}), **seen.evidence}
    if kind is not None:
        # The last bytes, which hold no line end, are still those of a table.
        reason = "block checksum mismatch" if kind in ("crlf", "lf") else reason
        facts |= {"text_mangled": kind, "found": size}
    facts |= {"file": path, "looks_like": looks_like, "tensorflow_says": says("v1-table", file=path, reason=reason)}
    detail = f"{path}: found instead: {looks_like}"
    return make(
        "not-a-model", artifact, detail=detail, evidence=facts, certainty="confirmed" if kind is None else "likely"
    )


def _head(path: str) -> bytes:
    """The first bytes of a file; none of one that can't be read."""
    try:
        with Source(path) as source:
            return source.pread(0, min(source.size, SAMPLE))
    except CkptuiError:
        return b""
