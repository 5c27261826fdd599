"""The rows of the tree of saves: runs, lone saves, other folders, notices. Pure."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from ckptui.core.model import Finding, Found, RunFolder
from ckptui.core.names import natural_key
from ckptui.ui.ledger import Ledger

MANY_ROWS = 30
"""With more rows than this, folders that are no runs start closed."""


@dataclass(frozen=True, slots=True)
class TreeRow:
    """One row."""

    kind: Literal["folder", "save", "notice"]
    key: str
    """Path of the folder, save or file."""
    label: str
    """Untrusted: a file's name."""
    depth: int = 0
    count: int = 0
    """Saves in a folder."""
    open: bool = True
    is_run: bool = False
    finding: Finding | None = None
    """What a notice says."""


@dataclass(slots=True)
class _Group:
    path: str
    run: RunFolder | None
    saves: list[Found]
    newest: float = 0.0


def common_root(paths: Iterable[str], folders: Iterable[str] = ()) -> str:
    """The folder that what the user named lies in or is, told by the `folders` saves were met in."""
    absolute = [os.path.abspath(path) for path in paths]
    root = os.path.commonpath(absolute) if absolute else os.getcwd()
    outside = any(not _below(os.path.abspath(folder), root) for folder in folders)
    return os.path.dirname(root) if outside else root


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def build_tree(ledger: Ledger, root: str, toggled: Collection[str]) -> list[TreeRow]:
    """Runs of the root first, newest save first in each; lone saves of the root; what lies deeper; then notices.

    `toggled` are folders the user has opened or closed against their default: where there are many rows, deeper
    ones start closed.
    """
    groups = _groups(ledger)
    many = len(ledger.saves) + len(groups) > MANY_ROWS
    rows: list[TreeRow] = []
    here = [g for g in groups if g.run is None and _same(g.path, root)]
    near = [g for g in groups if g.run is not None and _depth(g.path, root) <= 1]
    deeper = [g for g in groups if g not in here and g not in near]
    for group in sorted(near, key=lambda g: natural_key(g.path)):
        rows += _folder_rows(group, root, (group.path in toggled) is False)
    for group in here:
        rows += [TreeRow("save", s.path, s.label) for s in _in_order(group)]
    for group in sorted(deeper, key=lambda g: natural_key(g.path)):
        rows += _folder_rows(group, root, (group.path in toggled) is many)
    rows += [_notice_row(finding, root) for finding in ledger.notices]
    return rows


def _depth(path: str, root: str) -> int:
    """How many folders below the root; 0 for the root itself."""
    relative = os.path.relpath(os.path.abspath(path), os.path.abspath(root))
    return 0 if relative == "." else relative.count("/") + 1


def _groups(ledger: Ledger) -> list[_Group]:
    groups: dict[str, _Group] = {}
    for record in ledger.saves.values():
        found = record.found
        path = found.run or found.folder
        group = groups.setdefault(path, _Group(path, ledger.runs.get(found.run), []))
        group.saves.append(found)
        group.newest = max(group.newest, found.modified)
    for run in ledger.runs.values():
        groups.setdefault(run.path, _Group(run.path, run, []))
    return list(groups.values())


def _in_order(group: _Group) -> list[Found]:
    if group.run is None:
        return sorted(group.saves, key=lambda s: natural_key(s.label))
    place = {path: i for i, path in enumerate(group.run.saves)}
    return sorted(group.saves, key=lambda s: (-place.get(s.path, -1), s.label))


def _folder_rows(group: _Group, root: str, is_open: bool) -> list[TreeRow]:
    head = TreeRow(
        "folder",
        group.path,
        _relative(group.path, root),
        count=len(group.saves),
        open=is_open,
        is_run=group.run is not None,
    )
    if not is_open:
        return [head]
    return [head, *(TreeRow("save", s.path, s.label, depth=1) for s in _in_order(group))]


def _notice_row(finding: Finding, root: str) -> TreeRow:
    return TreeRow("notice", finding.artifact, _relative(finding.artifact, root), finding=finding)


def _same(path: str, root: str) -> bool:
    return os.path.abspath(path) == os.path.abspath(root)


def _relative(path: str, root: str) -> str:
    """The path as seen from the root; the root itself by its own name."""
    absolute, base = os.path.abspath(path), os.path.abspath(root)
    if absolute == base:
        return os.path.basename(base) or base
    return os.path.relpath(absolute, base) if _below(absolute, base) else absolute
