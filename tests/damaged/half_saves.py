"""Saves stopped at a stage of their writing, made by hand, and what is read from them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from crc32c import crc32c

from ckptui.core.dtypes import NUMBERS
from ckptui.core.model import Finding, Listing
from ckptui.readers.bundle import open_bundle
from tests.readers.make_bundle import entry, header, strings, table, write_bundle

Values = dict[str, Any]


def values(step: int = 1) -> Values:
    return {
        "a/kernel": np.full((3, 4), step, np.float32),
        "b/bias": np.arange(5, dtype=np.int64) * step,
        "words": strings([b"w" * 7, b"x"]),
        "z/kernel": np.full((2, 2), -step, np.float64),
    }


def low_level(folder: Path, step: int = 1, name: str = "ckpt-1") -> str:
    """A whole save as a single SaveV2 leaves it, old enough not to be running."""
    return write_bundle(folder / name, values(step))


def in_parts(folder: Path, count: int = 3, step: int = 1, name: str = "ckpt-1") -> tuple[str, Values]:
    """`NAME_temp/part-*` with one bundle each, not merged, and all that lies in them."""
    prefix = str(folder / name)
    temporary = Path(f"{prefix}_temp")
    temporary.mkdir(parents=True)
    kept = values(step)
    for number in range(count):
        mine = {key: value for place, (key, value) in enumerate(kept.items()) if place % count == number}
        write_bundle(temporary / f"part-{number:05d}-of-{count:05d}", mine)
    return prefix, kept


def part(prefix: str, number: int, of: int, rest: str) -> Path:
    return Path(f"{prefix}_temp/part-{number:05d}-of-{of:05d}{rest}")


def rename_data(prefix: str, count: int, numbers: list[int] | None = None) -> None:
    for number in range(count) if numbers is None else numbers:
        part(prefix, number, count, ".data-00000-of-00001").rename(f"{prefix}.data-{number:05d}-of-{count:05d}")


def age(folder: Path, seconds: float = 1000) -> None:
    """Make everything look as if nobody had written for a while."""
    then = time.time() - seconds
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


def open_aged(prefix: str) -> tuple[Any, Listing]:
    age(Path(prefix).parent)
    bundle = open_bundle(prefix)
    return bundle, bundle.listing()


def reads(prefix: str, wanted: Values) -> Listing:
    """Everything is listed and reads, with a checksum that holds."""
    bundle, found = open_aged(prefix)
    assert [t.name for t in found.tensors] == sorted(wanted)
    for tensor in found.tensors:
        array = bundle.array(tensor)
        value = wanted[tensor.name]
        assert array.tolist() == ([b"w" * 7, b"x"] if tensor.name == "words" else value.tolist())
        assert tensor.problem == ""
        if tensor.dtype != "string":
            assert tensor.storage.crc32c == crc32c(array.tobytes())
    return found


def stages(found: Listing) -> list[tuple[str, str | None]]:
    return [(f.code, f.evidence.get("stage")) for f in found.findings]


def interrupted(found: Listing) -> Finding:
    [finding] = [f for f in found.findings if f.code == "interrupted-save"]
    return finding


def merged_index(folder: Path, count: int) -> tuple[str, Values, bytes]:
    """Parts with their data renamed, and the final index as the merge would have written it."""
    prefix, kept = in_parts(folder, count)
    items: dict[bytes, bytes] = {b"": header(count)}
    for number in range(count):
        for tensor in open_bundle(str(part(prefix, number, count, ""))).listing().tensors:
            place, crc = tensor.storage.segment, tensor.storage.crc32c
            assert place is not None
            assert crc is not None
            dtype = NUMBERS[tensor.dtype]
            items[tensor.name.encode()] = entry(dtype, tensor.shape, number, place.offset, place.bytes, crc)
    rename_data(prefix, count)
    return prefix, kept, table(sorted(items.items()))
