"""What several tensors of a layer say together: in made-up rows, and in saves of models before and after training."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from textual.message import Message

from ckptui.core.model import ArchitectureRow, Finding, Found, Role, Tensor
from ckptui.core.report import state_word
from ckptui.core.stats import stats_of
from ckptui.session import Session
from ckptui.triage.layers import layer_findings
from ckptui.triage.values import Row
from ckptui.ui import messages
from ckptui.ui.jobs import check_save
from ckptui.ui.ledger import Ledger
from ckptui.ui.tensor_rows import flag_of
from tests import warm_tensorflow
from tests.places import CORPUS, ESTIMATOR, SAMPLES, needs_samples, needs_tensorflow
from tests.test_cli import call, document

CODES = frozenset(
    {
        "statistics-at-initial",
        "statistics-implausible",
        "normalization-unadapted",
        "generator-unused",
        "slots-at-zero",
    }
)
TAIL = "/.ATTRIBUTES/VARIABLE_VALUE"


def row(name: str, role: Role, values: NDArray[np.generic], object_path: str = "") -> Row:
    """A tensor of these values, in the layer its name begins with."""
    dtype = str(values.dtype)
    layer = (object_path or name).rpartition("/")[0]
    tensor = Tensor(name, dtype, values.shape, values.nbytes, layer=layer, role=role, object_path=object_path)
    return tensor, stats_of(values, dtype)


def told(*rows: Row, architecture: tuple[ArchitectureRow, ...] = ()) -> list[Finding]:
    return layer_findings("save", rows, architecture)


def codes(*rows: Row) -> list[str]:
    return [finding.code for finding in told(*rows)]


def zeros(*shape: int) -> NDArray[np.float32]:
    return np.zeros(shape, np.float32)


def ones(*shape: int) -> NDArray[np.float32]:
    return np.ones(shape, np.float32)


def batch_norm(mean: NDArray[np.float32], variance: NDArray[np.float32], at: str = "bn") -> tuple[Row, Row]:
    return row(f"{at}/moving_mean", "moving-mean", mean), row(f"{at}/moving_variance", "moving-variance", variance)


def normalization(mean: NDArray[np.float32], variance: NDArray[np.float32], count: int = 0) -> tuple[Row, ...]:
    return (
        row("norm/mean", "other", mean),
        row("norm/variance", "other", variance),
        row("norm/count", "counter", np.array(count, np.int64)),
    )


def test_statistics_that_were_never_updated_are_told_by_both_tensors() -> None:
    (one,) = told(*batch_norm(zeros(8), ones(8)))
    assert (one.code, one.severity, one.certainty) == ("statistics-at-initial", "warning", "confirmed")
    assert (one.tensor, one.evidence["variance"], one.evidence["layer"]) == (
        "bn/moving_mean",
        "bn/moving_variance",
        "bn",
    )
    assert state_word(one) == "at initial"
    nan = ones(8)
    nan[0] = np.nan
    nearly = ones(8)
    nearly[3] = np.nextafter(np.float32(1), np.float32(0))
    for mean, variance in ((zeros(8), nearly), (ones(8), ones(8)), (zeros(8), nan), (zeros(8), zeros(8))):
        assert codes(*batch_norm(mean, variance)) == []
    assert codes(batch_norm(zeros(8), ones(8))[0]) == []


def test_layers_of_one_name_in_two_models_are_kept_apart() -> None:
    fresh = batch_norm(zeros(8), ones(8), "one/bn")
    moved = batch_norm(ones(8), ones(8) * 2, "two/bn")
    mixed = [(tensor, stats) for pair in zip(fresh, moved, strict=True) for tensor, stats in pair]
    assert [finding.tensor for finding in told(*mixed)] == ["one/bn/moving_mean"]


def test_a_weight_an_export_keeps_twice_is_told_once() -> None:
    roles: tuple[Role, Role] = ("moving-mean", "moving-variance")
    paths = ("bn/moving_mean", "bn/moving_variance")
    rows = [
        row(f"{folder}/{number}{TAIL}", roles[number], values, paths[number])
        for folder in ("_all_variables", "variables")
        for number, values in enumerate((zeros(8), ones(8)))
    ]
    assert [finding.tensor for finding in told(*rows)] == [f"variables/0{TAIL}"]


def test_a_normalization_is_told_by_mean_variance_and_a_whole_count() -> None:
    (one,) = told(*normalization(zeros(6), ones(6)))
    assert (one.code, one.severity, one.certainty) == ("normalization-unadapted", "warning", "confirmed")
    assert (one.tensor, one.evidence["variance"]) == ("norm/mean", "norm/variance")
    assert state_word(one) == "not adapted"
    assert codes(*normalization(np.zeros((), np.float32), np.ones((), np.float32))) == ["normalization-unadapted"]
    assert codes(*normalization(zeros(6) + 1, ones(6))) == []
    assert codes(*normalization(zeros(6), ones(6) * 2)) == []
    assert codes(*normalization(zeros(6), ones(6), count=500)) == []


def test_mean_and_variance_alone_are_a_normalization_only_where_the_architecture_says_so() -> None:
    rows = normalization(zeros(6), ones(6))[:2]
    layer = ArchitectureRow("norm", "Normalization", weights=("norm/mean", "norm/variance"))
    assert told(*rows) == []
    assert [f.code for f in told(*rows, architecture=(layer,))] == ["normalization-unadapted"]
    count = row("norm/count", "metric", np.zeros((), np.float32))
    assert codes(*rows, count) == []
    assert codes(row("norm/mean", "other", zeros(3)), *normalization(zeros(6), ones(6))[1:]) == []


def test_a_normalization_without_names_is_told_by_numbers_and_shapes() -> None:
    count = np.zeros((), np.int64)
    parts: tuple[NDArray[np.generic], ...] = (zeros(4), ones(4), count)
    rows = [row(f"scaler/vars/{number}", "other", values) for number, values in enumerate(parts)]
    assert codes(*rows) == ["normalization-unadapted"]
    assert codes(*rows[:2]) == []


def test_a_normalization_with_a_negative_variance_is_an_error() -> None:
    (one,) = told(*normalization(zeros(3), np.array([1, -0.5, 2], np.float32), count=9))
    assert (one.code, one.severity, one.tensor) == ("statistics-implausible", "error", "norm/variance")
    assert one.evidence["min"] == -0.5


def slot(name: str, values: NDArray[np.float32]) -> Row:
    return row(name, "slot", values)


def test_an_optimizer_that_never_stepped_has_every_slot_where_it_starts() -> None:
    zero, moving = slot("adam/m/conv/kernel", zeros(8)), slot("adam/v/conv/kernel", np.arange(8, dtype=np.float32))
    (one,) = told(zero, zero)
    assert (one.code, one.severity, one.tensor) == ("slots-at-zero", "info", None)
    assert (one.evidence["slots"], one.evidence["iterations"]) == (2, None)
    assert codes(zero, moving) == []
    assert codes(zero, (moving[0], None)) == []
    assert codes() == []


def test_what_the_step_counter_says_goes_first() -> None:
    zero = slot("adam/m/conv/kernel", zeros(8))
    (one,) = told(zero, row("adam/iteration", "counter", np.array(0)))
    assert one.evidence["iterations"] == 0
    assert codes(zero, row("optimizer/vars/0", "counter", np.array(3))) == []
    assert codes(zero, row("save_counter", "counter", np.array(3))) == ["slots-at-zero"]


@pytest.mark.parametrize(
    ("names", "start", "steps", "certainty"),
    [
        (("dense/kernel/Adagrad", "dense/bias/Adagrad"), 0.1, None, "likely"),
        (("dense/kernel/Ftrl", "dense/bias/Ftrl"), 0.1, 0, "confirmed"),
        (("optimizer/vars/2", "optimizer/vars/3"), 0.1, 0, "confirmed"),
        (("optimizer/vars/2", "optimizer/vars/3"), 0.1, None, None),
        (("dense/kernel/Momentum", "dense/bias/Momentum"), 0.1, None, None),
    ],
)
def test_accumulators_may_start_above_zero(
    names: tuple[str, str], start: float, steps: int | None, certainty: str | None
) -> None:
    rows = [slot(name, ones(4) * np.float32(start)) for name in names]
    rows += [] if steps is None else [row("adam/iterations", "counter", np.array(steps))]
    found = told(*rows)
    assert [finding.certainty for finding in found] == ([certainty] if certainty else [])
    assert codes(*rows, slot("dense2/kernel/Adagrad", ones(4))) == []


def test_averages_of_the_weights_are_no_slots() -> None:
    average = slot("dense/kernel/ExponentialMovingAverage", np.arange(4, dtype=np.float32))
    assert codes(slot("dense/kernel/Momentum", zeros(4)), average) == ["slots-at-zero"]


def generator(values: list[int], name: str = "seed_generator/seed_generator_state") -> Row:
    return row(name, "rng-state", np.array(values, np.int64))


@pytest.mark.parametrize(
    ("values", "idle"),
    [
        ([7, 0], True),
        ([0, 0], True),
        ([7, 4], False),
        ([0, 4], False),
        ([4, 4], False),
        ([-7, 0], True),
        ([-7, -1], False),
    ],
)
def test_a_seed_generator_that_never_drew_has_its_counter_at_zero(values: list[int], idle: bool) -> None:
    found = told(generator(values))
    assert [finding.code for finding in found] == (["generator-unused"] if idle else [])
    if idle:
        assert (found[0].severity, found[0].evidence["seed"], state_word(found[0])) == ("info", values[0], "never drew")


@pytest.mark.parametrize(
    ("values", "idle"),
    [
        ([42, 0, 0], True),
        ([0, 0, 5], True),
        ([0, 0, 0], True),
        ([255, 0, 9], True),
        ([0, 0, -5], True),
        ([42 + 256, 0, 0], False),
        ([123456, 0, 0], False),
        ([1, 2, 3], False),
        ([42, 1, 0], False),
    ],
)
def test_a_generator_of_tensorflow_is_judged_only_below_one_draw(values: list[int], idle: bool) -> None:
    assert codes(generator(values, f"g/_state_var{TAIL}")) == (["generator-unused"] if idle else [])
    assert codes(generator(values[:2], f"g/_state_var{TAIL}")) == []


def test_generators_of_recurrent_cells_say_nothing() -> None:
    kernel = row("lstm/cell/recurrent_kernel", "kernel", ones(3, 12))
    assert codes(kernel, generator([7, 0], "lstm/cell/seed_generator/vars/0")) == []
    assert codes(kernel, generator([7, 0], "dropout/seed_generator/vars/0")) == ["generator-unused"]
    listed = [
        row(f"variables/0{TAIL}", "kernel", ones(3, 12), "lstm/cell/recurrent_kernel"),
        row(f"variables/1{TAIL}", "bias", ones(12), "lstm/cell/bias"),
        row(f"variables/2{TAIL}", "rng-state", np.array([7, 0]), "seed_generator/seed_generator_state"),
        row(f"variables/3{TAIL}", "rng-state", np.array([8, 0]), "seed_generator_1/seed_generator_state"),
    ]
    assert [finding.tensor for finding in told(*listed)] == [f"variables/3{TAIL}"]


def test_one_generator_among_others_is_told_with_how_many_drew() -> None:
    (one,) = told(generator([7, 0], "a/seed_generator_state"), generator([8, 3], "b/seed_generator_state"))
    assert (one.evidence["generators"], one.evidence["drew"]) == (2, 1)
    (one,) = told(generator([7, 0]), slot("adam/m/conv/kernel", zeros(8)))[1:]
    assert one.evidence["also"] == "the optimizer never stepped"


# ---------------------------------------------------------------------- real saves


@pytest.fixture(scope="module")
def saves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `untrained_saves.py` makes."""
    folder = tmp_path_factory.mktemp("untrained")
    child = Path(__file__).with_name("untrained_saves.py")
    done = warm_tensorflow.run([child, folder])
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session() as opened:
        yield opened


def scanned(session: Session, path: Path | str, *, stats: bool) -> list[Finding]:
    """What one pass says about layers."""
    items = session.scan(session.open(str(path)), stats=stats, anew=True)
    return [item for item in items if isinstance(item, Finding) and item.code in CODES]


FORMATS = ("keras", "h5", "weights.h5", "export", "ckpt", "saved_model")


@needs_tensorflow
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("stats", [False, True], ids=["check", "stats"])
def test_every_format_tells_what_never_ran(saves: Path, session: Session, form: str, stats: bool) -> None:
    expected = {
        "fresh": {"statistics-at-initial": 3, "normalization-unadapted": 2, "slots-at-zero": 1},
        "unadapted": {"normalization-unadapted": 2},
        "trained": {},
    }
    if form == "export":
        # an export has no optimizer, and is all that keeps seed generators
        expected["fresh"] = {"statistics-at-initial": 3, "normalization-unadapted": 2, "generator-unused": 1}
    for state, counts in expected.items():
        if state == "unadapted" and form != "keras":
            continue
        found = scanned(session, saves / f"{state}.{form}", stats=stats)
        assert Counter(finding.code for finding in found) == counts, state
        layers = {finding.evidence["layer"] for finding in found if "layer" in finding.evidence}
        assert layers == ({"norm", "norm_all"} if "normalization-unadapted" in counts else set()) | (
            {"bn", "plain", "shifted"} if "statistics-at-initial" in counts else set()
        )


@needs_tensorflow
@pytest.mark.parametrize("command", ["check", "stats"])
def test_the_commands_print_them(saves: Path, command: str) -> None:
    doc = document(command, str(saves / "fresh.keras"), code=None)
    found = [f for f in doc["findings"] if f["code"] in CODES]
    assert Counter(f["code"] for f in found) == {
        "statistics-at-initial": 3,
        "normalization-unadapted": 2,
        "slots-at-zero": 1,
    }
    told = call(command, str(saves / "fresh.export"), code=None).stdout
    for words in ("Batch statistics were never updated", "was never adapted", "random generator never drew"):
        assert words in told


@needs_tensorflow
def test_every_optimizer_before_and_after_its_first_step(saves: Path, session: Session) -> None:
    seen: Counter[str] = Counter()
    for path in sorted(saves.glob("opt_*")) + sorted(saves.glob("v1_*")) + sorted(saves.glob("old_*")):
        if ".data-" in path.name:
            continue
        stem = path.name.removesuffix(".index")
        name, steps = stem.split(".")[0].rsplit("_", 1)
        found = [f for f in scanned(session, saves / stem, stats=False) if f.code == "slots-at-zero"]
        assert len(found) == (steps == "0" and name != "opt_sgd"), stem
        for finding in found:
            assert finding.evidence["iterations"] == (0 if name.startswith("opt_") else None), stem
            assert (finding.evidence["initial"] > 0) == any(
                word in name for word in ("adagrad", "ftrl", "v1_rms", "old_rms")
            )
        seen["never stepped" if found else "silent"] += 1
    print(f"optimizers: {dict(seen)}")
    assert seen["never stepped"] >= 30


@needs_tensorflow
def test_graphs_of_tensorflow_1_before_and_after_their_statistics_moved(saves: Path, session: Session) -> None:
    for kind in ("v1", "old"):
        before, after = (scanned(session, saves / f"{kind}_adam_{steps}", stats=False) for steps in (0, 1))
        assert {finding.code for finding in before} == {"statistics-at-initial", "slots-at-zero"}
        assert after == []


@needs_tensorflow
def test_generators_of_tensorflow_before_and_after_a_draw(saves: Path, session: Session) -> None:
    before, after = (scanned(session, saves / f"generators_{draws}", stats=False) for draws in (0, 1))
    assert {(finding.tensor or "").split("/")[0] for finding in before} == {"small", "by_key"}
    assert after == []


@needs_tensorflow
def test_layers_that_learn_words_or_boundaries(saves: Path, session: Session) -> None:
    for state, layers in (("fresh", {"strings", "integers", "text", "bins"}), ("trained", set())):
        listing = session.open(str(saves / f"lookups_{state}.keras"))
        found = [*listing.findings, *scanned(session, listing.artifact.path, stats=False)]
        assert {f.code for f in found} == ({"normalization-unadapted"} if layers else set())
        assert {f.evidence["layer"] for f in found} == layers
        assert all("never adapted" in f.title for f in found)


@pytest.mark.parametrize(
    "root",
    [pytest.param(place, id=place.name, marks=pytest.mark.skipif(not place.is_dir(), reason=f"no {place}"))
     for place in (CORPUS, ESTIMATOR, SAMPLES)],
)  # fmt: skip
def test_no_false_alarm_in_real_models(session: Session, root: Path) -> None:
    seen: Counter[str] = Counter()
    wrong = []
    for found in session.find([str(root)]):
        if not isinstance(found, Found) or "hdf5-cve" in found.path or "/suspicious/" in found.path:
            continue
        listing = session.open(found.path, found=found)
        normal = any(layer.class_name == "Normalization" for layer in listing.architecture)
        if not normal and not any(tensor.role in ("moving-mean", "slot", "rng-state") for tensor in listing.tensors):
            continue
        seen["saves"] += 1
        seen["batch normalizations"] += sum(tensor.role == "moving-mean" for tensor in listing.tensors)
        seen["slots"] += sum(tensor.role == "slot" for tensor in listing.tensors)
        seen["generators"] += sum(tensor.role == "rng-state" for tensor in listing.tensors)
        wrong += scanned(session, found.path, stats=False)
    print(f"{root.name}: no finding in {dict(seen)}")
    assert wrong == []


@needs_samples
def test_the_workbench_learns_them_from_its_own_scan(session: Session) -> None:
    path = str(SAMPLES / "suspicious" / "never_adapted.keras")
    found = session.resolve(path)
    listing = session.open(path, found=found)
    ledger = Ledger()
    ledger.add([found])
    record = ledger.saves[found.path]
    record.opened(listing.findings)
    posted: list[Message] = []
    check_save(session, listing, posted.append, threading.Event(), ())
    for message in posted:
        if isinstance(message, messages.Scanned):
            record.learn([*(f for scan in message.scans for f in scan.findings), *message.findings])
    told = {finding.code: finding.tensor for finding in record.findings}
    assert told["normalization-unadapted"] == "layers/normalization/vars/0"
    assert told["statistics-at-initial"] == "layers/batch_normalization/vars/2"
    flags = {
        tensor: flag_of([f for f in record.findings if f.tensor == tensor]).words for tensor in told.values() if tensor
    }
    assert flags["layers/normalization/vars/0"] == "not adapted"
    assert flags["layers/batch_normalization/vars/2"] == "at initial"
