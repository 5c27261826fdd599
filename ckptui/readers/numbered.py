"""Runs whose saves lie in a folder each: `epoch_3/model.keras`, `step_1000/ckpt.index`, `checkpoints/1000/`.

Numbers alone say nothing of a training: cross validation numbers its folds, a data set its classes. The names must say
what they count, or be nothing but the number; and the folders must hold the same save each.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass, replace

from ckptui.core.model import Finding, Found, RunFolder
from ckptui.core.names import natural_key, step_of
from ckptui.readers.folder import Folder, is_saved_model, look, read_folder, saved_model
from ckptui.readers.leftovers import of_a_save
from ckptui.readers.runs import folder_label, group_runs
from ckptui.readers.series import series_of

COUNTS = re.compile(
    r"(?i)(?:.*[^a-z])?(?:epochs?|ep|(?:global_?)?steps?|iter|iteration|ckpt|cp|checkpoints?|snapshots?|saves?)[-_.= ]?"
)
"""How a folder's name goes on until its number where that is a step."""
_OTHER_COUNTS = re.compile(r"(?i).*(fold|seed|trial|split|class|member|ensemble|agent|client|user|subject|patient).*")
"""A folder of numbered folders that are no steps."""
INSIDE = 3
"""Subfolders of a numbered folder that may be its one exported model."""
MOST = 10_000
"""Numbered folders of one folder that are looked into before the walk comes to them."""


@dataclass(frozen=True, slots=True)
class NumberedRun:
    """A run with a folder for each save."""

    run: RunFolder
    steps: dict[str, int]
    """Of each save, by its path."""


@dataclass(slots=True)
class _Member:
    path: str
    step: int
    findings: tuple[Finding, ...]
    leftovers: tuple[str, ...]


def numbered_runs(folder: Folder, passed: Collection[str], *, alone: bool) -> list[NumberedRun]:
    """The runs among the folders in `folder`, those of the names `passed` left out.

    `alone`: no other run has the folder's own path; a single run found here is given it.
    """
    members: dict[tuple[str, str], list[_Member]] = {}
    for stem, names in _groups(folder, passed).items():
        for name, step in names[:MOST]:
            for key, member in _saves_in(folder.join(name), step):
                members.setdefault((stem, key), []).append(member)
    series = {key: found for key, found in members.items() if len({m.step for m in found}) == len(found) > 1}
    stems = [stem for stem, _ in series]
    out = []
    for (stem, inside), found in series.items():
        pattern = f"{stem}*" if stems.count(stem) == 1 else f"{stem}*/{inside or '.'}"
        own = alone and len(series) == 1
        found.sort(key=lambda member: member.step)
        findings = tuple(finding for member in found for finding in member.findings)
        leftovers = tuple(dict.fromkeys(path for member in found for path in member.leftovers))
        run = RunFolder(
            folder.path if own else folder.join(pattern),
            folder_label(folder.path) if own else pattern,
            tuple(member.path for member in found),
            leftovers=leftovers,
            findings=findings,
        )
        out.append(NumberedRun(run, {member.path: member.step for member in found}))
    return out


def as_member(found: Found, run: RunFolder, folder: str) -> Found:
    """A save as part of a run of `folder`: where it lies in a numbered folder of its own, that has the step."""
    first, _, inside = os.path.relpath(found.path, folder).partition("/")
    step = step_of(first) if inside and first != os.pardir else None
    return replace(found, run=run.path, step=found.step if step is None else step)


def _groups(folder: Folder, passed: Collection[str]) -> dict[str, list[tuple[str, int]]]:
    """Names of folders that differ in a step only, with the step, by what comes before it; two at least."""
    groups: dict[str, list[tuple[str, int]]] = {}
    other = _OTHER_COUNTS.fullmatch(os.path.basename(os.path.abspath(folder.path))) is not None
    for name in sorted(folder.folders.keys() - set(passed), key=natural_key):
        number = re.search(r"[0-9]+$", name)
        step = step_of(name)
        if number is None or step is None or int(number[0][-18:]) != step:
            continue
        stem = name[: number.start()]
        if COUNTS.fullmatch(stem) if stem else not other:
            groups.setdefault(stem, []).append((name, step))
    return {stem: names for stem, names in groups.items() if len(names) > 1}


def _saves_in(path: str, step: int) -> list[tuple[str, _Member]]:
    """The saves of one numbered folder that are no run of their own, each with what it is called in all of them."""
    try:
        folder = read_folder(path)
        if not folder.folders and not any(map(_hopeful, folder.files)):
            # classes of a data set, a thousand of them: their files are looked at once, not twice
            return []
        contents = look(folder)
        grouped = group_runs(folder, contents)
        exports = [] if contents.saves or len(folder.folders) > INSIDE else _exports(folder)
    except OSError:
        return []
    whole_runs = {run.path: run for run in grouped.runs}
    out = []
    for found in (*grouped.saves, *exports):
        run = whole_runs.get(found.run)
        if run is not None and len(run.saves) > 1:
            continue
        findings, leftovers = (run.findings, run.leftovers) if run is not None else ((), ())
        out.append((_called(found, path, step), _Member(found.path, step, findings, leftovers)))
    return out


def _hopeful(name: str) -> bool:
    """Whether a file's name is one that a save's has; those of V1 checkpoints have no end of their own."""
    return of_a_save(name) or "ckpt" in name or "checkpoint" in name or "model" in name


def _exports(folder: Folder) -> list[Found]:
    below = (read_folder(folder.join(name)) for name in sorted(folder.folders))
    return [saved_model(inner) for inner in below if is_saved_model(inner)]


def _called(found: Found, path: str, step: int) -> str:
    """The save's name under its folder, without the step and the metric that it may carry."""
    inside = os.path.relpath(found.path, path)
    if inside == os.curdir:
        return ""
    series = series_of(found) if found.step == step else None
    return f"{series[0]}*{series[1]}" if series else inside
