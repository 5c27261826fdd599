"""Runs: which saves of a folder are successive saves of one training, and whether its state file tells the truth.

A run is what a `checkpoint` state file speaks of, saves whose names differ in their step only, or export versions
(SavedModels in folders named by digits, as Estimators and TensorFlow Serving number them).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ckptui.core.model import Finding, Found, RunFolder
from ckptui.core.names import natural_key, step_of
from ckptui.readers.folder import STATE_FILE, Contents, Folder
from ckptui.readers.notices import notice
from ckptui.readers.state_file import State, read_state

CHECKPOINTS = ("tf-checkpoint", "tf-checkpoint-v1")
SHOWN = 20
"""How many paths a finding carries."""

_DIGITS = re.compile(r"[0-9]+")
_WEIGHT_SHARD = re.compile(r"(.+)_[0-9]{5}\.weights\.h5", re.DOTALL)
_STEP_WORD = re.compile(r"(?:^|[^A-Za-z0-9]|epochs?|steps?|ep|iter|iteration|ckpt|cp)$", re.IGNORECASE)


@dataclass(slots=True)
class Runs:
    """The runs of one folder, and its saves with the run each belongs to."""

    runs: list[RunFolder] = field(default_factory=list)
    saves: list[Found] = field(default_factory=list)
    notices: list[Finding] = field(default_factory=list)


def series_of(found: Found) -> tuple[str, str] | None:
    """What stays the same from save to save: the name before the step, and the suffix; None without a step."""
    name = found.label
    step = found.step
    if step is None:
        return None
    suffix = "" if found.kind in CHECKPOINTS else _suffix(name)
    places = [m for m in _DIGITS.finditer(name) if len(m[0]) <= 18 and int(m[0]) == step]
    if not places:
        return None
    after_word = [m for m in places if _STEP_WORD.search(name[: m.start()])]
    place = (after_word or places)[0]
    return name[: place.start()], suffix


def group_runs(folder: Folder, contents: Contents) -> Runs:
    """Find the runs among the saves of a folder."""
    out = Runs()
    rest = list(contents.saves)
    state = _state(folder, rest)
    if state is not None:
        run = _stated_run(folder, contents, state)
        members = set(run.saves)
        out.saves += [
            replace(found, run=run.path, latest=found.path == run.latest) for found in rest if found.path in members
        ]
        rest = [found for found in rest if found.path not in members]
        leftovers = tuple(f for f in contents.notices if f.code == "interrupted-save")
        out.runs.append(replace(run, findings=(*run.findings, *leftovers)))
        out.notices = [f for f in contents.notices if f.code != "interrupted-save"]
    else:
        out.notices = list(contents.notices)
    series = _series([found for found in rest if not _is_weight_shard(folder, found)])
    for (stem, _), members_of in series.items():
        several = bool(out.runs) or len(series) > 1
        path = folder.join(f"{stem}*") if several else folder.path
        label = f"{stem}*" if several else folder_label(folder.path)
        ordered = in_order(members_of)
        out.runs.append(RunFolder(path, label, tuple(found.path for found in ordered)))
        out.saves += [replace(found, run=path) for found in ordered]
    placed = {found.path for found in out.saves}
    out.saves += [found for found in rest if found.path not in placed]
    out.saves.sort(key=lambda found: natural_key(found.label))
    return out


def export_run(folder: Folder, names: Sequence[str], path: str) -> RunFolder:
    """The run that the version folders `names` under a folder are, oldest first."""
    ordered = sorted(names, key=lambda name: (len(name.lstrip("0")), name.lstrip("0"), name))
    return RunFolder(path, folder_label(folder.path), tuple(folder.join(name) for name in ordered))


def in_order(saves: Sequence[Found]) -> list[Found]:
    """Oldest first: by step where names carry one, else by time."""
    return sorted(saves, key=lambda s: (s.step is not None, s.step or 0, s.modified, natural_key(s.label)))


def folder_label(path: str) -> str:
    """The name of a folder, also when it was given as `.`."""
    return os.path.basename(os.path.abspath(path)) or path


def newest_complete(saves: Sequence[Found], complete: set[str]) -> Found | None:
    """The newest save with nothing missing as far as names tell."""
    whole = [found for found in in_order(saves) if found.path in complete]
    return whole[-1] if whole else None


def _is_weight_shard(folder: Folder, found: Found) -> bool:
    """Whether this is one of the files Keras 3 splits the weights of a single save into."""
    shard = _WEIGHT_SHARD.fullmatch(found.label)
    return shard is not None and f"{shard[1]}.weights.json" in folder.files


def _suffix(name: str) -> str:
    lower = name.lower()
    return ".weights.h5" if lower.endswith(".weights.h5") else os.path.splitext(lower)[1]


def _series(saves: Sequence[Found]) -> dict[tuple[str, str], list[Found]]:
    """Saves that differ in their step only: at least two, each with another step. Plain HDF5 data makes no run."""
    groups: dict[tuple[str, str], list[Found]] = {}
    for found in saves:
        key = series_of(found) if found.kind not in ("hdf5", "saved-model", "meta-graph") else None
        if key is not None:
            groups.setdefault(key, []).append(found)
    return {key: group for key, group in groups.items() if len({found.step for found in group}) > 1}


def _state(folder: Folder, saves: Sequence[Found]) -> State | None:
    """The state file's content; None without one, or where nothing makes it a state file."""
    if STATE_FILE not in folder.files:
        return None
    path = folder.join(STATE_FILE)
    state = read_state(path)
    near = any(found.kind in CHECKPOINTS for found in saves)
    return state if near or (state.latest and not state.problem) else None


def _stated_run(folder: Folder, contents: Contents, state: State) -> RunFolder:
    checkpoints = [found for found in contents.saves if found.kind in CHECKPOINTS]
    by_path = {os.path.normpath(found.path): found for found in checkpoints}
    by_name = {os.path.basename(path): found for path, found in by_path.items()}
    named = [os.path.basename(path) for path in (*state.all_paths, state.latest) if path]
    stems = {series_of(found) for found in checkpoints if found.label in named}
    stems |= {_series_of_name(name) for name in named}
    stems.discard(None)
    members = [found for found in checkpoints if found.label in named or series_of(found) in stems] or checkpoints
    latest = by_path.get(os.path.normpath(state.latest)) if state.latest else None
    findings = _judge(folder, contents, state, members, latest)
    if latest is None and state.latest:
        latest = by_name.get(os.path.basename(state.latest))
    return RunFolder(
        path=folder.path,
        label=folder_label(folder.path),
        saves=tuple(found.path for found in in_order(members)),
        latest=latest.path if latest else "",
        findings=tuple(findings),
    )


def _series_of_name(name: str) -> tuple[str, str] | None:
    return series_of(Found("", "tf-checkpoint", name, "", step_of(name)))


def _judge(
    folder: Folder, contents: Contents, state: State, members: Sequence[Found], latest: Found | None
) -> list[Finding]:
    """What is wrong with a state file: one finding about its latest save, one about newer, one about gone."""
    path = folder.join(STATE_FILE)
    if state.problem or not state.latest:
        best = newest_complete(members, contents.complete)
        detail = state.problem or "it names no save"
        advice = f"Restore by path: {best.path} is the newest whole save here." if best else None
        return [notice("state-dangling", path, detail, {"problem": detail}, advice=advice)]
    findings = []
    if latest is None or any(finding.code == "index-missing" for finding in latest.findings):
        findings.append(_not_there(folder, contents, state, members))
    reference = latest or next((m for m in members if m.label == os.path.basename(state.latest)), None)
    newer = _newer(members, contents.complete, reference) if reference else []
    if newer:
        evidence = {"latest": state.stored_latest, "newer": [found.path for found in newer[:SHOWN]]}
        detail = f"it names {state.stored_latest}; {newer[-1].label} is newer"
        findings.append(notice("state-stale", path, detail, evidence))
    gone = _gone(folder, state, members)
    if gone:
        detail = f"{len(gone)} older saves it lists are gone, for example {gone[0]}"
        findings.append(
            notice(
                "state-dangling",
                path,
                detail,
                {"gone": gone[:SHOWN], "count": len(gone)},
                severity="info",
                title="The state file lists saves that were removed",
                advice="Normal after old saves were cleaned up by hand.",
            )
        )
    return findings


def _not_there(folder: Folder, contents: Contents, state: State, members: Sequence[Found]) -> Finding:
    """The state file's latest save is not beside it: moved, elsewhere, or gone."""
    path = folder.join(STATE_FILE)
    name = os.path.basename(state.latest)
    beside = next((found for found in members if found.label == name), None)
    inside = os.path.dirname(os.path.normpath(state.latest)) == os.path.normpath(folder.path)
    exists = not inside and _exists(state.latest)
    evidence = {"latest": state.stored_latest, "beside": beside.path if beside else None}
    if not inside and (exists or beside is not None):
        if beside is not None:
            detail = f"it names {state.stored_latest}; a save of the same name lies beside it"
            if not exists:
                detail += ", and nothing is at that path"
        else:
            detail = f"it names {state.stored_latest}, in another folder"
        return notice("state-elsewhere", path, detail, evidence)
    best = newest_complete(members, contents.complete)
    evidence["newest"] = best.path if best else None
    detail = f"it names {state.stored_latest}, which is not there"
    if beside is not None:
        detail = f"it names {state.stored_latest}, whose index is not there"
    advice = f"Restore by path: {best.path} is the newest whole save here." if best else None
    return notice("state-dangling", path, detail, evidence, advice=advice)


def _newer(members: Sequence[Found], complete: set[str], latest: Found) -> list[Found]:
    """Whole saves of the same series with a higher step; times say nothing after a copy."""
    if latest.step is None:
        return []
    stem = series_of(latest)
    later = [
        found
        for found in members
        if found.step is not None and found.step > latest.step and found.path in complete and series_of(found) == stem
    ]
    return in_order(later)


def _gone(folder: Folder, state: State, members: Sequence[Found]) -> list[str]:
    there = {found.label for found in members}
    gone = []
    for path, stored in zip(state.all_paths, state.stored_paths, strict=False):
        if path == state.latest or os.path.basename(path) in there:
            continue
        if os.path.dirname(path) == os.path.normpath(folder.path) or not _exists(path):
            gone.append(stored)
    return gone


def _exists(prefix: str) -> bool:
    """Whether a save stands at a prefix in any folder: an index, a V1 file or a V1 pattern's first shard."""
    if os.path.isfile(f"{prefix}.index") or os.path.isfile(prefix):
        return True
    return "-?????-of-" in prefix and os.path.isfile(prefix.replace("-?????-of-", "-00000-of-"))
