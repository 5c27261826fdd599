"""Event files that belong to a run: where they lie, and the curves that those of each folder give together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from ckptui.core.curves import POINTS, Curve, importance
from ckptui.core.model import Finding, RunFolder, Scalars
from ckptui.core.names import natural_key
from ckptui.errors import CkptuiError
from ckptui.readers.events import Trouble, records, scalars
from ckptui.readers.notices import notice
from ckptui.readers.run_of import folder_of
from ckptui.readers.source import Source

MARK = ".tfevents."
LEVELS = 2
"""How far below a run's folder event files are looked for."""
FOLDERS = 200
"""Folders looked into for one run."""
FILES = 1000
"""Event files read of one folder, the newest by name."""
TAGS = 1000
"""Curves of one folder; those met first."""
ALL_POINTS = 1_000_000
"""Points kept of all curves of one folder together."""
BESIDE = ("logs", "log", "tb", "tensorboard", "tb_logs", "events", "summaries", "summary")
"""Where else than in a run's folder its curves are kept, beside it."""
UNCOUNTED = frozenset({*BESIDE, "fit", "runs"})
"""Folders that are no level of their own: `logs/fit/20240101-120000/train`."""
PARTS = ("train", "training", "validation", "val", "eval", "test")
_PASSED = frozenset({".git", "__pycache__", "variables", "assets", "plugins"})


@dataclass(frozen=True, slots=True)
class Curves:
    """The curves of a run, most important first, and what was wrong with their files."""

    scalars: tuple[Scalars, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True)
class _Gathered:
    curves: dict[str, Curve] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def curves_of(run: RunFolder, cancelled: Callable[[], bool] = bool) -> Curves:
    """Every scalar curve of the event files in a run's folder, below it, or beside it where it has none.

    Files of one folder are one curve per tag: where a training was started again, the value that was written later
    stands for a step. A file that can't be read gives a finding, a torn last record none.
    """
    out: list[Scalars] = []
    findings: list[Finding] = []
    for source, files in event_folders(run):
        gathered = _gather(files, cancelled)
        findings += gathered.findings
        out += [made for tag, curve in gathered.curves.items() if (made := _merged(tag, source, curve)).steps]
    return Curves(tuple(sorted(out, key=importance)), tuple(findings))


def event_folders(run: RunFolder) -> list[tuple[str, list[str]]]:
    """Folders with event files of a run, by their path under the run's own, each with its files in order of time."""
    home = folder_of(run)
    own = list(_below(home, "", LEVELS))
    if own:
        return own
    parent = os.path.normpath(os.path.join(home, os.pardir))
    name = os.path.basename(os.path.abspath(home))
    found: list[tuple[str, list[str]]] = [(os.pardir, files)] if (files := _files(parent)[0]) else []
    for part in PARTS:
        found += _below(os.path.join(parent, part), f"../{part}", 0)
    for place in BESIDE:
        base = os.path.join(parent, place)
        mine = os.path.join(base, name)
        if os.path.isdir(mine):
            found += _below(mine, f"../{place}/{name}", LEVELS)
        else:
            found += _below(base, f"../{place}", LEVELS)
    return found[:FOLDERS]


def _below(base: str, label: str, levels: int) -> Iterator[tuple[str, list[str]]]:
    """(label, event files) of a folder and those up to `levels` below; what can't be looked into is passed over."""
    todo, looked = [(base, label, levels)], 0
    while todo and looked < FOLDERS:
        path, source, left = todo.pop(0)
        looked += 1
        files, folders = _files(path)
        if files:
            yield source, files
        if left:
            todo += [
                (os.path.join(path, name), f"{source}/{name}" if source else name, left - (name not in UNCOUNTED))
                for name in folders
            ]


def _files(path: str) -> tuple[list[str], list[str]]:
    """Event files of a folder, in order, and the names of its subfolders; links to folders are not followed."""
    files, folders = [], []
    try:
        with os.scandir(path or ".") as entries:
            for entry in entries:
                if MARK in entry.name:
                    files.append(entry.name)
                elif entry.is_dir(follow_symlinks=False) and entry.name not in _PASSED:
                    folders.append(entry.name)
    except OSError:
        return [], []
    files.sort(key=natural_key)
    return [os.path.join(path, name) for name in files[-FILES:]], sorted(folders, key=natural_key)[:FOLDERS]


def _gather(files: Iterable[str], cancelled: Callable[[], bool]) -> _Gathered:
    gathered = _Gathered()
    curves = gathered.curves
    for path in files:
        if cancelled():
            break
        trouble = Trouble()
        try:
            with Source(path) as source:
                for event in records(source, trouble, cancelled):
                    for scalar in scalars(event):
                        curve = curves.get(scalar.tag)
                        if curve is None:
                            if len(curves) >= TAGS:
                                continue
                            curve = curves[scalar.tag] = Curve()
                        curve.add(scalar.step, scalar.wall, scalar.value, min(POINTS, ALL_POINTS // len(curves)))
        except CkptuiError as error:
            gathered.findings.append(notice("unreadable", path, error.detail, severity="info"))
        if trouble.bad or trouble.stopped is not None:
            gathered.findings.append(_told(path, trouble))
    return gathered


def _merged(tag: str, source: str, curve: Curve) -> Scalars:
    """The curve by step; of two values for a step the one written later, of those written at once the last."""
    best: dict[int, tuple[float, float]] = {}
    for step, wall, value in curve:
        known = best.get(step)
        if known is None or not wall < known[0]:
            best[step] = wall, value
    steps = tuple(sorted(best))
    return Scalars(tag, source, steps, tuple(best[s][1] for s in steps), tuple(best[s][0] for s in steps))


def _told(path: str, trouble: Trouble) -> Finding:
    """No save is at risk, a curve has a hole: a note."""
    said = []
    if trouble.bad:
        said.append(f"{trouble.bad} records fail their checksum, the first at byte {trouble.first_bad}: passed over")
    if trouble.stopped is not None:
        said.append(f"the length at byte {trouble.stopped} fails its checksum: nothing behind it is read")
    return notice(
        "checksum-mismatch",
        path,
        "; ".join(said),
        {"records": trouble.bad, "first": trouble.first_bad if trouble.bad else None, "stopped": trouble.stopped},
        severity="info",
        title="A damaged event file",
        advice="The curve has a hole there; the saves are not affected.",
    )
