"""A first look at a bundle's files: is the index an index, and what lies where a data file should be?

Only first and last bytes and sizes count. Raw numbers may begin like anything, so of a data file something else is
claimed only where its size contradicts the index as well.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ckptui.core.catalogue import make
from ckptui.core.model import Finding
from ckptui.core.names import natural_key
from ckptui.core.sayings import says
from ckptui.errors import CkptuiError
from ckptui.readers import magic, mangled
from ckptui.readers.bundle_leftovers import Leftovers
from ckptui.readers.bundle_shards import shard_files
from ckptui.readers.notices import sniffed
from ckptui.readers.sniff import file_type, sniff
from ckptui.readers.source import Source, read_whole
from ckptui.readers.sstable import FOOTER, MAGIC, Table, parse_table

TEXT_CAP = 1 << 26
"""Bytes of the largest index whose text-mode copy is looked into."""
HEAD = 4104
SHORT = 8
"""Fewer bytes of text are no text: the first of a packed block look alike."""
SIBLINGS = 8


@dataclass(frozen=True, slots=True)
class Foreign:
    """What lies where a data file should be."""

    looks_like: str
    facts: dict[str, Any] = field(default_factory=dict)


def is_whole(table: Table) -> bool:
    """Whether nothing that a reader needs is damaged."""
    return bool(table.keys) and all(problem.cosmetic for problem in table.problems)


def no_table(prefix: str, path: str, table: Table) -> Finding | None:
    """What stands in the place of an index, where not a single proved entry could be read from it."""
    if len(table.keys) > sum(len(span) for span in table.unproved):
        return None
    seen = sniff(path)
    if seen.code not in ("not-a-model", "empty-file") or (seen.looks_like == "text" and table.size < SHORT):
        return None
    [found] = sniffed(prefix, seen)
    evidence = {"file": path, **found.evidence, **index_saying(table.size, b"")}
    return make(found.code, prefix, detail=f"{path}: {found.detail}", evidence=evidence, advice=found.advice)


def text_copy(prefix: str, path: str) -> tuple[Table, Finding] | None:
    """The table of an index that went through a text-mode or text-encoding copy, undone; None where it did not.

    Undoing proves itself: the checksums of all blocks hold again.
    """
    try:
        data = read_whole(path, TEXT_CAP)
    except CkptuiError:
        return None
    kinds: list[mangled.Mangling] = ["crlf"] if mangled.all_crlf(data) else []
    for kind in (*kinds, "utf-8"):
        original = mangled.undo(kind, data)
        if original is None or original == data:
            continue
        table = parse_table(original)
        if not is_whole(table) or table.problems:
            continue
        evidence = {
            "file": path,
            "looks_like": "checkpoint index after a text-mode copy",
            "text_mangled": True,
            "mangling": kind,
            "expected": len(original),
            "found": len(data),
            "entries_read": len(table.keys),
            **index_saying(len(data), data[-FOOTER:]),
        }
        detail = f"{path} was copied with {mangled.WORDS[kind]}; undone, all {len(table.keys)} entries are proved"
        advice = "Copy it again in binary mode, and check the data files: they came the same way."
        return table, make("not-a-model", prefix, detail=detail, evidence=evidence, advice=advice)
    return None


def index_saying(size: int, tail: bytes) -> dict[str, Any]:
    """What TensorFlow says of something else in an index's place, of `size` bytes that end in `tail`."""
    if size < FOOTER:
        return {"tensorflow_says": says("short-index")}
    return {"tensorflow_says": says("directory-checksum" if tail.endswith(MAGIC) else "bad-magic")}


def unusable(prefix: str, path: str) -> Finding:
    """The index's name leads to a folder, a device, or nowhere."""
    try:
        what = file_type(os.stat(path).st_mode)
    except OSError:
        what = "link to nothing"
    evidence: dict[str, Any] = {"file": path, "looks_like": what}
    if what == "folder":
        evidence["tensorflow_says"] = says("index-folder", file=path)
    elif what == "link to nothing":
        evidence["tensorflow_says"] = says("no-index", prefix=prefix)
    return make("not-a-model", prefix, detail=f"{path}: found instead: {what}", evidence=evidence)


def index_missing(prefix: str, path: str, left: Leftovers, rescue: Iterable[str]) -> Finding:
    """Data without an index, where an index may still be, and saves whose layout it may share."""
    shards = list(shard_files(prefix))
    evidence: dict[str, Any] = {
        "file": path,
        "data_files": shards[:8],
        "rescue": list(rescue)[:8],
        "siblings": siblings(prefix),
        "tensorflow_says": says("no-index", prefix=prefix),
    }
    detail = f"{path} is not there"
    if not shards:
        detail += ", nor is any data file under its final name" if left else ""
    return make("index-missing", prefix, detail=detail, evidence=evidence)


def siblings(prefix: str) -> list[str]:
    """Prefixes with an index in the same folder whose names differ in digits alone, the nearest number first."""
    folder, base = os.path.split(prefix)
    try:
        names = os.listdir(folder or ".")
    except OSError:
        return []
    stems = [name[: -len(".index")] for name in names if name.endswith(".index")]
    alike = [stem for stem in stems if stem != base and _undigited(stem) == _undigited(base)]
    number = _number(base)
    alike.sort(key=lambda stem: (abs(_number(stem) - number), natural_key(stem)))
    return [os.path.join(folder, stem) for stem in alike[:SIBLINGS]]


def foreign(path: str, size: int, needed: int) -> Foreign | None:
    """What a data file is that has not the `needed` bytes; None where nothing speaks for something else."""
    if size == needed:
        return None
    if not size:
        return Foreign("empty file")
    try:
        with Source(path) as source:
            head = source.pread(0, min(HEAD, source.size))
            tail = source.pread(max(0, source.size - FOOTER), min(FOOTER, source.size))
    except CkptuiError:
        return None
    pointer = magic.lfs_pointer(head)
    if pointer is not None:
        return Foreign("git-lfs pointer", dict(pointer))
    if magic.is_page(head):
        return Foreign("web page or error message")
    if tail.endswith(MAGIC):
        return Foreign("checkpoint index")
    name = _archive(head) or magic.framework(head, size, "")
    if not name and head.startswith(magic.HDF5_SIGNATURE):
        name = "HDF5 file"
    return Foreign(name) if name else None


def _archive(head: bytes) -> str:
    """As `magic.wrapped`, with more than two bytes to go by."""
    if head.startswith((magic.ZIP_LOCAL, magic.ZIP_END)):
        return "zip archive"
    name = magic.wrapped(head)
    if head.startswith(b"\x1f\x8b"):
        return name if head[2:3] == b"\x08" and head[3:4] < b"\x20" else ""
    if head.startswith(b"BZh"):
        return name if re.match(rb"BZh[1-9]1AY&SY", head) else ""
    return "" if head.startswith(b"\xff\xd8\xff") else name


def _undigited(name: str) -> str:
    return re.sub(r"[0-9]+", "#", name)


def _number(name: str) -> int:
    found = re.findall(r"[0-9]+", name)
    return int(found[-1][:18]) if found else 0
