"""Whether a `checkpoint` state file tells the truth about the saves beside it.

Held against what TensorFlow's `latest_checkpoint` does with it: that asks only whether `PREFIX.index` (or a V1 file)
is there, so a state file is right as long as that is so, whatever the save itself is worth.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ckptui.core.model import Certainty, Finding, Found
from ckptui.core.sayings import says
from ckptui.readers.folder import Contents, Folder
from ckptui.readers.leftovers import modified_path
from ckptui.readers.notices import notice
from ckptui.readers.series import in_order, series_of
from ckptui.readers.state_file import State, read_state

SHOWN = 20
"""How many paths a finding carries."""
FOLDERS_LOOKED_AT = 16
"""Other folders that are listed to see whether saves named there exist."""
CLOCK = 2.0
"""Seconds by which times of files and recorded times may disagree."""
STARTED_OVER = 60.0
"""Seconds by which a save must be older than its state file before its higher step says nothing."""


@dataclass(slots=True)
class Case:
    """A state file, and what lies beside it."""

    folder: Folder
    name: str
    """The state file's own name, usually `checkpoint`."""
    state: State
    members: Sequence[Found]
    """The saves it speaks of, oldest first."""
    contents: Contents
    latest: Found | None
    """The save it names, if that is there."""
    leftover: list[str] = field(default_factory=list)
    """Names of new state files (`checkpoint.tmpHEX`) that were never renamed."""
    newest_wanted: bool = True
    """It is to name the newest save; a `checkpoint_best` is not."""

    @property
    def path(self) -> str:
        """Where the state file lies."""
        return self.folder.join(self.name)

    def whole(self) -> list[Found]:
        """The saves with nothing missing as far as names tell, oldest first."""
        return [found for found in self.members if found.path in self.contents.complete]


def newest_complete(saves: Sequence[Found], complete: set[str]) -> Found | None:
    """The newest save with nothing missing as far as names tell."""
    whole = [found for found in in_order(saves) if found.path in complete]
    return whole[-1] if whole else None


def judge(case: Case) -> list[Finding]:
    """What is wrong with a state file: about its latest save at most one finding, and one about saves that are gone.

    Where the latest save is among those that are gone, one finding tells both.
    """
    state = case.state
    if state.problem or not state.latest:
        return [_unreadable(case)]
    findings = []
    missing = case.latest is None or any(finding.code == "index-missing" for finding in case.latest.findings)
    if missing and not _came_since(case):
        findings.append(_not_there(case))
    reference = case.latest or next((m for m in case.members if m.label == os.path.basename(state.latest)), None)
    newer = _newer(case, reference) if reference and case.newest_wanted else []
    if newer and not any(finding.code == "state-dangling" for finding in findings):
        findings.append(_stale(case, newer, reference))
    gone = _gone(case)
    if gone and findings and findings[0].code == "state-dangling":
        # one finding, however many of the saves it lists are gone
        detail = f"{findings[0].detail}; {_gone_words(gone)}"
        listed = {"gone": gone[:SHOWN], "count": len(gone)}
        findings[0] = replace(findings[0], detail=detail, evidence={**findings[0].evidence, **listed})
    elif gone:
        findings.append(
            notice(
                "state-dangling",
                case.path,
                _gone_words(gone),
                {"gone": gone[:SHOWN], "count": len(gone)},
                severity="info",
                title="The state file lists saves that were removed",
                advice="Normal after old saves were cleaned up by hand.",
            )
        )
    return findings


def older_than_recorded(state: State, saves: Sequence[Found]) -> set[str]:
    """Paths of saves that were written before the latest one, whatever their step: an earlier training's.

    Proved by the time the state file recorded for its latest save; a copy can only make files look younger.
    """
    recorded = dict(zip((os.path.basename(path) for path in state.all_paths), state.timestamps, strict=False))
    reference = recorded.get(os.path.basename(state.latest), 0.0)
    if not reference:
        return set()
    return {s.path for s in saves if s.modified and recorded.get(s.label, s.modified + CLOCK) < reference}


def _restore_by_path(best: Found | None) -> str | None:
    return f"Restore by path: {best.path} is the newest whole save here." if best else None


def _unreadable(case: Case) -> Finding:
    state = case.state
    whole = case.whole()
    best = whole[-1] if whole else None
    detail = state.problem or "it names no save"
    evidence: dict[str, Any] = {
        "file": case.path,
        "problem": detail,
        "bytes": state.size,
        "looks_like": state.looks_like,
        "latest": state.stored_latest or None,
        "newest": best.path if best else None,
    }
    if state.says:
        evidence["tensorflow_says"] = says(state.says, folder=case.folder.path, file=case.path)
    return notice("state-dangling", case.path, detail, evidence, advice=_restore_by_path(best))


def _came_since(case: Case) -> bool:
    """Was its latest save written after the folder was listed? A training that runs writes both all the time.

    So fast at times that the save is gone again: then the state file names another one by now.
    """
    latest = case.state.latest
    if os.path.dirname(os.path.normpath(latest)) != os.path.normpath(case.folder.path):
        return False
    if exists_at(latest):
        return True
    try:
        return read_state(case.path).latest != latest
    except OSError:
        return True


def _not_there(case: Case) -> Finding:
    """The state file's latest save is not beside it: moved, elsewhere, or gone."""
    state = case.state
    name = os.path.basename(state.latest)
    beside = next((found for found in case.members if found.label == name), None)
    inside = os.path.dirname(os.path.normpath(state.latest)) == os.path.normpath(case.folder.path)
    exists = not inside and exists_at(state.latest)
    evidence: dict[str, Any] = {
        "file": case.path,
        "latest": state.stored_latest,
        "beside": beside.path if beside else None,
    }
    if not exists:
        evidence["tensorflow_says"] = says("no-match", prefix=state.latest)
    if not inside and (exists or beside is not None):
        if beside is not None:
            detail = f"it names {state.stored_latest}; a save of the same name lies beside it"
            if not exists:
                detail += ", and nothing is at that path"
        else:
            detail = f"it names {state.stored_latest}, in another folder"
        return notice("state-elsewhere", case.path, detail, evidence)
    whole = case.whole()
    best = whole[-1] if whole else None
    evidence["newest"] = best.path if best else None
    detail = f"it names {state.stored_latest}, which is not there"
    if beside is not None:
        detail = f"it names {state.stored_latest}, whose index is not there"
    return notice("state-dangling", case.path, detail, evidence, advice=_restore_by_path(best))


def _newer(case: Case, latest: Found) -> list[Found]:
    """Whole saves of the same series with a higher step that no recorded time proves older; oldest first."""
    if latest.step is None:
        return []
    stem, older = series_of(latest), older_than_recorded(case.state, case.members)
    return [
        found
        for found in case.whole()
        if found.step is not None and found.step > latest.step and series_of(found) == stem and found.path not in older
    ]


def _stale(case: Case, newer: Sequence[Found], latest: Found | None) -> Finding:
    """Newer whole saves than the one it names: the save ended before this file was written, or somebody edited it."""
    state = case.state
    last = newer[-1]
    named = {os.path.basename(path) for path in state.all_paths}
    unknown = [found.path for found in newer if found.label not in named]
    detail = f"it names {state.stored_latest}; {last.label} is newer"
    if last.path in unknown:
        detail += " and whole, and it does not mention it: the save ended before this file was rewritten"
    evidence: dict[str, Any] = {
        "file": case.path,
        "latest": state.stored_latest,
        "newer": [found.path for found in newer[-SHOWN:]],
        "count": len(newer),
        "newest": last.path,
        "unmentioned": unknown[-SHOWN:],
    }
    if case.leftover:
        evidence["files"] = case.leftover
        detail += f"; {case.leftover[0]} is the rewriting that was interrupted"
    certainty: Certainty = "confirmed"
    written = modified_path(case.path)
    if last.path in unknown and latest is not None and last.modified < min(written, latest.modified) - STARTED_OVER:
        detail += "; but its files are older: perhaps of an earlier training in this folder"
        certainty = "possible"
    advice = f"latest_checkpoint returns the older one; restore by path: {last.path}"
    return replace(notice("state-stale", case.path, detail, evidence, advice=advice), certainty=certainty)


def _gone_words(gone: Sequence[str]) -> str:
    if len(gone) == 1:
        return f"an older save it lists is gone, {gone[0]}"
    return f"{len(gone)} older saves it lists are gone, for example {gone[0]}"


def _gone(case: Case) -> list[str]:
    """Saves that the state file lists beside its latest and that are nowhere, as they stand in it."""
    there = {found.label for found in case.members}
    own = os.path.normpath(case.folder.path)
    folders: dict[str, set[str] | None] = {}
    gone = []
    for path, stored in zip(case.state.all_paths, case.state.stored_paths, strict=False):
        name, place = os.path.basename(path), os.path.dirname(path)
        if path == case.state.latest or name in there:
            continue
        if place != own and place not in folders and len(folders) < FOLDERS_LOOKED_AT:
            folders[place] = _names_in(place)
        others = set() if place == own else folders.get(place)
        if others is not None and others.isdisjoint((name, f"{name}.index", name.replace("?????", "00000"))):
            gone.append(stored)
    return gone


def _names_in(place: str) -> set[str] | None:
    """The names in a folder, none where it is gone; None where it can't be told."""
    try:
        return set(os.listdir(place))
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except (OSError, ValueError):
        return None


def exists_at(prefix: str) -> bool:
    """Whether a save stands at a prefix in any folder: an index, a V1 file or a V1 pattern's first shard."""
    if os.path.isfile(f"{prefix}.index") or os.path.isfile(prefix):
        return True
    return "-?????-of-" in prefix and os.path.isfile(prefix.replace("-?????-of-", "-00000-of-"))
