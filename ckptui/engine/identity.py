"""What tells whether the files of a save are still those that were read: device, inode, size and times of each."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ckptui.core.model import Listing

SETTLE_SECONDS = 2.0
"""Of two writes closer together than a file system's clock ticks (2 s on the coarsest) the times tell one."""
MOST_FILES = 20_000
"""Directory entries looked at; a save among more is not identified."""

Stamp = tuple[str, int, int, int, int, int]
"""Path, device, inode, size, mtime_ns, ctime_ns."""


@dataclass(frozen=True, slots=True)
class Identity:
    """All files of a save at one moment."""

    digest: str
    """Hex SHA-256 over the stamps of all files."""
    newest: float
    """Seconds since the epoch: the last change of any of them, by the clock of their file system."""

    def settled(self, began: float) -> bool:
        """Whether every file had been left alone for a while at `began` (seconds since the epoch)."""
        return self.newest < began - SETTLE_SECONDS


def identity_of(listing: Listing) -> Identity | None:
    """The files a save consists of, as they are now; None where they can't be told or are not there.

    They are those that tensors name and those that lie where the save's format keeps its own: beside a checkpoint
    under its prefix, in a model's folder.
    """
    try:
        return _combined(_files(listing))
    except (OSError, ValueError):
        return None


def surroundings(path: str) -> str | None:
    """A digest of the folder a save lies in: why a checksum is wrong may be told from the saves beside it."""
    folder = os.path.dirname(path) or "."
    try:
        found = _combined(os.path.join(folder, name) for name in _names(folder))
    except (OSError, ValueError):
        return None
    return found.digest if found is not None else None


def listing_digest(listing: Listing) -> str:
    """A digest of what a scan is told about a save: its tensors, where they lie, and what is known to be wrong."""
    digest = hashlib.sha256()
    for t in listing.tensors:
        facts = (t.name, t.dtype, t.shape, t.bytes, t.layer, t.role, t.object_path, t.storage, t.problem, t.initializer)
        digest.update(repr(facts).encode("utf-8", "surrogatepass"))
    known = sorted((f.code, f.tensor or "") for f in listing.findings if f.severity == "error")
    digest.update(repr((listing.artifact.kind, known)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _files(listing: Listing) -> set[str]:
    path = listing.artifact.path
    found = {t.storage.segment.file for t in listing.tensors if t.storage.segment is not None}
    found |= {tile.segment.file for t in listing.tensors for tile in t.storage.slices}
    if os.path.isdir(path):
        for folder in (path, os.path.join(path, "variables"), os.path.join(path, "assets")):
            if os.path.isdir(folder):
                found |= {os.path.join(folder, name) for name in _names(folder)}
    if os.path.isfile(path):
        found.add(path)
    folder, base = os.path.split(path)
    base = base.partition("-?????-of-")[0]
    found |= {os.path.join(folder, name) for name in _names(folder or ".") if name.startswith(base + ".")}
    if base != os.path.basename(path):
        # a name with a pattern for its shards
        found |= {os.path.join(folder, name) for name in _names(folder or ".") if name.startswith(base)}
    from ckptui.readers.keras_shard_map import more_files

    return found | {name for name in more_files(path) if os.path.exists(name)}


def _names(folder: str) -> Iterator[str]:
    """Raises ValueError for a folder of too many entries."""
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if number >= MOST_FILES:
                raise ValueError(folder)
            yield entry.name


def _combined(files: Iterable[str]) -> Identity | None:
    """None without any file. Raises OSError where one of them is gone."""
    stamps: list[Stamp] = []
    newest = 0.0
    now = time.time()
    for file in sorted(set(files)):
        info = os.stat(file)
        stamps.append((file, info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns))
        if not stat.S_ISDIR(info.st_mode):
            # a modification time ahead of the clock was set by hand: the change of status tells when
            newest = max(newest, info.st_ctime, info.st_mtime if info.st_mtime <= now else 0.0)
    if not stamps:
        return None
    return Identity(hashlib.sha256(repr(stamps).encode("utf-8", "surrogatepass")).hexdigest(), newest)
