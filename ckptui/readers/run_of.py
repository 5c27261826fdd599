"""From a path a user has at hand to the run it means, and from a run to its saves."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ckptui.core.model import Found, RunFolder
from ckptui.errors import CkptuiError, NotASave, UsageError
from ckptui.readers.discover import discover
from ckptui.readers.folder import is_saved_model, read_folder
from ckptui.readers.keras_found import is_keras_folder
from ckptui.readers.numbered import as_member
from ckptui.readers.resolving import enclosing_saved_model, find_one, strip_slashes

RUNS_NAMED = 12
"""Runs that a message lists to choose from; the search ends with one more."""
SEVERAL = "Name a folder with several saves of one training; `ckptui show` is about one"
LONE = "No run"
DEEP = 2
"""How far above a run's own path its folder may lie: `run/epoch_*/generator.h5`."""


def run_at(path: str | os.PathLike[str]) -> RunFolder:
    """The run that `path` means: its folder, its own path where a folder holds several, its state file, a save of it.

    Of several runs in a folder the one that is led by the state file `checkpoint` is meant.

    Raises:
        UsageError: the folder holds several runs; the hint names them.
        NoSuchPath, NotASave: nothing is there, or no run.
    """
    text = os.fspath(path)
    if os.path.isdir(text):
        whole = strip_slashes(text)
        run = _with_save(whole) if is_saved_model(read_folder(whole)) else None
        run = run or _in_folder(whole, 1) or _of_its_one_save(whole)
        if run is None:
            raise NotASave(f"{text} holds no successive saves of one training", SEVERAL, title=LONE)
        return run
    named = named_run(text)
    if named is not None:
        return named
    save = find_one(text)
    run = _with_save(save.path) if save else None
    if run is None:
        raise NotASave(f"{text} is one save and belongs to no run", SEVERAL, title=LONE)
    return run


def _of_its_one_save(folder: str) -> RunFolder | None:
    """The run above a folder that holds one save of it."""
    try:
        saves = [item for item in discover([folder], recurse=False) if isinstance(item, Found)]
    except CkptuiError:
        return None
    return _with_save(saves[0].path) if len(saves) == 1 else None


def _with_save(path: str) -> RunFolder | None:
    """The run that has this save: of its own folder, or of those above, as numbered folders lie in one."""
    wanted = os.path.normpath(path)
    if not os.path.dirname(wanted):
        # `.` has a folder above it, and `epoch_1.h5` perhaps a run
        wanted = os.path.abspath(wanted) if os.path.isdir(wanted) else wanted
    folder = wanted
    lone: RunFolder | None = None
    for _ in range(DEEP + 1):
        folder = os.path.dirname(folder)
        for run in _runs(folder, False):
            if wanted in map(os.path.normpath, run.saves):
                if len(run.saves) > 1:
                    return run
                lone = lone or run
        if not folder or folder == os.path.dirname(folder):
            break
    return lone


def run_or_none(path: str | os.PathLike[str]) -> RunFolder | None:
    """The run that `path` means, with at least two saves; None where it means one save, or nothing that is there.

    Raises:
        UsageError: the folder holds several runs; the hint names them.
    """
    text = os.fspath(path)
    if not os.path.isdir(text):
        run = named_run(text)
        return run if run is not None and len(run.saves) > 1 and run.state != text else None
    whole = strip_slashes(text)
    try:
        folder = read_folder(whole)
    except OSError:
        return None
    if is_saved_model(folder) or is_keras_folder(folder) or enclosing_saved_model(whole) is not None:
        return None
    return _in_folder(whole, 2)


def saves_of(run: RunFolder) -> tuple[Found, ...]:
    """What a look at each save of a run tells now, oldest first; those that are gone are left out."""
    folder = folder_of(run)
    seen: dict[str, Found] = {}
    try:
        for item in discover([folder], recurse=False):
            if isinstance(item, Found):
                seen[os.path.normpath(item.path)] = item
    except CkptuiError:
        pass
    out = []
    for path in run.saves:
        found = seen.get(os.path.normpath(path))
        if found is None:
            try:
                found = find_one(path)
            except CkptuiError:
                continue
        if found is not None:
            out.append(as_member(found, run, folder))
    return tuple(out)


def folder_of(run: RunFolder) -> str:
    """The folder that a run's saves lie in, or the folders of its saves."""
    folder = run.path
    for _ in range(DEEP):
        if os.path.isdir(folder or "."):
            break
        folder = os.path.dirname(folder)
    return folder or "."


def _in_folder(folder: str, least: int) -> RunFolder | None:
    """The one run of a folder, else of the folders below it."""
    for below in (False, True):
        runs = [run for run in _runs(folder, below) if len(run.saves) >= least]
        own = [run for run in runs if os.path.normpath(run.path) == os.path.normpath(folder)]
        if len(runs) == 1 or own:
            return (own or runs)[0]
        if runs:
            raise _several(folder, runs)
    return None


def _runs(folder: str, below: bool) -> list[RunFolder]:
    runs: list[RunFolder] = []
    try:
        for item in discover([folder or "."], recurse=below, stop=lambda: len(runs) > RUNS_NAMED):
            if isinstance(item, RunFolder):
                runs.append(item)
    except CkptuiError:
        return []
    return runs


def named_run(path: str) -> RunFolder | None:
    """The run whose own path or state file this is."""
    wanted = os.path.normpath(path)
    parent = wanted
    for _ in range(DEEP):
        parent = os.path.dirname(parent)
        if os.path.isdir(parent or "."):
            runs = _runs(parent, False)
            ways = ([run.path for run in runs], [run.state for run in runs])
            for way in ways:
                for run, own in zip(runs, way, strict=True):
                    if own and os.path.normpath(own) == wanted:
                        return run
            return None
    return None


def _several(folder: str, runs: Sequence[RunFolder]) -> UsageError:
    names = [run.path for run in runs[:RUNS_NAMED]]
    more = " or another" if len(runs) > RUNS_NAMED else ""
    count = f"more than {RUNS_NAMED}" if more else f"{len(runs)}"
    return UsageError(f"{folder} holds {count} runs", f"Name one: {', '.join(names)}{more}", title="Several runs")
