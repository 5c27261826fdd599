"""The commands that hold saves against each other: two of them (`diff`), or one with itself elsewhere (`digest`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ckptui import comparison_output
from ckptui.comparison_output import CONFIG, DiffView, is_difference
from ckptui.core.digest import Digest
from ckptui.core.model import SEVERITY_RANK, DiffReport, Listing, Origin, Progress, RunFolder
from ckptui.core.text import safe
from ckptui.errors import NotASave, UsageError
from ckptui.gathering import listing_of, regular, require_match
from ckptui.narrator import Narrator
from ckptui.output import Answer
from ckptui.session import Session


@dataclass(frozen=True, slots=True)
class DiffOptions:
    """What of a diff is shown, and what counts."""

    match: str | None = None
    only: tuple[str, ...] = ()
    fail_above: float | None = None
    markdown: bool = False


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
            require_match([t for one in listings for t in one.tensors], options.match, f"{a} or {b}")
            sides = first.digest or first.listing, second.digest or second.listing
            for item in session.diff(*sides, pattern=options.match):
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


def statuses(wanted: Sequence[str]) -> tuple[str, ...]:
    """`--only changed,only-a --only only-b` as a list. Raises UsageError for what is no status."""
    words = [word.strip() for some in wanted for word in some.split(",")]
    for word in words:
        if word not in comparison_output.STATUSES:
            known = ", ".join(comparison_output.STATUSES)
            raise UsageError(f"--only {word!r} is no status of a pair", f"One of {known}")
    return tuple(dict.fromkeys(words))
