"""Made-up saves for the right-hand panes: a small network with one of everything odd, and its session."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from textual.app import App

from ckptui.core.heatmaps import reduced
from ckptui.core.histogram import histogram
from ckptui.core.model import (
    Artifact,
    DiffReport,
    Filter,
    Finding,
    Histogram,
    Layer,
    Listing,
    Pair,
    PairStatus,
    Predicted,
    PredictReport,
    Progress,
    Role,
    Run,
    Segment,
    Stats,
    Storage,
    Tensor,
    TensorScan,
    WorkerState,
)
from ckptui.errors import CkptuiError, NoSuchTensor
from ckptui.ui.theme import DARK

Array = npt.NDArray[Any]
HOSTILE = "conv\x1b]52;c;aGk=\x07[/red][@click=app.quit]\u202eevil/kernel"


def plain_filter(index: int, **changes: Any) -> Filter:
    """A filter about which there is nothing to say."""
    base = Filter(
        index=index,
        l2=1.0,
        left_right=0.1,
        up_down=-0.2,
        rotate_180=0.05,
        transpose=0.0,
        untouched=False,
        zero=False,
        constant=False,
        nonfinite=False,
        duplicate_of=None,
    )
    return replace(base, **changes)


def kernel(seed: int, shape: tuple[int, ...], scale: float = 0.35) -> Array:
    """Values around zero, the same for the same seed."""
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)


def layer_of(name: str, shape: tuple[int, ...], flags: dict[int, dict[str, Any]], **changes: Any) -> Layer:
    """A layer whose filters `flags` are odd in the way given."""
    count = shape[-1]
    detail = tuple(plain_filter(i, **flags.get(i, {})) for i in range(count))
    words = ("untouched", "zero", "constant", "nonfinite", "dead")
    counts = {word: sum(getattr(f, word) for f in detail) for word in words}
    counts["duplicate"] = sum(f.duplicate_of is not None for f in detail)
    counts["symmetric"] = 1
    base = Layer(
        tensor=name,
        layer=name.split("/")[0],
        kernel=shape[:-2],
        channels=shape[-2],
        filters=count,
        initializer={
            "verdict": "partly" if counts["untouched"] else "trained",
            "match": "glorot_uniform",
            "certainty": "confirmed",
            "on_grid": 0.16,
            "p_value": None,
        },
        counts=counts,
        expected_symmetric=0.7,
        symmetry_p_value=0.4,
        symmetry={},
        detail=detail,
    )
    return replace(base, **changes)


def tensor_of(name: str, array: Array, role: Role = "kernel", offset: int = 0) -> Tensor:
    """A tensor of these values, stored plainly in a shard."""
    file = "/runs/digits/ckpt-5.data-00000-of-00001"
    return Tensor(
        name=name,
        dtype="string" if array.dtype == object else str(array.dtype),
        shape=array.shape,
        bytes=array.nbytes,
        layer=name.split("/")[0],
        role=role,
        storage=Storage("plain", Segment(file, offset, array.nbytes), crc32c=0x4F1A09C2),
    )


def odd_first_kernel() -> Array:
    """A 3×3 kernel of 32 filters: 12 is all zero, 21 equals 5."""
    values = kernel(1, (3, 3, 1, 32))
    values[..., 12] = 0
    values[..., 21] = values[..., 5]
    return values


FIRST_FLAGS: dict[int, dict[str, Any]] = {
    **{i: {"untouched": True} for i in (2, 9, 14, 17, 22)},
    12: {"dead": True},
    21: {"duplicate_of": 5},
}

VALUES: dict[str, tuple[Array, Role]] = {
    "conv1/kernel": (odd_first_kernel(), "kernel"),
    "conv1/bias": (kernel(2, (32,), 0.04), "bias"),
    "conv2/kernel": (kernel(3, (3, 3, 32, 64), 0.06), "kernel"),
    "rgb/kernel": (kernel(4, (5, 5, 3, 16), 0.2), "kernel"),
    "dense/kernel": (kernel(5, (1024, 10), 0.05), "kernel"),
    "names": (np.array([b"cat", b"dog\x1b[31m", b"[/red]"], dtype=object), "other"),
    "step": (np.array(5000, dtype=np.int64), "step"),
    HOSTILE: (kernel(6, (3, 3, 1, 8)), "kernel"),
}

LAYERS: dict[str, Layer] = {
    "conv1/kernel": layer_of("conv1/kernel", (3, 3, 1, 32), FIRST_FLAGS),
    "conv2/kernel": layer_of("conv2/kernel", (3, 3, 32, 64), {}),
    "rgb/kernel": layer_of("rgb/kernel", (5, 5, 3, 16), {}),
    "dense/kernel": layer_of("dense/kernel", (1024, 10), {3: {"nonfinite": True}}, kernel=(), expected_symmetric=None),
    HOSTILE: layer_of(HOSTILE, (3, 3, 1, 8), {}),
}


def listing_of(label: str, step: int, values: dict[str, tuple[Array, Role]] = VALUES) -> Listing:
    """A checkpoint with these tensors."""
    tensors = tuple(tensor_of(name, array, role) for name, (array, role) in values.items())
    artifact = Artifact(
        path=f"/runs/digits/{label}",
        kind="tf-checkpoint",
        label=label,
        step=step,
        bytes=sum(t.bytes for t in tensors),
        shards=1,
        tensors=len(tensors),
        parameters=58_423,
        modified=0.0,
    )
    findings = (
        Finding(
            "untouched-filters",
            "warning",
            "5 of 32 filters are untouched since the initializer",
            artifact.path,
            "conv1/kernel",
        ),
    )
    return Listing(artifact, tensors, findings)


def stats_of_values(array: Array) -> Stats | None:
    """The numbers of an array, as far as the panes show them."""
    if array.dtype == object:
        return Stats(count=array.size)
    finite = array[np.isfinite(array)]
    return Stats(
        count=array.size,
        finite=finite.size,
        nan=int(np.isnan(array).sum()),
        posinf=0,
        neginf=0,
        zeros=int((array == 0).sum()),
        min=finite.min().item(),
        max=finite.max().item(),
        argmin=int(np.argmin(array)),
        argmax=int(np.argmax(array)),
        mean=float(finite.mean()),
        std=float(finite.std()),
        l2=float(np.sqrt((finite.astype(np.float64) ** 2).sum())),
    )


def scan_of(name: str, array: Array) -> TensorScan:
    """What a pass over the bytes says: the checksum holds."""
    return TensorScan(name, stats_of_values(array), "ok", bytes=array.nbytes)


class PaneSession:
    """Answers what the panes ask from arrays in memory; `b` values stand for the second save of a diff."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, tuple[Array, Role]]] = {}
        self.error: CkptuiError | None = None
        """Raised by the next calls instead of an answer."""
        self.calls: list[tuple[str, str]] = []
        self.predictions: list[str | Run | Predicted | PredictReport] = []
        self.hold = threading.Event()
        """Cleared: predictions wait before the first run."""
        self.hold.set()
        self.pairs: list[Pair] = []
        self.relation: dict[str, Any] = {"verdict": "same-run", "certainty": "likely", "evidence": {}}
        self.images = ["/runs/digits/images/two.png"]
        self.options: list[dict[str, Any]] = []
        """Of every prediction asked for."""
        self.warmed = 0
        self.wrong: set[str] = set()
        """Paths where nothing is."""
        self.labels: str | None = None
        self.worker = WorkerState(4242, "ready", 612_000_000, "2.21.0")

    def _array(self, listing: Listing, name: str) -> Array:
        return self.values.get(listing.artifact.path, VALUES)[name][0]

    def tensor(self, listing: Listing, name: str) -> Tensor:
        """The tensor of that name."""
        for tensor in listing.tensors:
            if tensor.name == name:
                return tensor
        raise NoSuchTensor(name)

    def scan(self, listing: Listing, names: Sequence[str], **options: Any) -> Iterator[TensorScan | Progress]:
        """One scan a name."""
        for name in names:
            self.calls.append(("scan", name))
            yield scan_of(name, self._array(listing, name))

    def array(self, listing: Listing, name: str, limit: int = 0) -> Array:
        """The values."""
        self.calls.append(("array", name))
        if self.error is not None:
            raise self.error
        return self._array(listing, name)

    def drawable(self, listing: Listing, name: str, limit: int = 0) -> tuple[Array, str]:
        """The values; their names tell how axes are meant."""
        return self.array(listing, name, limit), ""

    def overview(
        self, listing: Listing, name: str, pixels: tuple[int, int], cancel: object = None
    ) -> tuple[Array, float]:
        """The values, reduced."""
        self.calls.append(("overview", name))
        values = self._array(listing, name)
        return reduced(values.reshape(-1, values.shape[-1]), *pixels)[:2]

    def histogram(self, listing: Listing, name: str, bins: int = 64) -> Histogram:
        """Counts of the finite values."""
        return histogram(self._array(listing, name), bins)

    def layers(self, listing: Listing, names: Sequence[str], cancel: object = None) -> Iterator[Layer]:
        """The analysis where there is one."""
        yield from (LAYERS[name] for name in names if name in LAYERS)

    def diff(self, a: Listing, b: Listing, **options: Any) -> Iterator[Pair | Progress | DiffReport]:
        """The pairs set beforehand, then the report."""
        yield from self.pairs
        yield DiffReport(a.artifact, b.artifact, tuple(self.pairs), self.relation)

    def predict(
        self, model: str, images: Sequence[str], *, cancel: threading.Event | None = None, **options: Any
    ) -> Iterator[str | Run | Predicted | PredictReport]:
        """The answers set beforehand."""
        self.calls.append(("predict", f"{model} {images[0]}"))
        self.options.append(options)
        if self.error is not None:
            raise self.error
        for item in self.predictions:
            yield item
            while not self.hold.wait(0.01):
                if cancel is not None and cancel.is_set():
                    return

    def warm_up(self, tf_python: str | None = None, gpu: bool = False) -> None:
        """Counts how often it was asked to start the worker."""
        self.warmed += 1

    def worker_state(self, tf_python: str | None = None, gpu: bool = False) -> WorkerState:
        """The state set beforehand."""
        return self.worker

    def unusable(self, paths: Mapping[str, str]) -> dict[str, str]:
        """The files set beforehand are wrong."""
        return {name: f"no such file: {path}" for name, path in paths.items() if path in self.wrong}

    def labels_near(self, model: str, image: str) -> str | None:
        """The file set beforehand."""
        return self.labels

    def sibling_model(self, path: str) -> str | None:
        """The model beside every checkpoint here."""
        return "/runs/digits/digits.keras"

    def sibling_images(self, path: str) -> list[str]:
        """The images beside."""
        return self.images


class PaneApp(App[None]):
    """Holds panes for tests, with the stylesheet of the workbench."""

    CSS_PATH = "../../ckptui/ui/ckptui.tcss"
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, session: PaneSession | None = None) -> None:
        super().__init__()
        self.session = session or PaneSession()
        self.ascii_only = False
        self.register_theme(DARK)
        self.theme = DARK.name


def digit(size: int = 16) -> Array:
    """A grey picture that differs from both of its flips."""
    image = np.full((size, size, 3), 20, dtype=np.uint8)
    image[2 : size // 2, size // 3 : size // 2 + 2] = 230
    image[size // 2 : size - 2, 3 : size - 4] = 150
    return image


def run_of(name: str, best: int, score: float, apart: float | None, **changes: Any) -> Run:
    """A run among ten digits."""
    rest = (1 - score) / 9
    output = tuple(score if i == best else rest for i in range(10))
    order = sorted(range(10), key=lambda i: -output[i])[:5]
    top = tuple((i, str(i), output[i]) for i in order)
    changed = None if apart is None else best != 2
    base = Run(name, top, output, apart, changed, 0.01, identical=None if apart is None else apart == 0)
    return replace(base, **changes)


RUNS: tuple[Run, ...] = (
    run_of("original", 2, 0.94, None),
    run_of("flip-left-right", 5, 0.71, 0.76),
    run_of("flip-up-down", 5, 0.52, 0.63),
    run_of("repeat", 2, 0.94, 0.0),
    run_of("reload", 2, 0.94, 8e-7),
    run_of("fresh-process", 2, 0.94, 0.0),
)
VERDICT = (
    "Loads the same way each time. The answer follows the image and is the same after reload and in a fresh process. "
    "It changes under both flips; one image is no proof."
)


def prediction(runs: Sequence[Run] = RUNS, verdict: str = VERDICT, image: Array | None = None) -> list[Any]:
    """What the worker tells about one image, from start to end."""
    image = digit() if image is None else image
    shown = Predicted(
        path="/runs/digits/images/two.png",
        preprocess="0..1",
        shape=(1, 16, 16, 1),
        low=0.0,
        high=1.0,
        runs=(),
        preview=image.tobytes(),
        preview_size=(image.shape[1], image.shape[0]),
    )
    model = {"path": "/runs/digits/digits.keras", "loader": "keras 3.15", "tensorflow": "2.21.0"}
    whole = replace(shown, runs=tuple(runs), verdict=verdict)
    return ["starting TensorFlow", shown, *runs, whole, PredictReport(model, (whole,))]


def pair_of(name: str, status: PairStatus, change: float | None = None, **changes: Any) -> Pair:
    """A row of a diff."""
    count = 288
    base = Pair(
        a=None if status == "only-b" else name,
        b=None if status == "only-a" else name,
        role="kernel",
        status=status,
        matched_by=None if status.startswith("only") else "name",
        max_abs=change,
        mean_abs=None if change is None else change / 3,
        rms=None if change is None else change / 2,
        relative_l2=change,
        cosine=None if change is None else 1 - change / 10,
        changed=0 if status == "identical" else count,
        count=count,
    )
    return replace(base, **changes)


PAIRS: tuple[Pair, ...] = (
    pair_of("conv1/kernel", "changed", 0.124),
    pair_of("conv1/bias", "changed", 0.9),
    pair_of("conv2/kernel", "changed", 0.0213),
    pair_of("dense/kernel", "identical", 0.0),
    pair_of("rgb/kernel", "identical", 0.0),
    pair_of("head/kernel", "shape-changed", detail="64×10 → 64×100"),
    pair_of("old/bias", "only-a"),
    pair_of("new/bias", "only-b"),
    pair_of("lost/kernel", "unreadable", detail="the shard of B ends before it"),
)


def diff_sides(session: PaneSession) -> tuple[Listing, Listing]:
    """Two saves of a run; in the second every weight moved a little, filter 3 of conv1 not at all."""
    a, b = listing_of("ckpt-2", 2000), listing_of("ckpt-5", 5000)
    moved: dict[str, tuple[Array, Role]] = {}
    for seed, (name, (values, role)) in enumerate(VALUES.items()):
        numeric = values.dtype == np.float32
        moved[name] = (values + kernel(seed + 50, values.shape, 0.05) if numeric else values, role)
    moved["conv1/kernel"][0][..., 3] = VALUES["conv1/kernel"][0][..., 3]
    session.values[b.artifact.path] = moved
    session.pairs = list(PAIRS)
    session.relation = {
        "verdict": "same-run",
        "certainty": "likely",
        "evidence": {"reason": "kernels and optimizer slots share a past, and the counters went on"},
    }
    return a, b
