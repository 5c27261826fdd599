"""What the saves of a run say together; rows and points made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from crc32c import crc32c

from ckptui.core.lookup import copied_rows
from ckptui.core.model import (
    ArchitectureRow,
    Artifact,
    Finding,
    Found,
    Listing,
    RunFolder,
    Scalars,
    TensorPoint,
    TimelineReport,
    TimelineRow,
)
from ckptui.core.names import layer_of, role_of
from ckptui.session import Session
from ckptui.triage.course_states import _never_drew
from ckptui.triage.timeline import course_findings
from tests.places import ESTIMATOR, SAMPLES

Contents = Sequence[int | None]


def judged(
    content: Mapping[str, Contents],
    *,
    frozen: Sequence[str] = (),
    classes: Mapping[str, str] | None = None,
    steps: Sequence[int] | None = None,
    zero: Sequence[str] = (),
) -> list[Finding]:
    """Findings on tensors that hold, by save, what the numbers stand for; of counters the values themselves."""
    saves = max(len(some) for some in content.values())
    rows, points = [], []
    for name, some in content.items():
        counter = role_of(name, "int64", ()) in ("step", "counter")
        shape: tuple[int, ...] = () if counter else (10, 10)
        dtype = "int64" if counter else "float32"
        if name.endswith(("bias", "gamma", "beta", "moving_mean", "moving_variance")):
            shape = (10,)
        if "seed_generator" in name:
            shape, dtype = (2,), "uint32"
        rows.append(TimelineRow(name, shape, dtype, role_of(name, dtype, shape), layer_of(name), name))
        line: list[TensorPoint | None] = []
        for place, now in enumerate(some):
            moved = 0.1 if place and now != some[place - 1] else 0.0
            norm = 0.0 if name in zero else 10.0
            count = 1 if counter else 100
            value = float(now) if counter and now is not None else None
            line.append(
                None if now is None else TensorPoint(norm, moved if place else None, None, 0, count, now, value)
            )
        points.append(line)
    numbers = steps or [100 * (place + 1) for place in range(saves)]
    found = [Found(f"/run/ckpt-{n}", "tf-checkpoint", f"ckpt-{n}", "/run", n) for n in numbers]
    run = RunFolder("/run", "run", tuple(save.path for save in found))
    artifact = Artifact("/run/ckpt-1", "tf-checkpoint", "ckpt-1", 1, 0, 1, 0, 0, 0.0)
    layers = []
    for layer in dict.fromkeys(row.layer for row in rows):
        own = tuple(row.name for row in rows if row.layer == layer)
        kind = (classes or {}).get(layer, "Dense")
        layers.append(ArchitectureRow(layer, kind, weights=own, trainable=layer not in frozen))
    listing = Listing(artifact, (), architecture=tuple(layers)) if frozen or classes else None
    return course_findings(run, found, [artifact] * saves, rows, points, listing)


def told(findings: Sequence[Finding]) -> list[tuple[str, Any]]:
    return [(f.code, f.evidence.get("reason", f.evidence.get("save"))) for f in findings]


MOVES = [1, 2, 3]
STAYS = [7, 7, 7]


def test_a_healthy_run_says_nothing() -> None:
    assert judged({"a/kernel": MOVES, "a/bias": [4, 5, 6], "global_step": [100, 200, 300]}) == []
    assert judged({"a/kernel": [1]}) == []


def test_frozen_layers_are_one_finding() -> None:
    layers = {f"block{n}/{what}": STAYS for n in range(50) for what in ("kernel", "bias")}
    found = judged({**layers, "head/kernel": MOVES}, frozen=[f"block{n}" for n in range(50)])
    assert told(found) == [("never-changed", "frozen")]
    assert (found[0].evidence["layer_count"], found[0].evidence["tensor_count"]) == (50, 100)
    assert found[0].evidence["saves"] == 3
    assert found[0].severity == "warning"


def test_slots_tell_frozen_from_not_trained() -> None:
    found = judged(
        {
            "a/kernel": STAYS,
            "b/kernel": STAYS,
            "b/kernel/Adam": STAYS,
            "head/kernel": MOVES,
            "head/kernel/Adam": MOVES,
        }
    )
    assert told(found) == [("never-changed", "no-slots"), ("never-changed", "untrained")]
    assert [f.evidence["tensors"] for f in found] == [["a/kernel"], ["b/kernel"]]
    assert told(judged({"a/kernel": STAYS, "head/kernel": MOVES})) == [("never-changed", "unknown")]


@pytest.mark.parametrize(
    ("also", "word"),
    [({}, "copies"), ({"global_step": [1, 2, 3]}, "counters"), ({"a/kernel/Adam": MOVES}, "learning rate of 0")],
)
def test_nothing_changed_at_all_is_one_finding(also: dict[str, Contents], word: str) -> None:
    found = judged({"a/kernel": STAYS, "b/kernel": STAYS, **also})
    assert told(found) == [("never-changed", "nothing-changed")]
    assert word in found[0].detail


def test_statistics_that_are_never_updated_have_words_of_their_own() -> None:
    stays = {"bn/moving_mean": STAYS, "bn/moving_variance": STAYS}
    found = judged({**stays, "bn/gamma": MOVES, "bn/beta": MOVES, "a/kernel": MOVES})
    assert told(found) == [("never-changed", "statistics")]
    # a layer that is frozen as a whole is frozen
    whole = {**stays, "bn/gamma": STAYS, "bn/beta": STAYS, "a/kernel": MOVES}
    assert told(judged(whole, frozen=["bn"])) == [("never-changed", "frozen")]


def test_what_is_constant_by_nature_is_not_told() -> None:
    quiet = {"norm/mean": STAYS, "norm/variance": STAYS, "a/kernel": MOVES, "a/bias": STAYS}
    assert judged(quiet, classes={"norm": "Normalization"}, zero=["a/bias"]) == []


def test_a_save_that_went_back() -> None:
    found = judged({"a/kernel": [1, 2, 3, 2, 5], "global_step": [100, 200, 300, 200, 500]})
    assert told(found) == [("went-back", "ckpt-400")]
    assert found[0].evidence["same_as"] == "ckpt-200"
    assert "300 -> 200" in found[0].detail
    # the same course once more is one finding
    found = judged({"a/kernel": [1, 2, 3, 1, 2, 3]})
    assert told(found) == [("went-back", "ckpt-400")]
    assert len(found[0].evidence["repeats"]) == 3
    assert judged({"a/kernel": [1, 2, 2, 3]}) == []


def test_counters_that_go_down_or_contradict_the_name() -> None:
    found = judged({"a/kernel": [1, 2, 3, 4], "global_step": [100, 200, 150, 250]})
    assert told(found) == [("went-back", "ckpt-300")]
    assert "200 -> 150" in found[0].detail
    found = judged({"a/kernel": [1, 2, 3, 4], "global_step": [100, 200, 201, 400]})
    assert "is 201, the name says 300" in found[0].detail
    assert judged({"a/kernel": [1, 2, 3], "iterations": [90, 180, 270]}) == []


def test_random_states_that_repeat() -> None:
    kernel = {"a/kernel": [1, 2, 3, 4]}
    found = judged({**kernel, "drop/seed_generator/seed_generator_state": [1, 2, 1, 2]})
    assert [(f.code, f.certainty, f.evidence["saves"]) for f in found] == [
        ("rng-state-repeated", "likely", [["ckpt-100", "ckpt-300"], ["ckpt-200", "ckpt-400"]])
    ]
    found = judged({**kernel, "drop/seed_generator/seed_generator_state": [1, 2, 2, 3]})
    assert [(f.code, f.certainty) for f in found] == [("rng-state-repeated", "possible")]
    assert judged({**kernel, "drop/seed_generator/seed_generator_state": [1, 2, 3, 4]}) == []


def test_a_random_state_that_is_the_same_in_every_save() -> None:
    kernel, state = {"a/kernel": [1, 2, 3, 4]}, "drop/seed_generator/seed_generator_state"
    found = judged({**kernel, state: [1, 1, 1, 1]})
    assert [(f.code, f.certainty, f.severity) for f in found] == [("rng-state-repeated", "possible", "warning")]
    assert found[0].evidence["saves_alike"] == 4
    assert "nothing was drawn" in found[0].detail
    # another one draws, nothing was trained, too few saves to say
    assert judged({**kernel, state: [1, 1, 1, 1], f"more/{state}": [1, 2, 3, 4]}) == []
    assert judged({"a/kernel": [1, 2, 2, 3], state: [1, 1, 1, 1]}) == []
    assert judged({"a/kernel": [1, 2], state: [1, 1]}) == []


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        ("uint32", [1234567, 0], True),
        ("uint32", [1234567, 3], False),
        ("uint32", [3, 4], False),
        ("int64", [0, 0, -77], True),
        ("int64", [921600, 0, 5], False),
        ("int64", [0, 5], True),
        ("int64", [2, 0], False),
    ],
)
def test_a_generator_that_never_drew_is_known_by_its_counter(dtype: str, values: list[int], expected: bool) -> None:
    held = np.array(values, dtype)
    norm = float(np.linalg.norm(held.astype(np.float64)))
    row = TimelineRow("state", held.shape, dtype, "rng-state")
    assert _never_drew(row, [norm], [(crc32c(held.tobytes()), held.size)]) is expected


def test_an_optimizer_that_is_built_anew_is_no_older_save() -> None:
    weights = {"a/kernel": [1, 2, 3, 4, 5, 6]}
    found = judged({**weights, "optimizer/iterations": [8, 16, 24, 32, 8, 16]})
    assert [(f.code, f.severity, f.certainty) for f in found] == [("went-back", "info", "possible")]
    assert found[0].title == "The optimizer was built anew"
    assert (found[0].evidence["save"], found[0].evidence["counters"]) == ("ckpt-500", ["optimizer/iterations 32 -> 8"])
    # resumed from an earlier state: the same optimizer goes on, from where it was
    found = judged({**weights, "optimizer/iterations": [8, 16, 24, 32, 24, 32]})
    assert [(f.code, f.severity) for f in found] == [("went-back", "warning")]
    # and the run's own count is another matter
    found = judged({**weights, "global_step": [8, 16, 24, 32, 8, 16]})
    assert [(f.code, f.severity) for f in found] == [("went-back", "warning")]


def moved_by(changes: Sequence[Sequence[float]], rates: Sequence[float] | None = None) -> list[Finding]:
    """Findings on kernels of norm 10 that moved so far from save to save; curves of a learning rate beside them."""
    rows = [TimelineRow(f"l{n}/kernel", (10, 10), "float32", "kernel", f"l{n}", f"l{n}/kernel") for n in range(9)]
    points = [
        [
            TensorPoint(10.0, d if at else None, int(d > 0) if at else None, 0, 100, at * (d > 0))
            for at, d in enumerate(c)
        ]
        for c in changes
    ]
    saves = len(changes[0])
    found = [Found(f"/run/ckpt-{n}", "tf-checkpoint", f"ckpt-{n}", "/run", n) for n in range(1, saves + 1)]
    run = RunFolder("/run", "run", tuple(save.path for save in found))
    curves = [Scalars("learning_rate", "", tuple(range(1, saves + 1)), tuple(rates))] if rates else []
    return course_findings(run, found, [None] * saves, rows[: len(changes)], points, None, curves)


def test_a_raised_learning_rate_is_one_jump_with_its_cause() -> None:
    steady = [0.0, 0.3, 0.28, 0.26, 15.0, 9.0, 6.0, 0.9, 0.5, 0.4]
    rates = [0.001] * 4 + [0.1] * 6
    found = moved_by([steady] * 3, rates)
    assert [(f.code, f.evidence["to"], f.evidence["also_in"]) for f in found] == [("jump", "ckpt-5", ["ckpt-6"])]
    assert "from 0.001 to 0.1" in found[0].detail
    assert found[0].evidence["learning_rate"] == [0.001, 0.1]
    assert moved_by([steady] * 3)[0].evidence["learning_rate"] is None


def test_kernels_that_are_unfrozen_are_no_jump() -> None:
    head = [0.0, 1.0, 0.9, 0.8, 0.3, 0.3, 0.2, 0.2]
    frozen = [0.0, 0.0, 0.0, 0.0, 0.2, 0.15, 0.15, 0.1]
    assert [f.code for f in moved_by([head, frozen, frozen, frozen])] == []
    assert [f.code for f in moved_by([frozen, frozen, frozen])] == []
    # a fault at the same place is still one
    leapt = [0.0, 1.0, 0.9, 0.8, 9.0, 0.8, 0.7, 0.7]
    found = moved_by([leapt, leapt, leapt, frozen])
    assert [(f.code, f.evidence["began_to_move"]) for f in found] == [("jump", ["l3/kernel"])]


def test_a_weight_that_is_stored_twice_counts_once() -> None:
    again = {f"{where}/variables/0": STAYS for where in ("", "_all")}
    rows = [TimelineRow(name, (10, 10), "float32", "kernel", "a", "a/kernel") for name in again]
    points = [[TensorPoint(1.0, 0.0 if at else None, 0, 0, 100, 7) for at in range(3)] for _ in rows]
    assert copied_rows(rows, points) == {1: 0}
    found = [Found(f"/run/ckpt-{n}", "tf-checkpoint", f"ckpt-{n}", "/run", n) for n in range(3)]
    run = RunFolder("/run", "run", tuple(save.path for save in found))
    told_ = course_findings(run, found, [None] * 3, rows, points)
    assert [f.evidence["tensor_count"] for f in told_] == [1]
    assert copied_rows(rows, [points[0], [*points[1][:2], TensorPoint(1.0, 0.1, 3, 0, 100, 8)]]) == {}


HEALTHY = (SAMPLES / "digits", SAMPLES / "estimator", ESTIMATOR)


def test_healthy_runs_are_quiet() -> None:
    with Session(cache=False) as session:
        for path in HEALTHY:
            if not path.exists():
                continue
            report = list(session.timeline(session.run_at(path)))[-1]
            assert isinstance(report, TimelineReport)
            print(
                f"  {path.name}: {len(report.saves)} saves, {len(report.rows)} tensors, {len(report.findings)} findings"
            )
            assert [f for f in report.findings if f.severity != "info"] == []
