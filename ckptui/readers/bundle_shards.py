"""The files of a bundle on disk: shards called for, shards there."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field

from ckptui.readers.siblings import names_with

MAX_SHARDS = 10_000
"""With more shards than this only those are looked for that an entry needs."""

_SHARD = re.compile(r"\.data-([0-9]{5,})-of-([0-9]{5,})")


@dataclass(slots=True)
class Shards:
    """The data files of one bundle."""

    prefix: str
    count: int
    """How many the header calls for; as stored, so it may be nonsense."""
    sizes: dict[int, int] = field(default_factory=dict)
    """Bytes of each shard that is there."""
    reasons: dict[int, str] = field(default_factory=dict)
    """Why a shard that was looked for can't be read."""
    modified: float = 0.0
    """The newest of them, in seconds since the epoch."""
    unfinished: bool = False
    """The save was stopped before all of them had a place in an index; some may never have been written."""
    paths: dict[int, str] = field(default_factory=dict)
    """Where a shard lies that has not got its final name; filled with the others' names as they are asked for."""

    def path(self, number: int) -> str:
        """The file name of a shard."""
        path = self.paths.get(number)
        if path is None:
            path = self.paths[number] = f"{self.prefix}.data-{number:05d}-of-{self.count:05d}"
        return path

    def size(self, number: int) -> int | None:
        """Bytes of a shard, or None where it is not there; looks once."""
        size = self.sizes.get(number)
        if size is None and number not in self.reasons:
            size = self._look(number)
        return size

    def _look(self, number: int) -> int | None:
        try:
            status = os.stat(self.path(number))
        except (OSError, ValueError) as error:
            code = getattr(error, "errno", None)
            self.reasons[number] = os.strerror(code) if code else str(error)
            return None
        if not stat.S_ISREG(status.st_mode):
            self.reasons[number] = "no regular file"
            return None
        self.sizes[number] = status.st_size
        self.modified = max(self.modified, status.st_mtime)
        return status.st_size

    def look_at_all(self) -> None:
        """Look for every shard the header calls for, unless it calls for more than any save has."""
        if self.count <= MAX_SHARDS:
            for number in range(self.count):
                self.size(number)


def shard_files(prefix: str) -> dict[str, tuple[int, int]]:
    """Data files of this prefix in its folder, whatever count they carry: path to (number, of how many)."""
    folder, base = os.path.split(prefix)
    found: dict[str, tuple[int, int]] = {}
    for name in names_with(folder, f"{base}.data-"):
        match = _SHARD.fullmatch(name, len(base))
        if match and len(match[1]) < 19 and len(match[2]) < 19:
            found[os.path.join(folder, name)] = (int(match[1]), int(match[2]))
    return dict(sorted(found.items()))
