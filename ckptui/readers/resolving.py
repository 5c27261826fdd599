"""From one path, whatever a user has at hand, to the save it belongs to: prefix, index, shard, folder, file."""

from __future__ import annotations

import difflib
import os
import stat
from dataclasses import replace

from ckptui.core.model import Found
from ckptui.core.names import step_of
from ckptui.errors import NoSuchPath, NotASave
from ckptui.readers.folder import (
    Folder,
    bundle,
    first_save,
    index_missing,
    is_orbax,
    is_saved_model,
    look,
    one_file,
    read_folder,
    saved_model,
    shards_by_prefix,
)
from ckptui.readers.keras_found import KERAS_PARTS, is_keras_folder, keras_folder, weight_map
from ckptui.readers.keras_shard_map import MAP_SUFFIX
from ckptui.readers.leftovers import (
    SAVED_MODEL_TRACES,
    SHARD,
    STATE_FILE,
    TEMPSTATE,
    find_leftovers,
    interrupted,
)
from ckptui.readers.notices import sniffed
from ckptui.readers.runs import group_runs
from ckptui.readers.series import CHECKPOINTS
from ckptui.readers.sniff import SAVED_MODEL_FILES, file_type, sniff
from ckptui.readers.state_file import read_state
from ckptui.readers.state_judging import newest_complete
from ckptui.readers.v1_found import SHARD_V1, lost_v1, v1_shards

NAMES_COMPARED = 2000
"""How many names of a folder are compared with a mistyped one."""

WHAT_TO_TYPE = (
    "Name a checkpoint prefix, its .index or a shard, a SavedModel folder, a .keras, .h5 or .weights.h5 file, or a "
    "folder that holds one of these"
)


def find_one(argument: str) -> Found | None:
    """The save `argument` stands for; None for a folder that is no save itself and has no state file.

    Raises:
        NoSuchPath: nothing is there, neither under that name nor as a prefix.
        NotASave: something is there that is no save; the hint says what to type instead.
    """
    if not argument:
        raise NoSuchPath("an empty path", WHAT_TO_TYPE)
    try:
        status = os.stat(argument)
    except (FileNotFoundError, NotADirectoryError):
        found = _prefix(argument) or _prefix(argument.removesuffix(".index"))
        if found is None:
            raise _missing(argument) from None
        return found
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise NoSuchPath(f"{argument}: {reason}") from None
    if stat.S_ISDIR(status.st_mode):
        return _from_folder(argument)
    if not stat.S_ISREG(status.st_mode):
        raise NotASave(f"{argument} is a {file_type(status.st_mode)}, not a file", WHAT_TO_TYPE)
    return _from_file(argument)


def strip_slashes(path: str) -> str:
    """A folder's path without slashes at its end; the root keeps its own."""
    return path.rstrip("/") or "/"


def enclosing_saved_model(folder: str) -> Found | None:
    """The SavedModel whose `variables` folder this is; None where it is none."""
    whole = strip_slashes(folder)
    if os.path.basename(os.path.abspath(whole)) != "variables":
        return None
    parent = os.path.dirname(whole) or (os.path.dirname(os.getcwd()) if whole == "." else ".")
    try:
        outer = read_folder(parent)
    except OSError:
        return None
    return saved_model(outer) if is_saved_model(outer) else None


def _from_folder(path: str) -> Found | None:
    whole = strip_slashes(path)
    outer = enclosing_saved_model(whole)
    if outer is not None:
        return outer
    try:
        folder = read_folder(whole)
    except OSError as error:
        raise NotASave(f"{path} can't be looked into: {os.strerror(error.errno or 0)}") from None
    if is_orbax(folder):
        raise NotASave(f"{path} is an Orbax checkpoint, which ckptui does not read", "Use Orbax itself")
    if is_saved_model(folder):
        return saved_model(folder)
    if is_keras_folder(folder):
        return keras_folder(folder)
    if path.endswith("/") and ".index" in folder.files:
        return _bundle(folder, "")
    return _from_state(folder) if STATE_FILE in folder.files else None


def _from_state(folder: Folder) -> Found | None:
    """The save a state file names, else the newest whole one beside it, with what is wrong about the file."""
    state = read_state(folder.join(STATE_FILE))
    inside = os.path.dirname(os.path.normpath(state.latest)) == os.path.normpath(folder.path)
    name = os.path.basename(state.latest)
    if state.latest and inside and f"{name}.index" in folder.files and not state.problem:
        found = _bundle(folder, name)
        if found is not None and not found.findings:
            return replace(found, run=folder.path, latest=True)
    contents = look(folder)
    for run in group_runs(folder, contents).runs:
        members = [found for found in contents.saves if found.path in run.saves]
        if run.path != folder.path or not any(found.kind in CHECKPOINTS for found in members):
            continue
        latest = next((found for found in members if found.path == run.latest), None)
        whole = newest_complete(members, contents.complete)
        chosen = latest if latest is not None and latest.path in contents.complete else whole or latest
        if chosen is not None:
            findings = tuple(f for f in run.findings if f.severity != "info")
            is_latest = latest is not None and chosen.path == latest.path
            return replace(chosen, run=run.path, latest=is_latest, findings=(*chosen.findings, *findings))
    return None


def _from_file(path: str) -> Found:
    parent, name = os.path.dirname(path) or ".", os.path.basename(path)
    if name in SAVED_MODEL_FILES or name in SAVED_MODEL_TRACES:
        return saved_model(read_folder(parent))
    found = _checkpoint_part(path, parent, name) or _keras_part(path, parent, name)
    if found is not None:
        return found
    if name == STATE_FILE:
        of_state = _from_state(read_folder(parent))
        if of_state is not None:
            return of_state
    seen = sniff(path)
    if seen.kind == "tf-checkpoint-v1":
        sharded = SHARD_V1.fullmatch(name)
        if sharded:
            return v1_shards(read_folder(parent), sharded[1], sharded[3])
    if seen.kind != "tf-checkpoint":
        single = one_file(parent, path, seen)
        if single is not None:
            return single
    prefix = _prefix(path)
    if prefix is not None:
        return prefix
    for lost, names in lost_v1(read_folder(parent)):
        if name in names:
            return lost
    raise _no_save(path, name, seen.kind == "tf-checkpoint", seen.looks_like)


def _keras_part(path: str, parent: str, name: str) -> Found | None:
    """The Keras save of several files that a map, a shard or a folder's part belongs to; None for any other file."""
    if name not in KERAS_PARTS and not name.endswith((MAP_SUFFIX, ".weights.h5")):
        return None
    folder = read_folder(parent)
    if name in KERAS_PARTS:
        return keras_folder(folder) if is_keras_folder(folder) else None
    return weight_map(folder, name)


def _checkpoint_part(path: str, parent: str, name: str) -> Found | None:
    """The checkpoint an index, a shard or a .meta belongs to; None where the name is none of theirs."""
    shard = SHARD.fullmatch(name)
    if shard is not None:
        return _prefix(os.path.join(parent, shard[1]) if parent != "." else shard[1])
    if name.endswith(".index") and sniff(path).kind == "tf-checkpoint":
        return _prefix(path[: -len(".index")])
    if name.endswith(".meta") and sniff(path).kind != "meta-graph":
        # a .meta that is no graph any more: with its checkpoint beside it, it must be a damaged one
        beside = path[: -len(".meta")]
        checkpoint = _from_file(beside) if os.path.isfile(beside) else _prefix(beside)
        return None if checkpoint is None else Found(path, "meta-graph", name, parent, step_of(name))
    return None


def _prefix(argument: str) -> Found | None:
    """The checkpoint whose files begin with `argument`; None where there are none."""
    parent, base = os.path.dirname(argument) or ".", os.path.basename(argument)
    if base == "variables":
        outer = enclosing_saved_model(parent)
        if outer is not None:
            return outer
    try:
        folder = read_folder(parent)
    except OSError:
        return None
    found = _bundle(folder, base)
    if found is not None:
        return found
    stem, _, total = base.partition("-?????-of-")
    for name in sorted(folder.files):
        sharded = SHARD_V1.fullmatch(name) if name.startswith(f"{stem}-") else None
        wanted = sharded is not None and sharded[1] == stem and total in ("", sharded[3])
        if sharded and wanted and sniff(folder.join(name)).kind == "tf-checkpoint-v1":
            return v1_shards(folder, sharded[1], sharded[3])
    return None


def _bundle(folder: Folder, prefix: str) -> Found | None:
    index = f"{prefix}.index"
    shards = sorted(shards_by_prefix(n for n in folder.files if n.startswith(prefix)).get(prefix, []))
    if index in folder.files:
        seen = sniff(folder.join(index))
        if seen.kind == "tf-checkpoint":
            return _with_copies(folder, bundle(folder, prefix, [index, *shards], sniffed(folder.join(prefix), seen)))
    if shards:
        return _with_copies(folder, bundle(folder, prefix, shards, (index_missing(folder, prefix, shards),)))
    return first_save(folder, prefix) if prefix else None


def _with_copies(folder: Folder, found: Found) -> Found:
    """The save and the copies of its missing files that did not end, as a look at the whole folder tells them."""
    absent = [
        replace(interrupted(left, severity="error"), artifact=found.path)
        for left in find_leftovers(folder)
        if left.kind == "copy" and left.prefix == found.label and left.of not in folder.files
    ]
    if not absent:
        return found
    return replace(found, findings=(*(f for f in found.findings if f.code != "index-missing"), *absent))


def _no_save(path: str, name: str, is_table: bool, looks_like: str) -> NotASave:
    if is_table:
        return NotASave(f"{path} is a checkpoint index under another name", "Rename it to PREFIX.index")
    temporary = TEMPSTATE.fullmatch(name)
    if temporary:
        whole = os.path.join(os.path.dirname(path), temporary[1])
        return NotASave(
            f"{path} is a temporary file of a save that did not finish",
            f"{whole} stands for that save, as far as it came",
        )
    if name.endswith(".meta"):
        return NotASave(f"{path} is a graph without a checkpoint beside it", WHAT_TO_TYPE)
    return NotASave(f"{path} ({looks_like})" if looks_like else path, WHAT_TO_TYPE)


def _missing(argument: str) -> NoSuchPath:
    """What is not there, with the nearest names that are."""
    parent = os.path.dirname(strip_slashes(argument)) or "."
    try:
        names = sorted(os.listdir(parent))
    except OSError:
        return NoSuchPath(argument, f"{parent} is not there either" if not os.path.isdir(parent) else "")
    base = os.path.basename(argument)
    if base in names:
        return NoSuchPath(argument, "It is a link to something that is not there")
    known = {name[: -len(".index")] if name.endswith(".index") else name for name in names}
    near = difflib.get_close_matches(base, sorted(known)[:NAMES_COMPARED], 3, 0.5)
    return NoSuchPath(argument, f"Did you mean {' or '.join(near)}?" if near else "")
