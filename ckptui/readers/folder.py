"""One folder: which saves lie in it, which leftovers, and which of its subfolders belong to a save.

File names group what belongs together (a prefix's index and shards); the content decides what it is. Layouts:
TensorBundle and SavedModel as TensorFlow writes them, temporary names as its BundleWriter gives them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ckptui.core.model import Finding, Found, Kind
from ckptui.core.names import natural_key, step_of
from ckptui.readers.keras_found import (
    KERAS_ASSETS,
    KERAS_PARTS,
    hollow_keras_folder,
    is_keras_folder,
    keras_folder,
    weight_maps,
)
from ckptui.readers.leftovers import (
    COPY_FOLDERS,
    SAVED_MODEL_TRACES,
    SHARD,
    STATE_FILE,
    TEMP_SUFFIX,
    Leftover,
    find_leftovers,
    interrupted,
    modified_path,
)
from ckptui.readers.notices import notice, sniffed
from ckptui.readers.sniff import SAVED_MODEL_FILES, STATE_LOOK, Sniff, file_type, promise, sniff
from ckptui.readers.v1_found import SHARD_V1, lost_v1, v1_shards

SAVED_MODEL_FOLDERS = ("variables", "assets", "assets.extra", "debug")
ORBAX_FILES = frozenset({"_CHECKPOINT_METADATA", "_METADATA", "checkpoint_metadata", "orbax.checkpoint"})
REMAINS = 20
"""Interrupted saves of a folder without any whole one that are listed as saves."""
ORBAX_TEMPORARY = ".orbax-checkpoint-tmp"


@dataclass(slots=True)
class Folder:
    """What a folder holds, by name; links to folders are left out."""

    path: str
    files: dict[str, os.DirEntry[str]] = field(default_factory=dict)
    folders: dict[str, os.DirEntry[str]] = field(default_factory=dict)
    special: dict[str, os.DirEntry[str]] = field(default_factory=dict)
    """FIFOs, devices, sockets and links to nothing."""

    def join(self, name: str) -> str:
        """Path of something in this folder, without a leading `./` for the current one."""
        return name if self.path == "." and name else os.path.join(self.path, name)


@dataclass(slots=True)
class Contents:
    """What a look at one folder found."""

    saves: list[Found] = field(default_factory=list)
    notices: list[Finding] = field(default_factory=list)
    inner: set[str] = field(default_factory=set)
    """Names of subfolders that belong to a save and are not walked."""
    complete: set[str] = field(default_factory=set)
    """Paths of saves with nothing missing as far as names tell."""
    states: list[str] = field(default_factory=list)
    """Names of state files other than `checkpoint`."""
    leftovers: list[Leftover] = field(default_factory=list)
    """What is left of interrupted saves and copies that no save here tells of."""
    told: list[Leftover] = field(default_factory=list)
    """The same, told by a finding of the save they belong to."""


def read_folder(path: str) -> Folder:
    """List a folder; raises OSError where that is refused."""
    folder = Folder(path)
    with os.scandir(path) as entries:
        for entry in entries:
            table = _table_for(folder, entry)
            if table is not None:
                table[entry.name] = entry
    return folder


def _table_for(folder: Folder, entry: os.DirEntry[str]) -> dict[str, os.DirEntry[str]] | None:
    """Which of a folder's three tables an entry belongs to; None for links to folders."""
    if entry.is_dir(follow_symlinks=False):
        return folder.folders
    try:
        if entry.is_file():
            return folder.files
        return None if entry.is_symlink() and entry.is_dir() else folder.special
    except OSError:
        # A link that leads to itself can't be looked at; everything else in the folder can.
        return folder.special


def is_saved_model(folder: Folder) -> bool:
    """Whether this is a SavedModel, or what is left of one: its graph, or traces that only an export leaves."""
    if any(name in folder.files for name in (*SAVED_MODEL_FILES, *SAVED_MODEL_TRACES)):
        return True
    if "variables" not in folder.folders:
        return False
    try:
        names = os.listdir(folder.join("variables"))
    except OSError:
        return False
    return any(name == "variables.index" or name.startswith("variables.data-") for name in names)


def is_orbax(folder: Folder) -> bool:
    """Whether this is an Orbax checkpoint folder, finished or not."""
    return ORBAX_TEMPORARY in os.path.basename(folder.path) or not ORBAX_FILES.isdisjoint(folder.files)


def look(folder: Folder) -> Contents:
    """Find the saves and leftovers in one folder. Reads the first bytes of its files, nothing of its subfolders."""
    contents = Contents()
    taken = {STATE_FILE} if STATE_FILE in folder.files else set()
    if is_saved_model(folder):
        found = saved_model(folder)
        contents.saves.append(found)
        contents.inner.update(name for name in SAVED_MODEL_FOLDERS if name in folder.folders)
        taken.update((*SAVED_MODEL_FILES, *SAVED_MODEL_TRACES))
        if not found.findings:
            contents.complete.add(found.path)
    contents.leftovers = find_leftovers(folder)
    for left in contents.leftovers:
        taken.update(name for name in left.files if name in folder.files)
        contents.inner.update(os.path.basename(path) for path in left.paths if path.endswith(TEMP_SUFFIX))
    contents.inner.update(COPY_FOLDERS & folder.folders.keys())
    _bundles(folder, contents, taken)
    _keras(folder, contents, taken)
    _others(folder, contents, taken)
    _attach(folder, contents)
    contents.saves.sort(key=lambda found: natural_key(found.label))
    return contents


def saved_model(folder: Folder) -> Found:
    """The SavedModel a folder is, with what its file names and first bytes already say."""
    whole = os.path.abspath(folder.path)
    label = os.path.basename(whole)
    graph = next((name for name in SAVED_MODEL_FILES if name in folder.files), None)
    modified = modified_path(folder.path)
    if graph is None:
        findings: tuple[Finding, ...] = (graph_missing(folder.path),)
    else:
        seen = sniff(folder.join(graph))
        modified = seen.modified
        findings = sniffed(folder.path, seen)
    return Found(
        path=folder.path,
        kind="saved-model",
        label=label,
        folder=os.path.dirname(folder.path) or (os.path.dirname(whole) if folder.path == "." else "."),
        step=step_of(label) if label.isdigit() else None,
        modified=modified,
        findings=findings,
    )


def graph_missing(path: str) -> Finding:
    """An export without a graph: interrupted, or not copied whole."""
    return notice(
        "graph-missing",
        path,
        "variables or metadata of an export are here, saved_model.pb is not: the export was interrupted, or the "
        "copy left it out",
    )


def bundle(folder: Folder, prefix: str, names: Iterable[str], findings: tuple[Finding, ...] = ()) -> Found:
    """The checkpoint of a prefix whose files are `names`; the empty prefix has the folder's path and a slash."""
    label = prefix or os.path.basename(os.path.abspath(folder.path)) + "/"
    return Found(
        path=folder.join(prefix),
        kind="tf-checkpoint",
        label=label,
        folder=folder.path,
        step=step_of(label),
        modified=max((_modified(folder.files[name]) for name in names if name in folder.files), default=0.0),
        findings=findings,
    )


def index_missing(folder: Folder, prefix: str, shards: list[str]) -> Finding:
    """Shards without an index, and where a copy of that index may still be."""
    rescue: list[str] = []
    if prefix + TEMP_SUFFIX in folder.folders:
        inside = folder.join(prefix + TEMP_SUFFIX)
        rescue += [os.path.join(inside, name) for name in _names(inside) if name.endswith(".index")]
    detail = f"{prefix}.index is not beside {shards[0]}" if shards else f"{prefix}.index is not there"
    if rescue:
        detail += f"; {os.path.basename(rescue[0])} of the interrupted save may still describe it"
    return notice("index-missing", folder.join(prefix), detail, {"shards": shards, "rescue": rescue})


def shards_by_prefix(names: Iterable[str]) -> dict[str, list[str]]:
    """The data shards among `names`, by the prefix they belong to."""
    shards: dict[str, list[str]] = {}
    for name in names:
        found = SHARD.fullmatch(name)
        if found:
            shards.setdefault(found[1], []).append(name)
    return shards


def all_shards(names: Iterable[str]) -> bool:
    """Whether some `-of-N` group of shard names has all its N members."""
    groups: dict[str, set[str]] = {}
    for name in names:
        found = SHARD.fullmatch(name)
        if found:
            groups.setdefault(found[3], set()).add(found[2])
    return any(len(there) == int(total) for total, there in groups.items())


def one_file(folder_path: str, path: str, seen: Sniff) -> Found | None:
    """The save a single sniffed file is; None where it is none."""
    if seen.kind is None or seen.kind == "saved-model":
        return None
    name = os.path.basename(path)
    return Found(
        path, seen.kind, name, folder_path, step_of(name), modified=seen.modified, findings=sniffed(path, seen)
    )


def _attach(folder: Folder, contents: Contents) -> None:
    """Tell interrupted saves and copies with the save they belong to; remains of a first save are a save themselves."""
    places = {found.label: place for place, found in enumerate(contents.saves)}
    saved = is_saved_model(folder)
    lonely = not any(found.kind == "tf-checkpoint" for found in contents.saves)
    remaining: list[Leftover] = []
    for left in contents.leftovers:
        if left.kind not in ("save", "copy") or left.of == STATE_FILE:
            remaining.append(left)
            continue
        place = places.get(left.prefix, places.get(left.of))
        if place is None and saved and left.of in SAVED_MODEL_FILES:
            place = next(i for i, found in enumerate(contents.saves) if found.kind == "saved-model")
        if place is not None and (left.kind == "save" or contents.saves[place].path not in contents.complete):
            found = contents.saves[place]
            absent = left.kind == "copy" and left.of not in folder.files
            kept = tuple(f for f in found.findings if not (absent and f.code in ("index-missing", "graph-missing")))
            finding = interrupted(left, severity="error" if absent else None)
            finding = replace(finding, artifact=found.path)
            contents.saves[place] = replace(found, findings=(*kept, finding))
        elif lonely and left.kind == "save" and len(contents.told) < REMAINS:
            places[left.prefix] = len(contents.saves)
            contents.saves.append(_remains(folder, left))
        else:
            remaining.append(left)
            continue
        contents.told.append(left)
    contents.leftovers = remaining


def first_save(folder: Folder, prefix: str) -> Found | None:
    """The save that temporary files of `prefix` are the remains of; None where there are none."""
    left = next((left for left in find_leftovers(folder) if left.kind == "save" and left.prefix == prefix), None)
    return _remains(folder, left) if left else None


def _remains(folder: Folder, left: Leftover) -> Found:
    prefix = left.prefix
    finding = replace(interrupted(left), artifact=folder.join(prefix))
    return replace(bundle(folder, prefix, (), (finding,)), modified=left.newest)


def _bundles(folder: Folder, contents: Contents, taken: set[str]) -> None:
    shards = shards_by_prefix(folder.files.keys() - taken)
    for names in shards.values():
        taken.update(names)
    for name in [name for name in folder.files if name.endswith(".index") and name not in taken]:
        seen = sniff(folder.join(name))
        if seen.kind != "tf-checkpoint":
            continue
        taken.add(name)
        prefix = name[: -len(".index")]
        beside = shards.pop(prefix, [])
        save = bundle(folder, prefix, [name, *beside], sniffed(folder.join(prefix), seen))
        contents.saves.append(save)
        if not save.findings and all_shards(beside):
            contents.complete.add(save.path)
    for prefix, names in shards.items():
        missing = index_missing(folder, prefix, sorted(names))
        contents.saves.append(bundle(folder, prefix, names, (missing,)))


def _keras(folder: Folder, contents: Contents, taken: set[str]) -> None:
    """Keras saves of several files: weights in shards, and the folder itself where it is a model or called one."""
    saves = weight_maps(folder, taken)
    if is_keras_folder(folder):
        saves.append(keras_folder(folder))
        taken.update(KERAS_PARTS)
        contents.inner.update({KERAS_ASSETS} & folder.folders.keys())
    contents.complete.update(found.path for found in saves)
    hollow = hollow_keras_folder(folder)
    contents.saves += saves if hollow is None or contents.saves or saves else [hollow]


def _others(folder: Folder, contents: Contents, taken: set[str]) -> None:
    v1: set[tuple[str, str]] = set()
    for lost, names in lost_v1(folder):
        contents.saves.append(lost)
        taken.update(names)
    for name in sorted(folder.files.keys() - taken):
        path = folder.join(name)
        seen = sniff(path)
        sharded = SHARD_V1.fullmatch(name) if seen.kind == "tf-checkpoint-v1" else None
        if sharded:
            v1.add((sharded[1], sharded[3]))
        elif seen.kind == "tf-checkpoint":
            contents.notices.append(_misnamed_index(path))
        elif seen.kind == "meta-graph" and _has_checkpoint(folder, name):
            continue
        elif seen.kind is not None:
            found = one_file(folder.path, path, seen)
            contents.saves += [found] if found else []
            if found and not seen.code:
                contents.complete.add(path)
        elif seen.code is not None:
            contents.notices += sniffed(path, seen)
        elif seen.looks_like == STATE_LOOK:
            contents.states.append(name)
    for base, total in v1:
        save = v1_shards(folder, base, total)
        contents.saves.append(save)
        contents.complete.add(save.path)
    for name, entry in sorted(folder.special.items()):
        kind = promise(name)
        if kind is not None and kind != "saved-model":
            contents.saves.append(_special(folder, entry, kind))


def _has_checkpoint(folder: Folder, name: str) -> bool:
    """Whether a .meta lies beside its checkpoint, V2 or V1, and is no save of its own."""
    stem = name.removesuffix(".meta")
    if stem == name:
        return False
    if f"{stem}.index" in folder.files or stem in folder.files:
        return True
    parts = (SHARD.fullmatch(other) or SHARD_V1.fullmatch(other) for other in folder.files if other.startswith(stem))
    return any(part is not None and part[1] == stem for part in parts)


def _misnamed_index(path: str) -> Finding:
    return notice(
        "unsupported-format",
        path,
        "its content is a checkpoint index, its name does not end in .index",
        title="A checkpoint index under another name",
        advice="Rename it to PREFIX.index beside its data shards.",
    )


def _special(folder: Folder, entry: os.DirEntry[str], kind: Kind) -> Found:
    try:
        what = file_type(os.stat(entry.path).st_mode)
    except OSError:
        what = "link to nothing"
    path = folder.join(entry.name)
    found = notice("not-a-model", path, f"found instead: {what}", {"looks_like": what})
    if kind == "tf-checkpoint":
        path = path[: -len(".index")]
    return Found(path, kind, entry.name, folder.path, findings=(found,))


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def _modified(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat().st_mtime
    except OSError:
        return 0.0
