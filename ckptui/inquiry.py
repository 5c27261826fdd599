"""What a question why is made of: the steps that read a save and the saves around it, one after the other."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from ckptui.core.model import (
    Artifact,
    DiffReport,
    Finding,
    Found,
    Layer,
    Listing,
    Pair,
    Predicted,
    PredictReport,
    Progress,
    Run,
    RunFolder,
    TensorScan,
    WhyReport,
    WhyStep,
)
from ckptui.core.settling import settled
from ckptui.core.text import human_count, safe
from ckptui.errors import Cancelled, CkptuiError, Flagged, ReaderFailed, UsageError

if TYPE_CHECKING:
    from ckptui.core.causes import Symptom

MOST_NEIGHBOUR_BYTES = 2_000_000_000
"""Saves of a run larger than this are not held against each other unasked."""
MOST_SAID = 120
"""Characters of an error that a verdict repeats; a longer one stands in its step alone."""
WhyTold = WhyStep | Progress | str | Run | Predicted | WhyReport
Step = Generator[Progress | str | Run | Predicted, None, str]
"""What a step tells while it is at work; it returns what it found, in words."""


class Diagnosing(Protocol):
    """What this use case stands on."""

    def resolve(self, argument: str) -> Found: ...

    def open(self, path: str, *, found: Found | None = None) -> Listing: ...

    def find(
        self, paths: Sequence[str], cancel: threading.Event | None = None
    ) -> Iterator[Found | RunFolder | Finding]: ...

    def run_at(self, path: str | os.PathLike[str]) -> RunFolder: ...

    def verify(self, listing: Listing) -> list[Finding]: ...

    def scan(
        self, listing: Listing, *, stats: bool = True, cancel: threading.Event | None = None
    ) -> Iterator[TensorScan | Progress | Finding]: ...

    def layers(
        self, listing: Listing, names: Sequence[str] | None = None, cancel: threading.Event | None = None
    ) -> Iterator[Layer | Finding]: ...

    def diff(
        self, a: Listing, b: Listing, *, cancel: threading.Event | None = None
    ) -> Iterator[Pair | Progress | DiffReport]: ...

    def predict(
        self, model: str, images: Sequence[str], *, cancel: threading.Event | None = None, **options: Any
    ) -> Iterator[str | Run | Predicted | PredictReport]: ...

    def sibling_model(self, path: str) -> str | None: ...

    def sibling_images(self, path: str) -> list[str]: ...


class Skipped(Exception):
    """The step can't be taken; the message says why, `ask` what to give on the command line so that it is."""

    def __init__(self, reason: str, ask: str = "") -> None:
        super().__init__(reason)
        self.ask = ask


@dataclass(slots=True)
class Inquiry:
    """One question on its way through the steps that ask no model."""

    session: Diagnosing
    model: str
    images: tuple[str, ...]
    symptom: Symptom | None
    options: dict[str, Any]
    cancel: threading.Event | None
    steps: list[WhyStep] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    """What was looked at, for a verdict that found nothing."""
    notes: list[str] = field(default_factory=list)
    listing: Listing | None = None
    run: RunFolder | None = None
    bad: set[str] = field(default_factory=set)
    """Tensors whose bytes are not what was stored."""
    predicted: PredictReport | None = None
    compared: DiffReport | None = None
    strangers: list[tuple[str, str]] = field(default_factory=list)
    kin: list[str] = field(default_factory=list)
    unpredicted: str = ""
    """Why there are no answers, in few words."""
    predict_by: str = ""
    """What to give on the command line so that there are."""
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Smallest and largest finite value of each tensor that was read."""
    read: tuple[int, int] = (0, 0)
    """Tensors whose values could be read, of all."""
    kernels: tuple[int, int] = (0, 0)
    """Kernels that were looked at, of all."""

    def taken(self, name: str, work: Step) -> Iterator[WhyTold]:
        """A step's own items between its beginning and its end."""
        yield WhyStep(name, "running")
        began, brief = time.monotonic(), ""
        try:
            detail = yield from work
            step = WhyStep(name, "done", detail)
        except (Cancelled, Flagged):
            raise
        except Skipped as error:
            step = WhyStep(name, "skipped", str(error), ask=error.ask)
            brief = str(error)
        except CkptuiError as error:
            told = f"{error.title}: {error.detail}" if error.detail else error.title
            step = WhyStep(name, "skipped" if isinstance(error, UsageError) else "failed", told, ask=error.hint)
            brief = told if len(told) <= MOST_SAID else f"{error.title}, see the step {name}"
        except Exception as error:
            # whatever breaks down in one check, the others are made; the step says what it was
            step = WhyStep(name, "failed", f"{type(error).__name__}: {error}")
            brief = step.detail if len(step.detail) <= MOST_SAID else f"{type(error).__name__}, see the step {name}"
        step = replace(step, seconds=round(time.monotonic() - began, 3))
        if name == "behaviour" and step.state != "done":
            self.unpredicted, self.predict_by = brief, step.ask
        self.steps.append(step)
        yield step

    def listed(self) -> Listing:
        assert self.listing is not None
        return self.listing

    @property
    def path(self) -> str:
        """What a user would type for the save."""
        return self.artifact.path

    @property
    def artifact(self) -> Artifact:
        """The save."""
        return self.listed().artifact

    def _opened(self) -> Listing:
        """The listing. Raises Skipped where the save can't be opened at all."""
        listing = self.listed()
        if not listing.tensors:
            raise Skipped("the save could not be opened" if self.findings else "it holds no tensors")
        return listing

    # ------------------------------------------------------------------ storage and values

    def storage(self, found: Found) -> Step:
        """Directory, checksums of members, the state file and leftovers of its run."""
        yield f"opening {safe(found.label)}"
        try:
            self.listing = self.session.open(found.path, found=found)
        except Cancelled:
            raise
        except CkptuiError as error:
            self.listing = _bare(found, error)
        else:
            self.findings = settled(self.listing.findings, self.session.verify(self.listing))
        self.findings = self.findings or list(self.listing.findings)
        with contextlib.suppress(CkptuiError):
            self.run = self.session.run_at(self.model)
        own = {(f.code, f.tensor, f.detail) for f in self.findings}
        # what a first glance said of the save itself has been looked into since
        named = {(f.code, f.artifact) for f in self.findings if not f.tensor}
        glance = self.run.findings if self.run is not None else found.findings
        more = [f for f in glance if f.code.startswith("state-") or (f.code, f.artifact) not in named]
        if any(f.code == "state-dangling" for f in more):
            more += self._lost_saves(found)
        self.findings += [f for f in more if (f.code, f.tensor, f.detail) not in own]
        errors = sum(f.severity == "error" for f in self.findings)
        self.checked.append("its directory")
        tensors = counted(self.artifact.tensors, "tensor")
        return counted(errors, "error") if errors else f"{tensors}, nothing damaged so far"

    def _lost_saves(self, found: Found) -> list[Finding]:
        """Saves of the folder that can't be opened, where its state file names one that is not there."""
        lost: list[Finding] = []
        for item in self.session.find([found.folder], self.cancel):
            if isinstance(item, Found):
                lost += item.findings
        return [f for f in lost if f.severity == "error"]

    def values(self) -> Step:
        """Every checksum, every value."""
        listing, found, unread = self._opened(), list[Finding](), 0
        for item in self.session.scan(listing, stats=True, cancel=self.cancel):
            if isinstance(item, Progress):
                yield item
            elif isinstance(item, Finding):
                found.append(item)
            else:
                found += item.findings
                unread += item.checksum == "unread"
                if item.stats is not None and item.stats.min is not None and item.stats.max is not None:
                    self.ranges[item.name] = (item.stats.min, item.stats.max)
                if item.checksum in ("mismatch", "unread"):
                    self.bad.add(item.name)
        self.findings = settled(self.findings, found)
        count = len(listing.tensors)
        self.read = count - unread, count
        self.checked.append(f"the values of {counted(count - unread, 'tensor')}")
        return f"{human_count(count - unread)} of {counted(count, 'tensor')} read, {counted(len(found), 'finding')}"

    def filters(self) -> Step:
        """Kernels filter by filter; those whose bytes are not what was stored are no evidence."""
        yield "looking at the filters"
        listing = self._opened()
        every = [t.name for t in listing.tensors if t.role in ("kernel", "embedding")]
        names = [name for name in every if name not in self.bad]
        self.kernels = 0, len(every)
        if not names:
            raise Skipped("there are no kernels")
        looked, found = 0, list[Finding]()
        for item in self.session.layers(listing, names, self.cancel):
            if isinstance(item, Finding):
                found.append(item)
            else:
                looked += 1
        self.findings = settled(self.findings, found)
        self.kernels = looked, len(every)
        kernels = counted(looked, "kernel")
        self.checked.append(f"{kernels} filter by filter")
        return f"{kernels}, {counted(len(found), 'finding')}"

    # ------------------------------------------------------------------ the saves around it

    def relations(self) -> Step:
        """The save that was named beside it, else its neighbours in the run."""
        listing = self._opened()
        if self.options.get("against"):
            other = self.session.resolve(str(self.options["against"]))
            named = self.session.open(other.path, found=other)
            self.compared = yield from self._diff(named, listing)
            about = [f for f in self.compared.findings if f.code == "config-changed"]
            self.findings += about
            self.checked.append(f"its relation to {safe(other.label)}")
            differ = f"{counted(len(about), 'layer')} configured otherwise"
            return f"{self.compared.relation.get('verdict')} to {safe(other.label)}, {differ}"
        beside_it = self._neighbours()
        if not beside_it:
            raise Skipped("it is no save of a run", "--against SAVE")
        if self.artifact.bytes > MOST_NEIGHBOUR_BYTES:
            raise Skipped("its saves are too large to be held against each other unasked", "--against SAVE")
        for path in beside_it:
            try:
                beside = self.session.open(path)
                if not beside.tensors or beside.artifact.status == "error":
                    # what is damaged itself is no witness
                    continue
                report = yield from self._diff(beside, listing)
            except Cancelled:
                raise
            except CkptuiError:
                continue
            verdict = str(report.relation.get("verdict"))
            if verdict in ("independent", "different-architecture"):
                self.strangers.append((path, str(report.relation.get("certainty"))))
            else:
                self.kin.append(path)
        if not self.kin and not self.strangers:
            raise Skipped("no save beside it could be compared")
        self.checked.append("its relation to the saves beside it")
        return f"related to {len(self.kin)} of {len(self.kin) + len(self.strangers)} saves beside it"

    def _diff(self, a: Listing, b: Listing) -> Generator[Progress | str | Run | Predicted, None, DiffReport]:
        for item in self.session.diff(a, b, cancel=self.cancel):
            if isinstance(item, Progress):
                yield item
            elif isinstance(item, DiffReport):
                return item
        raise AssertionError("a diff ends in its report")

    def _neighbours(self) -> list[str]:
        """The saves before and after it in its run."""
        saves = list(self.run.saves) if self.run is not None else []
        places = [n for n, path in enumerate(saves) if os.path.realpath(path) == os.path.realpath(self.path)]
        return [saves[n] for n in (places[0] - 1, places[0] + 1) if 0 <= n < len(saves)] if places else []


def counted(number: int, what: str) -> str:
    """`1 finding`, `2 findings`."""
    return f"{human_count(number)} {what}{'s' if number != 1 else ''}"


def _bare(found: Found, error: CkptuiError) -> Listing:
    """The listing of a save that can't be opened at all."""
    gone = "reader-crashed" if isinstance(error, ReaderFailed) else "changed-while-reading"
    finding = Finding(
        code=getattr(error, "code", None) or gone,
        severity="error",
        title=error.title,
        artifact=found.path,
        detail=error.detail,
        evidence=getattr(error, "evidence", {}),
        advice=error.hint,
    )
    artifact = Artifact(
        path=found.path,
        kind=found.kind,
        label=found.label,
        step=found.step,
        bytes=0,
        shards=0,
        tensors=0,
        parameters=0,
        modified=found.modified,
        status="error",
    )
    return Listing(artifact, (), tuple(found.findings) or (finding,))
