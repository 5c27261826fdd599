"""Why a model misbehaves: every check that bears on a symptom, one after the other, judged together."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from ckptui.core.causes_judged import judge
from ckptui.core.causes_kinds import Gathered
from ckptui.core.model import (
    ArchitectureRow,
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
from ckptui.core.naming import own_names
from ckptui.core.relation_rows import NOT_WEIGHTS
from ckptui.core.settling import settled
from ckptui.core.text import human_count, safe
from ckptui.errors import Cancelled, CkptuiError, Flagged, ReaderFailed, UsageError

if TYPE_CHECKING:
    from ckptui.core.causes import Symptom

MOST_IMAGES = 4
"""Images found beside a model that are tried; of those named all are."""
MOST_NEIGHBOUR_BYTES = 2_000_000_000
"""Saves of a run larger than this are not held against each other unasked."""
NOISE_SIDE = 96
"""Pixels of the noise that takes the place of an image."""
WhyTold = WhyStep | Progress | str | Run | Predicted | WhyReport
_Step = Generator[Progress | str | Run | Predicted, None, str]
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
        self, a: Listing, b: Listing, *, weights: bool = False, cancel: threading.Event | None = None
    ) -> Iterator[Pair | Progress | DiffReport]: ...

    def predict(
        self, model: str, images: Sequence[str], *, cancel: threading.Event | None = None, **options: Any
    ) -> Iterator[str | Run | Predicted | PredictReport]: ...

    def sibling_model(self, path: str) -> str | None: ...

    def sibling_images(self, path: str) -> list[str]: ...


class DiagnosisUseCases:
    """The part of a session that asks why."""

    def why(
        self: Diagnosing,
        model: str,
        images: Sequence[str] = (),
        *,
        symptom: Symptom | None = None,
        predict: bool = True,
        cancel: threading.Event | None = None,
        **options: Any,
    ) -> Iterator[WhyTold]:
        """Run all checks that bear on a symptom (None: on all three) and rank the causes; the report comes last.

        Storage, values, filters, the saves around it, then behaviour. A step that fails or can't be taken is told as
        such and stops nothing. Without `images` those beside the model are used, else noise; `predict` False asks no
        model anything. `options` are those of a prediction (see `predict.wish.Wish`).

        Raises:
            NoSuchPath, NotASave: nothing is there that looks like a save.
            Flagged: the model holds ops or layers that reach outside, and `allow_flagged` was not given.
            Cancelled: `cancel` was set before the end.
        """
        inquiry = _Inquiry(self, model, tuple(images), symptom, dict(options), cancel)
        yield from inquiry.steps_of(predict)
        yield inquiry.report()


class _Skipped(Exception):
    """The step can't be taken; the message says why."""


@dataclass(slots=True)
class _Inquiry:
    """One question on its way through the steps."""

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

    def steps_of(self, predict: bool) -> Iterator[WhyTold]:
        """Every step in order."""
        found = self.session.resolve(self.model)
        yield from self._taken("storage", self._storage(found))
        if predict:
            from ckptui.predict.trust import allowed

            # asked before anything slow is done; the prediction asks again, with what it borrows
            allowed([self._listed()], bool(self.options.get("allow_flagged")))
        yield from self._taken("values", self._values())
        yield from self._taken("filters", self._filters())
        yield from self._taken("run", self._relations())
        yield from self._taken("behaviour", self._behaviour(predict))
        yield from self._taken("many-images", self._many())

    def _taken(self, name: str, work: _Step) -> Iterator[WhyTold]:
        """A step's own items between its beginning and its end."""
        yield WhyStep(name, "running")
        began = time.monotonic()
        try:
            detail = yield from work
            step = WhyStep(name, "done", detail)
        except (Cancelled, Flagged):
            raise
        except (_Skipped, UsageError) as error:
            step = WhyStep(name, "skipped", str(error))
        except CkptuiError as error:
            step = WhyStep(name, "failed", str(error))
        except Exception as error:
            # whatever breaks down in one check, the others are made; the step says what it was
            step = WhyStep(name, "failed", f"{type(error).__name__}: {error}")
        step = replace(step, seconds=round(time.monotonic() - began, 3))
        if name == "behaviour" and step.state != "done":
            self.unpredicted = step.detail
        self.steps.append(step)
        yield step

    def _listed(self) -> Listing:
        assert self.listing is not None
        return self.listing

    @property
    def path(self) -> str:
        """What a user would type for the save."""
        return self.artifact.path

    @property
    def artifact(self) -> Artifact:
        """The save."""
        return self._listed().artifact

    def _opened(self) -> Listing:
        """The listing. Raises _Skipped where the save can't be opened at all."""
        listing = self._listed()
        if not listing.tensors:
            raise _Skipped("the save could not be opened" if self.findings else "it holds no tensors")
        return listing

    # ------------------------------------------------------------------ storage and values

    def _storage(self, found: Found) -> _Step:
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
        more = list(self.run.findings) if self.run is not None else list(found.findings)
        if any(f.code == "state-dangling" for f in more):
            more += self._lost_saves(found)
        self.findings += [f for f in more if (f.code, f.tensor, f.detail) not in own]
        errors = sum(f.severity == "error" for f in self.findings)
        self.checked.append("its directory")
        return f"{errors} errors" if errors else f"{human_count(self.artifact.tensors)} tensors, nothing damaged so far"

    def _lost_saves(self, found: Found) -> list[Finding]:
        """Saves of the folder that can't be opened, where its state file names one that is not there."""
        lost: list[Finding] = []
        for item in self.session.find([found.folder], self.cancel):
            if isinstance(item, Found):
                lost += item.findings
        return [f for f in lost if f.severity == "error"]

    def _values(self) -> _Step:
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
                if item.checksum in ("mismatch", "unread"):
                    self.bad.add(item.name)
        self.findings = settled(self.findings, found)
        count = len(listing.tensors)
        self.checked.append(f"the values of {human_count(count - unread)} tensors")
        return f"{human_count(count - unread)} of {human_count(count)} tensors read, {len(found)} findings"

    def _filters(self) -> _Step:
        """Kernels filter by filter; those whose bytes are not what was stored are no evidence."""
        yield "looking at the filters"
        listing = self._opened()
        names = [t.name for t in listing.tensors if t.role in ("kernel", "embedding") and t.name not in self.bad]
        if not names:
            raise _Skipped("there are no kernels")
        looked, found = 0, list[Finding]()
        for item in self.session.layers(listing, names, self.cancel):
            if isinstance(item, Finding):
                found.append(item)
            else:
                looked += 1
        self.findings = settled(self.findings, found)
        kernels = f"{looked} kernel{'s' if looked != 1 else ''}"
        self.checked.append(f"{kernels} filter by filter")
        return f"{kernels}, {len(found)} findings"

    # ------------------------------------------------------------------ the saves around it

    def _relations(self) -> _Step:
        """The save that was named beside it, else its neighbours in the run."""
        listing = self._opened()
        if self.options.get("against"):
            other = self.session.resolve(str(self.options["against"]))
            beside = self.session.open(other.path, found=other)
            self.compared = yield from self._diff(beside, listing)
            about = [f for f in self.compared.findings if f.code == "config-changed"]
            self.findings += about
            self.checked.append(f"its relation to {safe(other.label)}")
            return f"{self.compared.relation.get('verdict')} to {safe(other.label)}, {len(about)} settings differ"
        beside_it = self._neighbours()
        if not beside_it:
            raise _Skipped("it is no save of a run; --against B holds it against another")
        if self.artifact.bytes > MOST_NEIGHBOUR_BYTES:
            raise _Skipped("its saves are too large to be held against each other unasked: give --against B")
        for path in beside_it:
            try:
                report = yield from self._diff(self.session.open(path), listing)
            except Cancelled:
                raise
            except CkptuiError:
                continue
            verdict = str(report.relation.get("verdict"))
            if verdict in ("independent", "different-architecture"):
                self.strangers.append((path, str(report.relation.get("certainty"))))
            else:
                self.kin.append(path)
        self.checked.append("its relation to the saves beside it")
        return f"related to {len(self.kin)} of {len(self.kin) + len(self.strangers)} saves beside it"

    def _diff(self, a: Listing, b: Listing) -> Generator[Progress | str | Run | Predicted, None, DiffReport]:
        for item in self.session.diff(a, b, weights=True, cancel=self.cancel):
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

    # ------------------------------------------------------------------ behaviour

    def _behaviour(self, predict: bool) -> _Step:
        """Every run of a prediction."""
        if not predict:
            raise _Skipped("it was not to be asked (--no-predict)")
        there = [path for path in self.images if os.path.exists(path)]
        if self.images and not there:
            raise _Skipped(f"no such image: {', '.join(safe(path) for path in self.images[:3])}")
        self.notes += [f"no such image: {safe(path)}" for path in self.images if path not in there]
        if not there and not self.options.get("input"):
            there = _spread(self.session.sibling_images(self.path), MOST_IMAGES)
            if there:
                self.notes.append("no image was named: those beside the model were used")
        with contextlib.ExitStack() as stack:
            noise = not there and not self.options.get("input")
            if noise:
                there = _noise(stack.enter_context(tempfile.TemporaryDirectory(prefix="ckptui-")))
                self.notes.append("no image was named and none lies beside the model: noise was used")
            yield from self._asked(there, noise)
        assert self.predicted is not None
        self.images = tuple(image.path for image in self.predicted.images)
        if not any(run.name == "original" and not run.error for i in self.predicted.images for run in i.runs):
            failed = next((f for f in self.predicted.findings if f.code == "model-does-not-load"), None)
            raise CkptuiError(failed.detail if failed else "no image was answered", title="The model gave no answer")
        names = dict.fromkeys(r.name for i in self.predicted.images for r in i.runs if not r.error)
        count = f"{len(self.images)} image{'s' if len(self.images) != 1 else ''}"
        self.checked.append(f"{count}: {', '.join(names)}" + (", probes" if self.predicted.images[0].probes else ""))
        return f"{count}, {', '.join(names)}"

    def _asked(self, images: Sequence[str], noise: bool) -> Iterator[str | Run | Predicted]:
        for item in self.session.predict(self.model, images, cancel=self.cancel, **self._wishes(noise)):
            if isinstance(item, PredictReport):
                self.predicted = _renamed(item) if noise else item
                # a flip of noise is noise: it says nothing of images
                own = [f for f in item.findings if not (noise and f.code.startswith("flip-"))]
                self.findings = settled(self.findings, own)
            else:
                yield item

    def _wishes(self, noise: bool) -> dict[str, Any]:
        """The options of the prediction; every preprocessing is tried unless one was asked for."""
        wishes = {name: value for name, value in self.options.items() if value is not None}
        if not noise and wishes.get("preprocess", "auto") == "auto" and not wishes.get("input"):
            wishes.setdefault("all_preprocessing", True)
        return wishes

    def _many(self) -> _Step:
        """The part of the prediction that is about a folder of images."""
        yield from ()
        if not self.options.get("images_dir"):
            raise _Skipped("no folder of images was named; --images DIR with 20 or more tells what one image can't")
        many = self.predicted.many if self.predicted is not None else None
        if many is None:
            raise _Skipped(
                f"nothing was predicted: {self.unpredicted}" if self.unpredicted else "no image was answered"
            )
        self.checked.append(f"{many.images} images of a folder under flips and controls")
        return f"{many.images} images, {len(many.failed)} that could not be read"

    # ------------------------------------------------------------------ the end

    def report(self) -> WhyReport:
        """Everything judged together."""
        gathered = self._gathered()
        judged = judge(gathered, self.checked)
        art = self.artifact
        model: dict[str, Any] = {"path": art.path, "kind": art.kind, "label": art.label}
        model |= dict(self.predicted.model) if self.predicted is not None else {}
        notes = (*self.notes, *(self.predicted.notes if self.predicted is not None else ()))
        return WhyReport(
            model,
            self.symptom,
            judged.shown,
            judged.causes,
            judged.ruled_out,
            tuple(self.steps),
            tuple(self.findings),
            self.images,
            judged.verdict,
            tuple(dict.fromkeys(notes)),
        )

    def _gathered(self) -> Gathered:
        listing = self._listed()
        about = {f.tensor for f in self.findings if f.tensor}
        tensors = [t for t in listing.tensors if t.name in about] if about else []
        done = {step.name for step in self.steps if step.state == "done"}
        kernels = any(step.name == "filters" and "no kernels" in step.detail for step in self.steps)
        relation: Mapping[str, Any] | None = self.compared.relation if self.compared is not None else None
        pairs = self.compared.pairs if self.compared is not None else ()
        return Gathered(
            path=self.path,
            kind=self.artifact.kind,
            findings=tuple(self.findings),
            layers={t.name: t.layer for t in tensors},
            names=own_names(tensors),
            spare=frozenset(t.name for t in tensors if t.role in NOT_WEIGHTS),
            architecture=self._architecture(),
            operations=listing.operations if self.artifact.kind == "saved-model" else (),
            report=self.predicted,
            unpredicted=self.unpredicted,
            relation=relation,
            against=str(self.options.get("against") or ""),
            changed=tuple(p.b or p.a or "" for p in pairs if p.status != "identical" and p.role not in NOT_WEIGHTS),
            strangers=tuple(self.strangers),
            kin=tuple(self.kin),
            symptom=self.symptom,
            values_read="values" in done,
            filters_read="filters" in done or kernels,
            folder_asked=bool(self.options.get("images_dir")),
        )

    def _architecture(self) -> tuple[ArchitectureRow, ...]:
        """The save's layers; of weights alone those of the model they go into."""
        own = self._listed().architecture
        if self.artifact.kind == "meta-graph":
            return ()
        if own or self.artifact.kind not in ("tf-checkpoint", "keras-weights"):
            return own
        with contextlib.suppress(CkptuiError):
            borrowed = self.options.get("architecture") or self.session.sibling_model(self.path)
            return self.session.open(str(borrowed)).architecture if borrowed else ()
        return ()


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


def _spread(paths: Sequence[str], most: int) -> list[str]:
    """At most so many of the paths, evenly spread."""
    return [paths[n * len(paths) // most] for n in range(most)] if len(paths) > most else list(paths)


def _noise(folder: str) -> list[str]:
    """Two images of noise, seeded, as files."""
    import numpy as np

    draw = np.random.default_rng(0)
    paths = []
    for number in (1, 2):
        paths.append(os.path.join(folder, f"noise-{number}.npy"))
        np.save(paths[-1], draw.integers(0, 256, (NOISE_SIDE, NOISE_SIDE, 3), dtype=np.uint8))
    return paths


def _renamed(report: PredictReport) -> PredictReport:
    """The report without the paths of files that are gone."""
    named = [replace(image, path=os.path.basename(image.path).removesuffix(".npy")) for image in report.images]
    return replace(report, images=tuple(named))
