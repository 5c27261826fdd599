"""What the saves of a run say together; rows and points made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ckptui.core.model import (
    ArchitectureRow,
    Artifact,
    Finding,
    Found,
    Listing,
    RunFolder,
    TensorPoint,
    TimelineReport,
    TimelineRow,
)
from ckptui.core.names import layer_of, role_of
from ckptui.session import Session
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
    assert judged({**kernel, "drop/seed_generator/seed_generator_state": [1, 1, 1, 1]}) == []
    assert judged({**kernel, "drop/seed_generator/seed_generator_state": [1, 2, 3, 4]}) == []


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
