"""One folder as a look finds it while somebody may be writing in it: its saves, whether each is whole, and what would
show that one of them was written anew. Names, sizes, times and first bytes; no tensor's bytes, no locks.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ckptui.core.model import Finding, Found, RunFolder
from ckptui.errors import CkptuiError
from ckptui.readers.discover import look_into
from ckptui.readers.folder import all_shards
from ckptui.readers.hdf5_superblock import find_superblock
from ckptui.readers.keras_shard_map import more_files
from ckptui.readers.leftovers import SHARD, STATE_FILE, TEMP_SUFFIX, TEMPSTATE, prefix_of
from ckptui.readers.sniff import promise
from ckptui.readers.source import Source

Stamp = tuple[str, int, int, int, int]
"""Path, device, inode, size, mtime_ns."""
Stamps = tuple[Stamp, ...]
NAMES = 2000
"""Files that may become saves whose size and time are kept in mind, a folder."""
_HDF5 = ("hdf5", "keras-h5", "keras-weights")
_OPEN_FOR_WRITING = 1
_GRAPHS = ("saved_model.pb", "saved_model.pbtxt", "saved_model.cpb", "fingerprint.pb")


@dataclass(slots=True)
class View:
    """A folder at one moment."""

    path: str
    mark: tuple[int, int, int] | None = None
    """Device, inode and time of the folder itself; None where it is gone."""
    saves: dict[str, Found] = field(default_factory=dict)
    stamps: dict[str, Stamps] = field(default_factory=dict)
    """Of the files of each save."""
    runs: list[RunFolder] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    """Folders below, to be looked into on their own."""
    names: frozenset[str] = frozenset()
    closed: bool = False
    """It is there and can't be listed: what it holds is not known."""
    hopeful: Stamps = ()
    """Files called like saves that are none yet."""


def look(path: str) -> View:
    """The folder as it is now; empty where it is gone or can't be listed."""
    view = View(path, mark_of(path))
    try:
        items, view.folders = look_into(path)
        names = os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        view.mark = None
        return view
    except OSError:
        view.closed = True
        return view
    view.names = frozenset(names)
    taken: set[str] = set()
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault(prefix_of(name), []).append(name)
    for item in items:
        if isinstance(item, Found):
            view.saves[item.path] = item
            files = files_of(item, parts)
            taken.update(files)
            view.stamps[item.path] = stamps_of(files)
        elif isinstance(item, RunFolder):
            view.runs.append(_lasting(item))
    hopeful = [full for name in names[:NAMES] if may_be_a_save(name) and (full := _join(path, name)) not in taken]
    view.hopeful = stamps_of(hopeful)
    return view


def mark_of(path: str) -> tuple[int, int, int] | None:
    """What changes when something is made, removed or renamed in a folder."""
    try:
        info = os.stat(path)
    except (OSError, ValueError):
        return None
    return (info.st_dev, info.st_ino, info.st_mtime_ns) if stat.S_ISDIR(info.st_mode) else None


def may_be_a_save(name: str) -> bool:
    """Whether a file called so is, or may become, part of a save or of what tells of saves."""
    return name == STATE_FILE or promise(name) is not None or SHARD.fullmatch(name) is not None


def passing(name: str) -> bool:
    """Whether a name is one that a writer uses until a file is whole, or one of an event file: not worth a look."""
    return TEMPSTATE.fullmatch(name) is not None or name.endswith(TEMP_SUFFIX) or ".tfevents." in name


def files_of(found: Found, parts: Mapping[str, Sequence[str]]) -> list[str]:
    """The files of a save; `parts` are the names in the folder it was found in, by the prefix they are made of."""
    folder, base = os.path.split(found.path)
    if found.kind == "tf-checkpoint":
        mine = [name for name in parts.get(base, ()) if name not in (base, f"{base}.meta")]
        return [os.path.join(folder, name) for name in sorted(mine)]
    if found.kind == "saved-model":
        inside = os.path.join(found.path, "variables")
        whole = [os.path.join(found.path, name) for name in _GRAPHS]
        with contextlib.suppress(OSError):
            whole += [os.path.join(inside, name) for name in sorted(os.listdir(inside)) if may_be_a_save(name)]
        return [path for path in whole if os.path.lexists(path)]
    stem, cut, _ = base.partition("-?????-of-")
    if cut:
        names = (name for some in parts.values() for name in some if name.startswith(f"{stem}-"))
        return [os.path.join(folder, name) for name in sorted(names)]
    more = [path for path in more_files(found.path) if os.path.lexists(path)]
    return [*more, *([] if os.path.isdir(found.path) else [found.path])]


def stamps_of(paths: Iterable[str]) -> Stamps:
    """What tells whether files are those they were; those that are gone are left out."""
    out: list[Stamp] = []
    for path in paths:
        try:
            info = os.stat(path)
        except (OSError, ValueError):
            continue
        out.append((path, info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns))
    return tuple(out)


def whole(found: Found, stamps: Stamps) -> bool:
    """Whether a save is all there and nobody says that it is still being written.

    A checkpoint: its index and all shards, no temporary files of it. A Keras archive: its directory at the end. HDF5:
    as long as its superblock says, not marked as open for writing, not locked by a writer.
    """
    if not stamps or any(f.severity == "error" or f.code == "interrupted-save" for f in found.findings):
        return False
    names = [os.path.basename(stamp[0]) for stamp in stamps]
    if found.kind == "tf-checkpoint":
        return all_shards(names)
    if found.kind == "saved-model":
        shards = [name for name in names if SHARD.fullmatch(name)]
        return not shards or ("variables.index" in names and all_shards(shards))
    if found.kind in _HDF5:
        files = [stamp for stamp in stamps if stamp[0].endswith((".h5", ".hdf5")) or stamp[0] == found.path]
        return all(map(_hdf5_closed, (s[0] for s in files))) and not _locked({stamp[2] for stamp in files})
    return True


def _hdf5_closed(path: str) -> bool:
    try:
        with Source(path) as source:
            block = find_superblock(source)
            if block is None:
                # no HDF5: a map of sharded weights
                return not path.endswith((".h5", ".hdf5"))
            return not block.flags & _OPEN_FOR_WRITING and block.end <= source.size
    except (CkptuiError, ValueError):
        return False


def _locked(inodes: set[int]) -> bool:
    """Whether some process holds a lock for writing on one of these files, as HDF5 does; the list is only read."""
    try:
        with open("/proc/locks", encoding="ascii", errors="replace") as locks:
            for line in locks:
                words = line.split()
                inode = words[-3].rpartition(":")[2]
                if "WRITE" in words and inode.isdigit() and int(inode) in inodes:
                    return True
    except (OSError, IndexError):
        return False
    return False


def _lasting(run: RunFolder) -> RunFolder:
    """The run without words about what is being written this moment."""

    def lasts(finding: Finding) -> bool:
        return not finding.evidence.get("running")

    return replace(run, findings=tuple(filter(lasts, run.findings)), leftovers=())


def _join(folder: str, name: str) -> str:
    return name if folder == "." else os.path.join(folder, name)
