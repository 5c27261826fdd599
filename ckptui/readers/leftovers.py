"""What saves, copies and clean-ups that did not end leave in a folder, told by names alone.

Temporary names of saves: TensorFlow's BundleWriter writes `FILE.tempstateN` and renames it, sharded saves write below
`PREFIX_temp/part-*`, the state file is replaced through `checkpoint.tmpHEX`. Names of unfinished copies: those that
rsync, browsers, cloud tools and file managers give a file until it is whole.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ckptui.core.model import Finding, Severity
from ckptui.readers.notices import notice
from ckptui.readers.sniff import SAVED_MODEL_FILES, promise

if TYPE_CHECKING:
    from ckptui.readers.folder import Folder

SHARD = re.compile(r"(.*)\.data-([0-9]{5,10})-of-([0-9]{5,10})", re.DOTALL)
TEMPSTATE = re.compile(r"(.*?)(\.index|\.data-[0-9]+-of-[0-9]+)?\.tempstate[0-9]+", re.DOTALL)
TEMP_PART = re.compile(r"part-[0-9]+-of-[0-9]+(\..+)?")
TEMP_SUFFIX = "_temp"
STATE_FILE = "checkpoint"
STATE_TMP = re.compile(r"(.+)\.tmp[0-9a-f]{32}", re.DOTALL)
SAVED_MODEL_TRACES = ("keras_metadata.pb", "fingerprint.pb")

_COPIES = tuple(
    re.compile(pattern, re.DOTALL | re.IGNORECASE)
    for pattern in (
        r"\.syncthing\.(.+)\.tmp",
        r"(.+)\.(?:part|partial|filepart|crdownload|download|opdownload|incomplete|aria2|tmp|temp|swp)",
        r"(.+?)_?\.gstmp",
        r"\.(.+)\.[a-z0-9]{6}",  # rsync
        r"(.+)\.[0-9a-f]{8}",  # aws s3
    )
)
_ENDS = frozenset(
    (
        "part", "partial", "filepart", "crdownload", "download", "opdownload", "incomplete", "aria2", "tmp", "temp",
        "swp", "gstmp", "bak", "orig", "old",
    )
)  # fmt: skip
"""What follows the last dot of the names above; a folder may hold a hundred thousand that are none of them."""
_BACKUPS = tuple(re.compile(pattern, re.DOTALL | re.IGNORECASE) for pattern in (r"(.+)~", r"(.+)\.(?:bak|orig|old)"))
COPY_FOLDERS = frozenset({".rsync-partial", ".~tmp~"})
"""Folders in which rsync keeps what it has not copied whole."""

RUNNING = 120
"""Seconds since its last change in which a half-written save may just be in progress."""
FILES_SHOWN = 100

Kind = Literal["save", "copy", "clean-up", "backup"]
_WHAT = {
    "save": "is what a save leaves when it is killed",
    "copy": "is what a copy leaves that did not end",
    "clean-up": "is what a clean-up of old saves left",
}


@dataclass(frozen=True, slots=True)
class Leftover:
    """Files of one interrupted doing."""

    path: str
    """The prefix, file or folder to speak of."""
    kind: Kind
    of: str
    """Name of the prefix or file they were to become, or belonged to."""
    files: tuple[str, ...]
    """Their names; those in a temporary folder without its name."""
    paths: tuple[str, ...]
    """Where they lie: files, or the temporary folder."""
    newest: float = 0.0
    """When the last of them changed."""

    @property
    def index(self) -> list[str]:
        """Those that may hold the index of their save."""
        return [name for name in self.files if name.endswith(".index") or ".index.tempstate" in name]

    @property
    def prefix(self) -> str:
        """The checkpoint prefix that `of` belongs to; `of` itself where it is no part of a checkpoint."""
        return prefix_of(self.of)


def prefix_of(name: str) -> str:
    """The prefix a file name is made of; the name itself where it is no index, shard or graph of a checkpoint."""
    shard = SHARD.fullmatch(name)
    if shard:
        return shard[1]
    stem, dot, end = name.rpartition(".")
    return stem if dot and end in ("index", "meta") else name


def of_a_save(name: str) -> bool:
    """Whether a name is one that a file of a save has."""
    known = (STATE_FILE, *SAVED_MODEL_FILES, *SAVED_MODEL_TRACES)
    return name in known or promise(name) is not None or SHARD.fullmatch(name) is not None or name.endswith(".meta")


def unfinished_copy(name: str) -> str | None:
    """The file of a save that a copy called `name` was to become; None where it is no such copy."""
    return next((found[1] for pattern in _COPIES if (found := pattern.fullmatch(name)) and of_a_save(found[1])), None)


def backup_of(name: str) -> str | None:
    """The file of a save that `name` is an older copy of (`ckpt-1.index~`); None where it is none."""
    return next((found[1] for pattern in _BACKUPS if (found := pattern.fullmatch(name)) and of_a_save(found[1])), None)


def find_leftovers(folder: Folder) -> list[Leftover]:
    """Everything in a folder that a save, a copy or an editor left, each with its own cause."""
    found = _temporary_files(folder)
    for name, entry in sorted(folder.folders.items()):
        inside = _names(entry.path) if name.endswith(TEMP_SUFFIX) or name in COPY_FOLDERS else []
        if name in COPY_FOLDERS:
            parts = [part for part in inside if of_a_save(part)]
            found += [_one(folder, "copy", part, (part,), (os.path.join(entry.path, part),)) for part in parts]
            continue
        parts = [part for part in inside if TEMP_PART.fullmatch(part)]
        if parts:
            path = folder.join(name)
            newest = max(map(modified_path, (entry.path, *(os.path.join(entry.path, part) for part in parts[:64]))))
            found.append(Leftover(path, "save", name.removesuffix(TEMP_SUFFIX), tuple(parts), (path,), newest))
    return found


def _temporary_files(folder: Folder) -> list[Leftover]:
    by_prefix: dict[str, list[str]] = {}
    out: list[Leftover] = []
    for name in sorted(filter(_may_be_left, folder.files)):
        temporary = TEMPSTATE.fullmatch(name)
        if temporary:
            by_prefix.setdefault(temporary[1], []).append(name)
            continue
        state = STATE_TMP.fullmatch(name)
        target = state[1] if state else unfinished_copy(name)
        older = None if target else backup_of(name)
        if target or older:
            kind: Kind = "save" if state else "copy" if target else "backup"
            out.append(_one(folder, kind, target or older or "", (name,), (folder.join(name),)))
    for prefix, names in sorted(by_prefix.items()):
        out.append(_one(folder, "save", prefix, tuple(names), tuple(map(folder.join, names)), folder.join(prefix)))
    return out


def _may_be_left(name: str) -> bool:
    """A cheap look before the patterns: false for almost every name."""
    end = name.rpartition(".")[2]
    if name[0] == "." or name[-1] == "~" or end.lower() in _ENDS or end.startswith(("tempstate", "tmp")):
        return True
    return len(end) == 8 and len(name) > 9 and end.isalnum()


def _one(
    folder: Folder, kind: Kind, of: str, files: tuple[str, ...], paths: tuple[str, ...], path: str | None = None
) -> Leftover:
    newest = max(map(modified_path, paths))
    return Leftover(paths[0] if path is None else path, kind, of, files, paths, newest)


def interrupted(left: Leftover, *, severity: Severity | None = None, note: str = "") -> Finding:
    """The `interrupted-save` finding about leftovers; `note` says what became of the save itself."""
    inner = left.path.endswith(TEMP_SUFFIX)
    example = f"{os.path.basename(left.path)}/{left.files[0]}" if inner else left.files[0]
    age = time.time() - left.newest
    running = left.kind != "clean-up" and 0 <= age < RUNNING
    evidence: dict[str, Any] = {
        "kind": left.kind,
        "files": list(left.files[:FILES_SHOWN]),
        "count": len(left.files),
        "belongs_to": left.of,
        "index": left.index[:FILES_SHOWN],
    }
    title = advice = None
    stage = _stage(left)
    if stage:
        evidence["stage"] = stage[0]
    if running:
        verb = "save" if left.kind == "save" else "copy"
        detail = f"{example} changed {age:.0f} s ago: a {verb} may be running right now"
        title = f"A {verb} is running or was interrupted"
        advice = f"Look again when the {verb} is done."
        evidence |= {"running": True, "seconds_ago": round(age)}
    else:
        detail = f"{example} {_WHAT.get(left.kind, '')}"
    if stage:
        detail += f"; {stage[1]}"
    if left.index and left.kind == "save":
        detail += f"; {left.index[0]} may still describe its data"
    if left.kind == "copy" and not running:
        title, advice = "A copy that did not finish", "Copy the save again, then compare sizes."
    return notice(
        "interrupted-save",
        left.path,
        detail + (f"; {note}" if note else ""),
        evidence,
        severity=severity,
        title=title,
        advice=advice,
    )


def _stage(left: Leftover) -> tuple[str, str] | None:
    """How far a save of a checkpoint had come, and in words; None for everything else."""
    if left.kind != "save" or STATE_TMP.fullmatch(left.files[0]):
        return None
    # only where something was left: discovery itself needs no arrays
    from ckptui.readers.bundle_leftovers import leftovers
    from ckptui.readers.bundle_rescue import STAGES, stage_of

    stage = stage_of(leftovers(os.path.join(os.path.dirname(left.path), left.of)), final=False)
    return stage, STAGES[stage]


def cleaned_up(folder_path: str, names: Iterable[str], paths: Iterable[str]) -> Leftover:
    """What a clean-up of old saves left: index or data without the other."""
    files = tuple(names)
    return Leftover(folder_path, "clean-up", files[0], files, tuple(paths))


def modified_path(path: str) -> float:
    """When a file or folder changed last; 0 where it can't be told."""
    try:
        return os.stat(path).st_mtime
    except (OSError, ValueError):
        return 0.0


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []
