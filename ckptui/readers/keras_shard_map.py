"""The map of sharded Keras weights: `X.weights.json`, which says what lies in `X_00000.weights.h5` and the others.

Keras 3: {"metadata": {"total_size": bytes}, "weight_map": {"/layers/dense/vars": file or [files]}}. Bounded pure
Python: discovery uses it too.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field

from ckptui.core.sayings import says
from ckptui.core.text import human_bytes, safe
from ckptui.errors import CkptuiError, Damaged
from ckptui.readers import mangled
from ckptui.readers.magic import is_page, lfs_pointer, wrapped
from ckptui.readers.source import Source

MAP_SUFFIX = ".weights.json"
SHARD_NAME = re.compile(r"(.+)_([0-9]{5,10})\.weights\.h5", re.DOTALL)
MAX_MAP_BYTES = 64 << 20
MAX_GROUPS = 1_000_000
HEAD = 1 << 16
"""Bytes of a map that are looked at to see whether it is one."""
_KEY = b'"weight_map"'


@dataclass(slots=True)
class ShardMap:
    """What the map says."""

    path: str
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Files by group path, without the leading slash (`layers/dense/vars`)."""
    files: tuple[str, ...] = ()
    """Every file named, in the order of their names."""
    outside: tuple[str, ...] = ()
    """Names that lead out of the folder: never opened."""
    total_size: float | None = None
    """Bytes of all arrays, as the map says."""


def base_of(name: str) -> str:
    """What the shards of `X.weights.json` begin with: `X`."""
    return name.removesuffix(MAP_SUFFIX)


def map_of(shard: str) -> str:
    """The map's name a shard's name belongs to; empty where it is no shard's."""
    found = SHARD_NAME.fullmatch(shard)
    return found[1] + MAP_SUFFIX if found else ""


def shards_beside(path: str) -> list[str]:
    """Names of the files beside a map that are called as its shards are; sorted."""
    base = base_of(os.path.basename(path))
    try:
        names = os.listdir(os.path.dirname(path) or ".")
    except OSError:
        return []
    return shards_among(names, base)


def shards_among(names: list[str], base: str) -> list[str]:
    """Those of `names` that are called as shards of `base` are; sorted."""
    found = []
    for name in names:
        match = SHARD_NAME.fullmatch(name)
        if match is not None and match[1] == base:
            found.append(name)
    return sorted(found)


def more_files(path: str) -> list[str]:
    """Files that a Keras save at `path` consists of besides it: the shards of a map, the parts in a folder."""
    if path.endswith(MAP_SUFFIX):
        return [os.path.join(os.path.dirname(path), name) for name in shards_beside(path)]
    return [os.path.join(path, name) for name in ("config.json", "model.weights.h5", "model.weights.npz")]


def is_map(path: str) -> bool:
    """Whether the file at `path` is a map of sharded weights, or stands where one should: its shards are beside it."""
    if shards_beside(path):
        return True
    try:
        with Source(path) as source:
            return _KEY in source.pread(0, min(source.size, HEAD))
    except CkptuiError:
        return False


def parse_map(source: Source) -> ShardMap:
    """The map in an open file.

    Raises Damaged: `empty-file`, `not-a-model` (a pointer, a page, an archive), `zero-filled`, `index-damaged` with
    the offset where it is no JSON or no map.
    """
    facts: dict[str, object] = {"file": source.path, "bytes": source.size}
    if not source.size:
        facts["tensorflow_says"] = says("no-json", line=1, column=1, offset=0)
        raise Damaged("it has 0 bytes", code="empty-file", evidence=facts)
    if source.size > MAX_MAP_BYTES:
        raise Damaged(f"{human_bytes(source.size)}, more than any map has", code="index-damaged", evidence=facts)
    data = source.pread(0, source.size)
    try:
        told = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _no_map(data, facts, error.start, f"byte {error.start} is no UTF-8") from None
    except json.JSONDecodeError as error:
        offset = len(error.doc[: error.pos].encode("utf-8"))
        facts["tensorflow_says"] = str(error)
        raise _no_map(data, facts, offset, f"no JSON from byte {offset} on ({error.msg})") from None
    except (RecursionError, ValueError, MemoryError) as error:
        raise _no_map(data, facts, 0, f"no JSON: {type(error).__name__}") from None
    groups = told.get("weight_map") if isinstance(told, dict) else None
    if not isinstance(groups, dict) or len(groups) > MAX_GROUPS:
        raise Damaged("JSON without a weight_map", code="index-damaged", evidence=facts)
    return _checked(source.path, told, groups, facts)


def _no_map(data: bytes, facts: dict[str, object], offset: int, what: str) -> Damaged:
    """What stands where a map should be: something else, zeros, a cut map, or a damaged one."""
    pointer = lfs_pointer(data)
    other = "git-lfs pointer" if pointer is not None else wrapped(data)
    if not other and is_page(data) and _KEY not in data:
        other = "web page or error message"
    if other:
        return Damaged(f"found instead: {other}", code="not-a-model", evidence={**facts, "looks_like": other})
    zeros = len(data) - len(data.rstrip(b"\0"))
    if zeros:
        facts |= {"offset": len(data) - zeros, "zeros": zeros}
        return Damaged(f"only zeros from byte {len(data) - zeros} on", code="zero-filled", evidence=facts)
    facts["offset"] = offset
    if data.rstrip()[-1:] != b"}" and offset >= len(data) - 64:
        return Damaged(
            f"cut off after {len(data)} bytes: {what}", code="index-damaged", evidence={**facts, "cut": True}
        )
    kind = mangled.text_mode(data)
    if kind is not None:
        facts["text_mangled"] = kind
    return Damaged(what, code="index-damaged", evidence=facts)


def _checked(path: str, told: dict[str, object], groups: dict[str, object], facts: dict[str, object]) -> ShardMap:
    shard_map = ShardMap(path)
    outside: set[str] = set()
    files: set[str] = set()
    for group, named in groups.items():
        names = [named] if isinstance(named, str) else named
        if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
            detail = f"{safe(group, 200)} names no file"
            raise Damaged(detail, code="index-damaged", evidence={**facts, "group": group})
        leads_out = {one for one in names if not one or one in (".", "..") or "/" in one or "\\" in one or "\0" in one}
        outside |= leads_out
        own = tuple(one for one in names if one not in leads_out)
        files |= set(own)
        shard_map.groups[group.strip("/")] = own
    shard_map.files, shard_map.outside = tuple(sorted(files)), tuple(sorted(outside))
    metadata = told.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    shard_map.total_size = float(total) if isinstance(total, (int, float)) and not isinstance(total, bool) else None
    return shard_map
