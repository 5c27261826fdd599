"""Tiny stand-ins for saves: enough bytes for discovery to know them, no more."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ckptui.core.model import Finding, Found, RunFolder
from ckptui.readers import magic
from ckptui.readers.discover import discover
from tests.readers.make_v1 import v1_file

HDF5 = magic.HDF5_SIGNATURE + b"\x00" * 600
KERAS_H5 = HDF5 + b"model_config\x00"


def table(first_value: bytes = b"\x08\x01\x1a\x02\x08\x01", key: bytes = b"") -> bytes:
    """A file that begins like a table whose first entry is `key` and ends in the table magic."""
    block = bytes([0, len(key), len(first_value)]) + key + first_value
    return block + struct.pack("<II", 0, 1) + b"\x00" * 45 + magic.TABLE_MAGIC


V1 = v1_file({"w": np.array([1, 2], "f4")})


def checkpoint(prefix: Path, shards: int = 1, *, index: bytes | None = None) -> str:
    """Write an index and its shards; the index is healthy unless given."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{prefix}.index").write_bytes(table() if index is None else index)
    for shard in range(shards):
        Path(f"{prefix}.data-{shard:05d}-of-{shards:05d}").write_bytes(b"\x00\x00\x80\x3f")
    return str(prefix)


def state(folder: Path, latest: str, kept: Sequence[str] = ()) -> Path:
    """Write a `checkpoint` state file."""
    lines = [f'model_checkpoint_path: "{latest}"']
    lines += [f'all_model_checkpoint_paths: "{name}"' for name in kept or [latest]]
    path = folder / "checkpoint"
    path.write_text("\n".join(lines) + "\n")
    return path


def saved_model(folder: Path, *, graph: bool = True, variables: bool = True) -> str:
    """Write the files of a SavedModel folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if graph:
        (folder / "saved_model.pb").write_bytes(b"\x08\x01\x12\x00")
    if variables:
        checkpoint(folder / "variables" / "variables")
    return str(folder)


def keras_zip(path: Path, *names: str) -> str:
    """Write an archive with these members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names or ("metadata.json", "config.json", "model.weights.h5"):
            archive.writestr(name, b"x" * 40)
    path.write_bytes(out.getvalue())
    return str(path)


class Walk:
    """Everything a walk yields, sorted by what it is."""

    def __init__(self, *paths: str | os.PathLike[str], recurse: bool = True) -> None:
        self.order = list(discover([os.fspath(path) for path in paths], recurse=recurse))
        self.saves = {item.path: item for item in self.order if isinstance(item, Found)}
        self.runs = {item.path: item for item in self.order if isinstance(item, RunFolder)}
        self.notices = [item for item in self.order if isinstance(item, Finding)]

    def codes(self, path: str | Path) -> list[str]:
        """Codes of the findings on a save."""
        return [finding.code for finding in self.saves[os.fspath(path)].findings]

    def run_codes(self, path: str | Path) -> list[tuple[str, str]]:
        """(code, severity) of the findings on a run."""
        return [(finding.code, finding.severity) for finding in self.runs[os.fspath(path)].findings]
