"""Walking folders for saves, and turning what a user has at hand into the one save that is meant.

Nothing is parsed beyond first bytes, zip directories and state files. Folder links are not followed (one given as
an argument is), so loops can't trap the walk; FIFOs and devices are never opened for reading.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace

from ckptui.core.model import Finding, Found, RunFolder
from ckptui.core.names import natural_key
from ckptui.errors import NotASave
from ckptui.readers.folder import Folder, is_orbax, look, read_folder
from ckptui.readers.leftovers import SAVED_MODEL_TRACES
from ckptui.readers.notices import notice
from ckptui.readers.numbered import numbered_runs
from ckptui.readers.resolving import WHAT_TO_TYPE, enclosing_saved_model, find_one, strip_slashes
from ckptui.readers.runs import export_run, group_runs
from ckptui.readers.sniff import SAVED_MODEL_FILES

SKIPPED = frozenset({".git", ".hg", ".svn", "__pycache__", "node_modules"})
"""Folders that are never walked, unless named by the user."""

SEVERAL = 100
"""How many saves are looked for before a folder counts as holding too many to choose from."""

Claims = dict[str, tuple[str, int | None]]
"""The run, and the step if a folder's name tells it, of saves by their path."""
_VERSION_TRACES = (*SAVED_MODEL_FILES, *SAVED_MODEL_TRACES, os.path.join("variables", "variables.index"))


def discover(
    paths: Iterable[str | os.PathLike[str]],
    *,
    recurse: bool = True,
    stop: Callable[[], bool] | None = None,
) -> Iterator[Found | RunFolder | Finding]:
    """Every save below `paths`, each run before its saves, and notices of what is no save but worth a word.

    A path that is no folder is taken as `resolve` takes it. `recurse` False stays in the folders given; `stop` is
    asked between folders. Python environments (a `pyvenv.cfg` inside) and version control folders are passed over.

    Raises:
        NoSuchPath, NotASave: one of the paths, before anything is yielded.
    """
    todo: list[str | Found] = []
    for path in paths:
        text = os.fspath(path)
        if os.path.isdir(text):
            todo.append(enclosing_saved_model(text) or strip_slashes(text))
        else:
            todo.append(resolve(text))
    return _walk(todo, recurse, stop)


def resolve(argument: str | os.PathLike[str]) -> Found:
    """The one save that `argument` stands for: a prefix, any file of a save, its folder, or a folder with one save.

    Raises:
        NoSuchPath: nothing is there.
        NotASave: no save is there, or several; the hint says what to type.
    """
    text = os.fspath(argument)
    found = find_one(text)
    if found is not None:
        return found
    saves: list[Found] = []
    for item in _walk([strip_slashes(text)], True, None):
        if isinstance(item, Found):
            saves.append(item)
            if len(saves) > SEVERAL:
                break
    if len(saves) == 1:
        return saves[0]
    if not saves:
        raise NotASave(text, WHAT_TO_TYPE)
    newest = sorted(saves, key=lambda save: (round(save.modified), save.step or 0))[-3:]
    count = f"{len(saves)}" if len(saves) <= SEVERAL else f"more than {SEVERAL}"
    names = ", ".join(save.path for save in reversed(newest))
    raise NotASave(f"{text} holds {count} saves", f"Name one: {names}", title="Several saves")


def look_into(path: str) -> tuple[list[Found | RunFolder | Finding], list[str]]:
    """What one folder holds, as `discover` tells it, and the folders below it that are worth a look of their own.

    Raises OSError where the folder can't be listed.
    """
    folder = read_folder(path)
    if is_orbax(folder) or "pyvenv.cfg" in folder.files:
        return [], []
    items: list[Found | RunFolder | Finding] = []
    visit = _visit(folder, {})
    while True:
        try:
            items.append(next(visit))
        except StopIteration as stop:
            names = sorted(folder.folders.keys() - stop.value - SKIPPED, key=natural_key)
            return items, [folder.join(name) for name in names]


def _walk(
    todo: Sequence[str | Found], recurse: bool, stop: Callable[[], bool] | None
) -> Iterator[Found | RunFolder | Finding]:
    named = {path for path in todo if isinstance(path, str)}
    stack = list(reversed(todo))
    seen: set[tuple[int, int]] = set()
    claims: Claims = {}
    while stack:
        if stop is not None and stop():
            return
        item = stack.pop()
        if isinstance(item, Found):
            yield item
            continue
        try:
            status = os.stat(item)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            folder = read_folder(item)
        except FileNotFoundError as error:
            if item in named:
                yield _closed(item, error)
            # else removed meanwhile: the temporary folder of a save that ended, an old export
            continue
        except OSError as error:
            yield _closed(item, error)
            continue
        if is_orbax(folder):
            yield _orbax(item)
            continue
        if "pyvenv.cfg" in folder.files and item not in named:
            continue
        inner = yield from _visit(folder, claims)
        if recurse:
            names = sorted(folder.folders.keys() - inner - SKIPPED, key=natural_key, reverse=True)
            stack.extend(folder.join(name) for name in names)


def _visit(folder: Folder, claims: Claims) -> Generator[Found | RunFolder | Finding, None, set[str]]:
    """Yield what one folder holds; returns the names of subfolders that belong to its saves.

    `claims` remembers, for folders still to be visited, the saves that belong to a run told of already.
    """
    contents = look(folder)
    grouped = group_runs(folder, contents)
    # a run of one save in a numbered folder is a step of the run above, which has its findings
    kept = [run for run in grouped.runs if not (run.saves and claims.keys() >= set(run.saves))]
    yield from kept
    versions = [name for name in folder.folders if name.isdigit() and name.isascii() and _is_version(folder, name)]
    own = any(run.path == folder.path for run in kept)
    if versions:
        run = export_run(folder, versions, folder.join("*") if own else folder.path)
        claims.update((path, (run.path, None)) for path in run.saves)
        yield run
    passed = {*versions, *contents.inner, *SKIPPED}
    for numbered in numbered_runs(folder, passed, alone=not (own or versions)):
        claims.update((path, (numbered.run.path, step)) for path, step in numbered.steps.items())
        yield numbered.run
    for found in grouped.saves:
        claim = claims.pop(found.path, None)
        if claim is not None:
            step = found.step if claim[1] is None else claim[1]
            found = replace(found, run=claim[0], step=step, latest=False)
        yield found
    yield from grouped.notices
    return contents.inner


def _is_version(folder: Folder, name: str) -> bool:
    path = folder.join(name)
    return any(os.path.isfile(os.path.join(path, trace)) for trace in _VERSION_TRACES)


def _closed(path: str, error: OSError) -> Finding:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return notice(
        "unreadable",
        path,
        f"{reason}: passed over",
        severity="warning",
        title="A folder that can't be looked into",
    )


def _orbax(path: str) -> Finding:
    return notice(
        "unsupported-format",
        path,
        "an Orbax checkpoint: recognised, not read",
        {"looks_like": "Orbax checkpoint"},
        title="Orbax checkpoint",
    )
