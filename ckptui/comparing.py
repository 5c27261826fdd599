"""The commands that hold saves against each other: two (`diff`, `digest`), or all of a run (`timeline`)."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ckptui import comparison_output, timeline_output
from ckptui.comparison_view import CONFIG, DiffView, is_difference
from ckptui.core.curves import aligned
from ckptui.core.digest import Digest
from ckptui.core.model import (
    SEVERITY_RANK,
    DiffReport,
    Finding,
    Listing,
    Origin,
    Progress,
    RunFolder,
    SaveColumn,
    TimelineReport,
    TimelineStart,
)
from ckptui.core.report import PAIR_STATUSES
from ckptui.core.text import safe
from ckptui.errors import CkptuiError, NotASave, UsageError
from ckptui.gathering import listing_of, regular, require_match, unopened_artifact
from ckptui.narrator import Narrator
from ckptui.output import Answer
from ckptui.session import Session

CURVES_WAIT = 0.3
"""Seconds that the first line waits for the loss."""


@dataclass(frozen=True, slots=True)
class DiffOptions:
    """What of a diff is shown, and what counts."""

    match: str | None = None
    only: tuple[str, ...] = ()
    fail_above: float | None = None
    markdown: bool = False
    weights: bool = False
    """The model's weights alone."""


@dataclass(slots=True)
class _Side:
    """One side of a diff as it was given."""

    given: str
    listing: Listing
    digest: Digest | None = None
    run: RunFolder | None = None
    """The run whose save this is, where a run was given."""

    @property
    def source(self) -> str:
        """What to print for a path on another box."""
        name = "standard input" if self.given == "-" else self.given
        return f"{self.listing.artifact.path} (digest: {name})" if self.digest is not None else ""


def diff(a: str, b: str, options: DiffOptions = DiffOptions()) -> Answer:
    """`ckptui diff`."""
    regular(options.match)
    if a == b == "-":
        raise UsageError("standard input holds one digest", "Give the other side as a file")
    narrator, notes = Narrator(), list[str]()
    report: DiffReport | None = None
    with Session() as session:
        try:
            first, second, origin = _sides(session, a, b, narrator, notes)
            listings = first.listing, second.listing
            require_match([t for one in listings for t in one.tensors], options.match, f"{a} or {b}", own=True)
            sides = first.digest or first.listing, second.digest or second.listing
            for item in session.diff(*sides, pattern=options.match, weights=options.weights):
                if isinstance(item, Progress):
                    narrator.progress("diff", item)
                elif isinstance(item, DiffReport):
                    report = item
        finally:
            narrator.close()
    assert report is not None
    told = [f for one in listings for f in one.findings if f not in report.findings]
    done = replace(report, findings=(*told, *report.findings), origin=origin)
    view = DiffView(
        done,
        *listings,
        only=options.only,
        fail_above=options.fail_above,
        in_full=options.match is not None,
        weights=options.weights,
        sources={letter: side.source for letter, side in (("A", first), ("B", second)) if side.source},
    )
    configured = any(f.code == CONFIG and SEVERITY_RANK[f.severity] > 0 for f in done.findings)
    return Answer(
        lambda: comparison_output.diff_document(view),
        lambda: comparison_output.diff_markdown(view) if options.markdown else comparison_output.diff_text(view),
        done.findings,
        differs=configured or any(is_difference(p, options.fail_above) for p in done.pairs),
        notes=notes,
    )


def _sides(
    session: Session, a: str, b: str, narrator: Narrator, notes: list[str]
) -> tuple[_Side, _Side, Origin | None]:
    """Both sides: digests, saves, and of runs the save that the other side was made from, else the latest."""
    given = [_given(session, a), _given(session, b)]
    one, other = given
    if isinstance(one, RunFolder) and isinstance(other, _Side):
        one, origin = _of_run(session, one, other, narrator, notes)
        return one, other, origin
    if isinstance(other, RunFolder) and isinstance(one, _Side):
        other, origin = _of_run(session, other, one, narrator, notes)
        return one, other, origin
    sides = [_latest(session, side, notes) if isinstance(side, RunFolder) else side for side in given]
    return sides[0], sides[1], None


def _given(session: Session, path: str) -> _Side | RunFolder:
    digest = session.digest_or_none(path)
    if digest is not None:
        return _Side(path, digest.listing, digest)
    run = session.run_or_none(path)
    return run if run is not None else _Side(path, listing_of(session, path))


def _of_run(
    session: Session, run: RunFolder, other: _Side, narrator: Narrator, notes: list[str]
) -> tuple[_Side, Origin | None]:
    """The save of a run that the other side was made from, or the nearest; of its own saves the latest."""
    path = other.listing.artifact.path
    if other.digest is not None:
        notes.append(f"which save of {safe(run.path)} a digest was made from is not looked for")
        return _latest(session, run, notes), None
    if os.path.realpath(path) in map(os.path.realpath, run.saves):
        return _latest(session, run, notes), None
    origin: Origin | None = None
    for item in session.origin(run, other.listing):
        if isinstance(item, Progress):
            narrator.progress("looking for its save", item)
        else:
            origin = item
    if origin is None or origin.save is None:
        return _latest(session, run, notes), origin
    return _Side(origin.save, listing_of(session, origin.save), run=run), origin


def _latest(session: Session, run: RunFolder, notes: list[str]) -> _Side:
    """The save that a run's folder stands for in every other command; without a state file the newest."""
    try:
        listing = listing_of(session, run.path)
    except NotASave:
        listing = listing_of(session, run.latest or run.saves[-1])
    notes.append(f"of {safe(run.path)} its latest save, {safe(listing.artifact.label)}")
    return _Side(run.path, listing, run=run)


def digest(path: str) -> Answer:
    """`ckptui digest`: a document and nothing else, whoever reads it."""
    narrator = Narrator()
    made: Digest | None = None
    with Session() as session:
        try:
            for item in session.digest(listing_of(session, path)):
                if isinstance(item, Progress):
                    narrator.progress("digest", item)
                else:
                    made = item
        finally:
            narrator.close()
    assert made is not None
    done = made
    return Answer(done.to_json, lambda: [], done.findings)


def timeline(path: str, match: str | None) -> Answer:
    """`ckptui timeline`; the text comes while the saves are read."""
    regular(match)
    with Session() as session:
        run = session.run_at(path)
        if len(run.saves) < 2:
            raise UsageError(
                f"{path} has one save", "A timeline goes through several of one training; `ckptui show` is about one"
            )
        if match is not None:
            _require_somewhere(session, run, match)
    findings: list[Finding] = []

    def document() -> dict[str, Any]:
        narrator = Narrator()
        report: TimelineReport | None = None
        with Session() as session:
            try:
                for item in session.timeline(run, pattern=match):
                    if isinstance(item, Progress):
                        narrator.progress("timeline", item)
                    elif isinstance(item, TimelineReport):
                        report = item
            finally:
                narrator.close()
        assert report is not None
        findings.extend(report.findings)
        return timeline_output.timeline_document(report, unopened_artifact)

    return Answer(document, lambda: _timeline_lines(run, match, findings), findings, streams=True)


def _timeline_lines(run: RunFolder, match: str | None, findings: list[Finding]) -> Iterator[str]:
    """A line a save as it is read, the tensors at the end; `findings` is filled on the way."""
    narrator = Narrator()
    with Session() as session:
        curves = _Curves(session, run)
        try:
            lines: timeline_output.SaveLines | None = None
            for item in session.timeline(run, pattern=match):
                if isinstance(item, Progress):
                    narrator.progress("timeline", item)
                    continue
                narrator.close()
                if isinstance(item, TimelineStart):
                    lines = timeline_output.SaveLines(item)
                    lines.losses = curves.losses()
                    yield from lines.head(run.path)
                elif isinstance(item, SaveColumn) and lines is not None:
                    findings += item.findings
                    lines.losses = curves.losses()
                    yield from lines.take(item)
                elif isinstance(item, TimelineReport):
                    findings[:] = item.findings
                    yield from timeline_output.tensors_text(item, in_full=match is not None)
        finally:
            curves.stop()
            narrator.close()


class _Curves:
    """The loss at each save, from event files. These may be large: they are read beside the saves, no line waits."""

    def __init__(self, session: Session, run: RunFolder) -> None:
        self._cancel = threading.Event()
        self._losses: tuple[float | None, ...] | None = None
        self._wait = CURVES_WAIT

        def read() -> None:
            told: tuple[float | None, ...] = ()
            # whatever is wrong with them: the timeline itself reads them at its end, and that tells
            with contextlib.suppress(Exception):
                scalars = session.scalars(run, self._cancel)
                loss = next((curve for curve in scalars if "loss" in curve.tag.lower()), None)
                told = aligned(loss, session.saves_of(run)) if loss is not None else ()
            self._losses = told

        self._thread = threading.Thread(target=read, daemon=True)
        self._thread.start()

    def losses(self) -> tuple[float | None, ...] | None:
        """By save, empty where nothing tells; None while they are read. Only the first call waits a little."""
        self._thread.join(self._wait)
        self._wait = 0
        return self._losses

    def stop(self) -> None:
        """Nobody wants to know any more."""
        self._cancel.set()
        self._thread.join()


def _require_somewhere(session: Session, run: RunFolder, match: str) -> None:
    """Raises UsageError where no save of a run has a tensor that the regular expression is found in."""
    refused: UsageError | None = None
    for path in reversed(run.saves):
        try:
            tensors = listing_of(session, path).tensors
            if tensors and require_match(tensors, match, run.path, own=True):
                return
        except UsageError as error:
            refused = error
        except CkptuiError:
            continue
    if refused is not None:
        raise refused


def statuses(wanted: Sequence[str]) -> tuple[str, ...]:
    """`--only changed,only-a --only only-b` as a list. Raises UsageError for what is no status."""
    words = [word.strip() for some in wanted for word in some.split(",")]
    for word in words:
        if word not in PAIR_STATUSES:
            known = ", ".join(PAIR_STATUSES)
            raise UsageError(f"--only {word!r} is no status of a pair", f"One of {known}")
    return tuple(dict.fromkeys(words))
