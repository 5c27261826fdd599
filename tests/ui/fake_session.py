"""A session with made-up saves for the shell of the workbench: a run, a sick save, broken ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ckptui.config import Settings
from ckptui.core.model import (
    ArchitectureRow,
    Artifact,
    Endpoint,
    Finding,
    Found,
    Histogram,
    Kind,
    Layer,
    Listing,
    Progress,
    Role,
    RunFolder,
    Signature,
    Tensor,
    TensorScan,
)
from ckptui.errors import CkptuiError, Damaged
from tests.ui.course_fake import CourseSession
from tests.ui.pane_data import LAYERS, Array, PaneSession, kernel, odd_first_kernel, scan_of, tensor_of
from tests.ui.why_fake import WhyFake

ROOT = "/runs/digits"
RUN = f"{ROOT}/run"
SICK = f"{RUN}/ckpt-5"


def _with_nan(values: Array, count: int) -> Array:
    values = values.copy()
    values.reshape(-1)[:count] = np.nan
    return values


def _weights(seed: int) -> dict[str, tuple[Array, Role]]:
    zeros, ones = np.zeros(32, np.float32), np.ones(32, np.float32)
    weights: dict[str, tuple[Array, Role]] = {
        "conv1/kernel": (odd_first_kernel() + np.float32(0.001 * seed), "kernel"),
        "conv1/bias": (kernel(seed + 1, (32,), 0.04), "bias"),
        "bn1/gamma": (ones + kernel(seed + 2, (32,), 0.02), "gamma"),
        "bn1/beta": (kernel(seed + 3, (32,), 0.018), "beta"),
        "bn1/moving_mean": (zeros, "moving-mean"),
        "bn1/moving_variance": (ones, "moving-variance"),
        "conv2/kernel": (kernel(seed + 4, (3, 3, 32, 64), 0.061), "kernel"),
        "conv2/bias": (kernel(seed + 5, (64,), 0.02), "bias"),
        "dense/kernel": (kernel(seed + 6, (1024, 10), 0.05), "kernel"),
        "dense/bias": (kernel(seed + 7, (10,), 0.087), "bias"),
    }
    slots = [n for n, (_, role) in weights.items() if not role.startswith("moving")]
    for name in slots:
        for slot in ("m", "v"):
            weights[f"{name}/.OPTIMIZER_SLOT/optimizer/adam/{slot}"] = (weights[name][0] * 0.01, "slot")
    weights["save_counter"] = (np.array(seed, np.int64), "counter")
    weights["step"] = (np.array(1000 * seed, np.int64), "step")
    return weights


def finding(code: str, severity: str, title: str, path: str, tensor: str | None = None, **more: Any) -> Finding:
    """A finding with what the panels show."""
    return Finding(code, severity, title, path, tensor, **more)  # type: ignore[arg-type]


SICK_FINDINGS = (
    finding(
        "shard-truncated", "error", "The shard ends inside this tensor", SICK, "conv2/bias",
        detail="256 bytes were expected at offset 81,920, 112 are there.",
        evidence={"expected": 256, "found": 112, "bytes_missing": 144, "file": f"{SICK}.data-00000-of-00001"},
        advice="Copy the file again, or restore from ckpt-4.",
    ),
)  # fmt: skip
SCAN_FINDINGS = {
    "dense/kernel": finding("non-finite", "error", "12 values are NaN", SICK, "dense/kernel", evidence={"nan": 12}),
    "bn1/moving_mean": finding("statistics-at-initial", "warning", "Still at 0", SICK, "bn1/moving_mean"),
    "bn1/moving_variance": finding("statistics-at-initial", "warning", "Still at 1", SICK, "bn1/moving_variance"),
}
LAYER_FINDINGS = (
    finding("untouched-filters", "warning", "5 of 32 filters are as the initializer left them", SICK,
            "conv1/kernel", certainty="likely", evidence={"untouched": 5, "filters": 32, "which": [2, 9, 14]}),
)  # fmt: skip


class FakeSession(CourseSession, WhyFake, PaneSession):
    """Serves saves from memory; `gate` cleared holds every scan before its first tensor."""

    def __init__(self) -> None:
        super().__init__()
        self._begin_courses()
        self.begin_why()
        self.settings = Settings()
        self.found: list[Found | RunFolder | Finding] = []
        self.listings: dict[str, Listing] = {}
        self.open_errors: dict[str, CkptuiError] = {}
        self.scan_findings: dict[tuple[str, str], Finding] = {}
        self.layer_findings: dict[str, tuple[Finding, ...]] = {}
        self.opened: list[str] = []
        self.scanned: list[tuple[str, tuple[str, ...]]] = []
        self.closed = False
        self.gate = threading.Event()
        self.gate.set()
        self.kept: dict[str, float] = {}
        """When saves were checked whose results were kept, by path."""
        self.checksum: dict[str, Any] = {}
        """What a scan says of the checksums of a save; `ok` where nothing is said."""

    # ------------------------------------------------------------------ making saves

    def add(
        self,
        path: str,
        kind: Kind,
        values: dict[str, tuple[Array, Role]],
        *,
        run: str = "",
        step: int | None = None,
        modified: float = 0.0,
        latest: bool = False,
        findings: Sequence[Finding] = (),
    ) -> Listing:
        """A save with these values; discovery meets it after those before."""
        folder, _, label = path.rpartition("/")
        self.found.append(Found(path, kind, label, folder, step, run, latest, modified))
        tensors = tuple(tensor_of(name, array, role) for name, (array, role) in values.items())
        artifact = Artifact(
            path, kind, label, step, sum(t.bytes for t in tensors), 1 if run else 0, len(tensors), 58_423,
            1_763_712_001.0, {"tensorflow": "2.21.0"},
        )  # fmt: skip
        self.values[path] = values
        self.listings[path] = Listing(artifact, tensors, tuple(findings))
        return self.listings[path]

    def tensors(self, path: str, tensors: Sequence[Tensor], modified: float = 1.0) -> Listing:
        """A save of these tensors, without values."""
        listing = self.add(path, "tf-checkpoint", {}, modified=modified)
        artifact = replace(listing.artifact, tensors=len(tensors))
        self.listings[path] = replace(listing, artifact=artifact, tensors=tensors)
        return self.listings[path]

    # ------------------------------------------------------------------ what the screen asks

    def find(
        self, paths: Sequence[str], cancel: threading.Event | None = None
    ) -> Iterator[Found | RunFolder | Finding]:
        yield from self.found

    def open(self, path: str, kind: Kind | None = None, found: Found | None = None) -> Listing:
        self.opened.append(path)
        if path in self.open_errors:
            raise self.open_errors[path]
        return self.listings[path]

    def scan(  # type: ignore[override]
        self,
        listing: Listing,
        names: Sequence[str] | None = None,
        *,
        stats: bool = True,
        cancel: threading.Event | None = None,
        first: Sequence[str] = (),
        anew: bool = False,
    ) -> Iterator[TensorScan | Progress]:
        path = listing.artifact.path
        wanted = list(dict.fromkeys([*first, *self.values[path]])) if names is None else list(names)
        self.scanned.append((path, tuple(wanted)))
        total = sum(t.bytes for t in listing.tensors)
        done = 0
        for count, name in enumerate(wanted):
            while not self.gate.wait(0.01):
                if cancel is not None and cancel.is_set():
                    return
            if cancel is not None and cancel.is_set():
                return
            scan = scan_of(name, self.values[path][name][0])
            found = self.scan_findings.get((path, name))
            scan = replace(scan, checksum=self.checksum.get(path, "ok"), findings=(found,) if found else ())
            if any(f.tensor == name and f.code == "shard-truncated" for f in listing.findings):
                scan = replace(scan, stats=None, checksum="unread")
            yield scan
            done += scan.bytes
            yield Progress(done, total, count + 1, len(wanted), 1.0, name)

    def _refuse_cut_off(self, listing: Listing, name: str) -> None:
        if any(f.tensor == name and f.code == "shard-truncated" for f in listing.findings):
            raise Damaged(f"{name}: 144 bytes are missing", code="shard-truncated")

    def array(self, listing: Listing, name: str, limit: int = 0) -> Array:
        self._refuse_cut_off(listing, name)
        return super().array(listing, name, limit)

    def histogram(self, listing: Listing, name: str, bins: int = 64) -> Histogram:
        self._refuse_cut_off(listing, name)
        return super().histogram(listing, name, bins)

    def verify(self, listing: Listing, *, anew: bool = False) -> list[Finding]:
        return []

    def remembers(self, listing: Listing) -> bool:
        return listing.artifact.path in self.kept

    def kept_since(self, listing: Listing) -> float | None:
        return self.kept.get(listing.artifact.path)

    def layers(  # type: ignore[override]
        self,
        listing: Listing,
        names: Sequence[str] | None = None,
        cancel: threading.Event | None = None,
        *,
        anew: bool = False,
    ) -> Iterator[Layer | Finding]:
        wanted = [t.name for t in listing.tensors if t.role == "kernel"] if names is None else names
        yield from (LAYERS[name] for name in wanted if name in LAYERS)
        yield from self.layer_findings.get(listing.artifact.path, ())

    def close(self) -> None:
        self.closed = True


def digits() -> FakeSession:
    """A run of five saves, the newest sick; exports; Keras files; a broken one; a notice."""
    session = FakeSession()
    paths = tuple(f"{RUN}/ckpt-{i}" for i in range(1, 6))
    for i, path in enumerate(paths, 1):
        values = _weights(i)
        if path == SICK:
            values["dense/kernel"] = (_with_nan(values["dense/kernel"][0], 12), "kernel")
        quick = SICK_FINDINGS if path == SICK else ()
        session.add(
            path,
            "tf-checkpoint",
            values,
            run=RUN,
            step=1000 * i,
            modified=1000.0 * (100 + i),
            latest=i == 5,
            findings=quick,
        )
    session.found.append(RunFolder(RUN, "run", paths, SICK))
    for tensor, told in SCAN_FINDINGS.items():
        session.scan_findings[SICK, tensor] = told
    session.layer_findings[SICK] = LAYER_FINDINGS
    _add_keras(session)
    broken = f"{ROOT}/broken/truncated.h5"
    session.add(broken, "keras-h5", {}, modified=5.0)
    session.open_errors[broken] = Damaged(
        "truncated.h5 ends at byte 10,240; its header promises 48,928",
        code="hdf5-damaged",
        hint="Copy the file again from where it was written",
    )
    session.found.append(
        finding("unsupported-format", "info", "A TFLite model", f"{ROOT}/phone.tflite",
                detail="ckptui does not read TFLite files.", advice="netron shows its graph.")
    )  # fmt: skip
    return session


def _add_keras(session: FakeSession) -> None:
    values = {n: v for n, v in _weights(4).items() if v[1] not in ("slot", "counter", "step")}
    path = f"{ROOT}/digits.keras"
    listing = session.add(path, "keras-archive", values, modified=50_000.0)
    layers = [
        ArchitectureRow("input", "InputLayer", 0, (None, 16, 16, 1)),
        ArchitectureRow("conv1", "Conv2D", 0, (None, 14, 14, 32), 320, ("conv1/kernel", "conv1/bias")),
        ArchitectureRow("bn1", "BatchNormalization", 0, (None, 14, 14, 32), 128, ("bn1/gamma",)),
        ArchitectureRow("conv2", "Conv2D", 0, (None, 12, 12, 64), 18_496, ("conv2/kernel",)),
        ArchitectureRow("dense", "Dense", 0, (None, 10), 10_250, ("dense/kernel",)),
    ]
    session.listings[path] = replace(listing, architecture=tuple(layers))
    path = f"{ROOT}/digits.h5"
    session.add(path, "keras-h5", values, modified=49_000.0)
    session.checksum[path] = "none"
    path = f"{ROOT}/served"
    listing = session.add(path, "saved-model", values, modified=48_000.0)
    ends = (Endpoint("image", "serving_default_image:0", "float32", (None, 16, 16, 1)),)
    out = (Endpoint("digit", "StatefulPartitionedCall:0", "float32", (None, 10)),)
    signature = Signature("serving_default", "tensorflow/serving/predict", ("serve",), ends, out)
    session.listings[path] = replace(listing, signatures=(signature,))
