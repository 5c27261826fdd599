"""Runs: which saves of a folder are successive saves of one training, and whether its state file tells the truth.

A run is what a state file speaks of (`checkpoint`, or under whatever name a saver was told to write it), saves whose
names differ in their step only, or export versions (SavedModels in folders named by digits, as Estimators and
TensorFlow Serving number them).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ckptui.core.model import Finding, Found, RunFolder
from ckptui.core.names import natural_key
from ckptui.readers.folder import Contents, Folder
from ckptui.readers.leftovers import SHARD, STATE_FILE, Leftover, cleaned_up, interrupted
from ckptui.readers.series import CHECKPOINTS, counts_steps, in_order, series_of, series_of_name
from ckptui.readers.state_file import State, read_state
from ckptui.readers.state_judging import Case, judge, older_than_recorded

STATES_READ = 20
"""State files of one folder that are read; more lie in no folder of saves."""

LEFT_TOLD = 50
"""Leftovers of a folder that get a finding of their own."""

_WEIGHT_SHARD = re.compile(r"(.+)_[0-9]{5}\.weights\.h5", re.DOTALL)
_SOLE = ("hdf5", "saved-model", "meta-graph")
"""Kinds that make no run by their names."""


@dataclass(slots=True)
class Runs:
    """The runs of one folder, and its saves with the run each belongs to."""

    runs: list[RunFolder] = field(default_factory=list)
    saves: list[Found] = field(default_factory=list)
    notices: list[Finding] = field(default_factory=list)


def group_runs(folder: Folder, contents: Contents) -> Runs:
    """Find the runs among the saves of a folder, with its leftovers and what its state files say wrongly."""
    out = Runs(notices=list(contents.notices))
    rest, left = list(contents.saves), list(contents.leftovers)
    for name, state in _states(folder, contents):
        rest = _stated_run(folder, replace_saves(contents, rest), name, state, out, left)
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
    _tell_leftovers(folder, contents, out, left)
    return out


def replace_saves(contents: Contents, saves: list[Found]) -> Contents:
    """The same look at a folder, with only these saves."""
    return replace(contents, saves=saves)


def export_run(folder: Folder, names: Sequence[str], path: str) -> RunFolder:
    """The run that the version folders `names` under a folder are, oldest first."""
    ordered = sorted(names, key=lambda name: (len(name.lstrip("0")), name.lstrip("0"), name))
    return RunFolder(path, folder_label(folder.path), tuple(folder.join(name) for name in ordered))


def folder_label(path: str) -> str:
    """The name of a folder, also when it was given as `.`."""
    return os.path.basename(os.path.abspath(path)) or path


def _is_weight_shard(folder: Folder, found: Found) -> bool:
    """Whether this is one of the files Keras 3 splits the weights of a single save into."""
    shard = _WEIGHT_SHARD.fullmatch(found.label)
    return shard is not None and f"{shard[1]}.weights.json" in folder.files


def _series(saves: Sequence[Found]) -> dict[tuple[str, str], list[Found]]:
    """Saves that differ in their step only: at least two, each with another step.

    Plain HDF5 data makes a run only where its names speak of epochs or steps. Saves of one name in two formats whose
    steps take turns are one run: a training that kept whole models now and weights then.
    """
    groups: dict[tuple[str, str], list[Found]] = {}
    for found in saves:
        key = series_of(found) if found.kind not in _SOLE else None
        if found.kind == "hdf5":
            key = series_of(found)
            key = key if key is not None and counts_steps(key[0]) else None
        if key is not None:
            groups.setdefault(key, []).append(found)
    by_stem: dict[str, list[tuple[str, str]]] = {}
    for key in groups:
        by_stem.setdefault(key[0], []).append(key)
    for keys in by_stem.values():
        steps = [found.step for key in keys for found in groups[key]]
        if len(keys) > 1 and len(steps) == len(set(steps)) > 2:
            for key in keys[1:]:
                groups[keys[0]] += groups.pop(key)
    return {key: group for key, group in groups.items() if len({found.step for found in group}) > 1}


def _states(folder: Folder, contents: Contents) -> list[tuple[str, State]]:
    """The state files of a folder, `checkpoint` first; what bears that name beside no save and says nothing is none."""
    names = ([STATE_FILE] if STATE_FILE in folder.files else []) + contents.states
    out = []
    for name in names[:STATES_READ]:
        state = read_state(folder.join(name))
        near = any(found.kind in CHECKPOINTS for found in contents.saves)
        if near or (state.latest and not state.problem):
            out.append((name, state))
    return out


def _stated_run(
    folder: Folder, contents: Contents, name: str, state: State, out: Runs, left: list[Leftover]
) -> list[Found]:
    """Add the run a state file speaks of, or what it says wrongly to the run of another; returns the saves left over.

    Takes from `left` what is told with the state file, and adds what a clean-up left.
    """
    others = [found for found in out.saves if found.kind in CHECKPOINTS]
    checkpoints = [found for found in contents.saves if found.kind in CHECKPOINTS]
    main = not out.runs
    members = _members([*checkpoints, *others], state, everything=main)
    case = _case(folder, replace_saves(contents, [*checkpoints, *others]), name, state, members)
    # a pointer to the best save is no pointer to the newest
    case.newest_wanted = main and "best" not in name.lower()
    case.leftover = [f for item in left if item.of == name and item.kind == "save" for f in item.files]
    removed = _cleaned(folder, case) if case.newest_wanted else set()
    findings = judge(case)
    if any(finding.code == "state-stale" for finding in findings):
        left[:] = [item for item in left if item.of != name or item.kind != "save"]
    own = [found for found in in_order(members) if found.path not in removed and found.run == ""]
    if removed:
        names = sorted(f for f in folder.files if _belongs(f, {os.path.basename(path) for path in removed}))
        left.append(cleaned_up(folder.path, names, [folder.join(f) for f in names]))
    if not main and (not own or any(found.run for found in members)):
        # it points into a run that another state file leads already
        at = next((i for i, run in enumerate(out.runs) if run.path in {m.run for m in members}), 0)
        out.runs[at] = replace(out.runs[at], findings=(*out.runs[at].findings, *findings))
        return contents.saves
    older = older_than_recorded(state, own)
    last = case.latest.step if case.latest and case.latest.step is not None else None
    if last is not None:
        own.sort(key=lambda found: found.path not in older or (found.step or 0) <= last)
    latest = case.latest or next((m for m in members if m.label == os.path.basename(state.latest)), None)
    path, label = (folder.path, folder_label(folder.path)) if main else (folder.join(name), name)
    saves = tuple(found.path for found in own)
    out.runs.append(
        RunFolder(
            path, label, saves, latest.path if latest else "", case.path, state.stored_latest, (), tuple(findings)
        )
    )
    out.saves += [replace(found, run=path, latest=latest is not None and found.path == latest.path) for found in own]
    taken = {*saves, *removed}
    return [found for found in contents.saves if found.path not in taken]


def _members(checkpoints: Sequence[Found], state: State, *, everything: bool) -> list[Found]:
    """The checkpoints a state file speaks of: those it names and their series; all where it speaks of none there."""
    named = {os.path.basename(path) for path in (*state.all_paths, state.latest) if path}
    stems = {series_of(found) for found in checkpoints if found.label in named}
    stems |= {series_of_name(name) for name in named}
    stems.discard(None)
    members = [found for found in checkpoints if found.label in named or series_of(found) in stems]
    return members or (list(checkpoints) if everything else [])


def _case(folder: Folder, contents: Contents, name: str, state: State, members: Sequence[Found]) -> Case:
    by_path = {os.path.normpath(found.path): found for found in contents.saves if found.kind in CHECKPOINTS}
    latest = by_path.get(os.path.normpath(state.latest)) if state.latest else None
    return Case(folder, name, state, in_order(members), contents, latest)


def _cleaned(folder: Folder, case: Case) -> set[str]:
    """Paths of old saves that a clean-up began to delete: older than the latest, no longer listed, one half gone."""
    latest = case.latest
    if latest is None or latest.step is None or latest.path not in case.contents.complete or case.state.problem:
        return set()
    named = {os.path.basename(path) for path in case.state.all_paths}
    with_data = {match[1] for name in folder.files if (match := SHARD.fullmatch(name))}
    removed = set()
    for found in case.members:
        if found.kind != "tf-checkpoint" or found.step is None or found.step >= latest.step or found.label in named:
            continue
        lost_index = any(finding.code == "index-missing" for finding in found.findings)
        lost_data = not found.findings and found.label not in with_data
        if (lost_index or lost_data) and not any(f.code == "interrupted-save" for f in found.findings):
            removed.add(found.path)
    return removed


def _belongs(name: str, prefixes: set[str]) -> bool:
    shard = SHARD.fullmatch(name)
    return (shard[1] if shard else name.removesuffix(".index")) in prefixes and name not in prefixes


def _tell_leftovers(folder: Folder, contents: Contents, out: Runs, left: Sequence[Leftover]) -> None:
    """Give each run its leftovers, with a finding where no save tells of them; the others are notices."""
    whole = {found.label for found in contents.saves if found.path in contents.complete}
    known = [_names_of(run) for run in out.runs] if left or contents.told else []
    paths: dict[int, list[str]] = {}
    findings: dict[int | None, list[Finding]] = {}
    for number, item in enumerate([*left, *contents.told]):
        at = _run_of(folder, out.runs, known, item)
        if at is not None:
            paths.setdefault(at, []).extend(item.paths)
        if number >= len(left) or item.kind == "backup":
            continue
        note = f"{item.prefix} itself is whole" if item.prefix in whole or item.of in whole else ""
        of_run = findings.setdefault(at, [])
        if len(of_run) < LEFT_TOLD:
            of_run.append(_finding_of(item, note))
        else:
            of_run[-1] = _one_more(of_run[-1], item)
    out.notices += findings.pop(None, [])
    for at, run in enumerate(out.runs):
        every = (*run.findings, *findings.get(at, ()))
        out.runs[at] = replace(run, findings=every, leftovers=_unique((*run.leftovers, *paths.get(at, ()))))


def _one_more(last: Finding, item: Leftover) -> Finding:
    """The last finding of a folder full of leftovers, which counts the rest."""
    more = last.evidence.get("more", 0) + len(item.files)
    detail = last.detail.split(" (and ")[0] + f" (and {more} more files like it in this folder)"
    return replace(last, detail=detail, evidence={**last.evidence, "more": more})


def _finding_of(item: Leftover, note: str) -> Finding:
    if item.kind == "clean-up":
        note = "index or data of old saves the state file no longer lists; nothing that is wanted is lost"
    return interrupted(item, note=note)


def _names_of(run: RunFolder) -> set[str | tuple[str, str] | None]:
    """What ties a leftover to a run: the names of its saves and state file, and the series they are of."""
    labels = {os.path.basename(path) for path in run.saves}
    return {*labels, *map(series_of_name, labels), os.path.basename(run.state) or None}


def _run_of(
    folder: Folder, runs: Sequence[RunFolder], known: Sequence[set[str | tuple[str, str] | None]], item: Leftover
) -> int | None:
    """Which run leftovers belong to: that of their series, else the folder's own."""
    marks = {item.prefix, item.of, series_of_name(item.prefix)} - {None}
    at = next((at for at, names in enumerate(known) if not names.isdisjoint(marks)), None)
    return at if at is not None else next((at for at, run in enumerate(runs) if run.path == folder.path), None)


def _unique(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(paths))
