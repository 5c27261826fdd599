"""Which save of a run an export was made from: real folders, and runs made here whose answer is known."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ckptui.core.model import Listing, Origin, RunFolder
from ckptui.session import Session
from tests.places import CORPUS, ESTIMATOR, SAMPLES, needs_corpus, needs_estimator, needs_samples
from tests.readers.make_bundle import write_bundle

Arrays = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session(cache=False) as made:
        yield made


def asked(session: Session, run: RunFolder, export: Listing) -> Origin:
    items = list(session.origin(run, export))
    assert isinstance(items[-1], Origin)
    assert not any(isinstance(item, Origin) for item in items[:-1])
    return items[-1]


def weights(seed: int) -> Arrays:
    draw = np.random.default_rng(seed)
    return {
        "c1/kernel": draw.normal(size=(3, 3, 1, 16)).astype(np.float32),
        "c1/bias": np.zeros(16, np.float32),
        "d/kernel": draw.normal(size=(48, 10)).astype(np.float32),
    }


def made_run(folder: Path, saves: Mapping[int, Arrays]) -> RunFolder:
    folder.mkdir(exist_ok=True)
    paths = []
    for step, arrays in saves.items():
        paths.append(str(folder / f"model.ckpt-{step}"))
        write_bundle(paths[-1], {**arrays, "global_step": np.array(step, np.int64)})
    return RunFolder(str(folder), folder.name, tuple(paths))


def drifting(count: int = 4) -> dict[int, Arrays]:
    draw = np.random.default_rng(1)
    out = {0: weights(0)}
    for step in range(10, 10 * count, 10):
        last = out[step - 10]
        moved = {n: np.float32(1) * v + np.float32(0.05) * draw.normal(size=v.shape) for n, v in last.items()}
        out[step] = {name: value.astype(np.float32) for name, value in moved.items()}
    return out


def export_of(session: Session, path: Path, arrays: Arrays) -> Listing:
    write_bundle(str(path), arrays)
    return session.open(str(path), "tf-checkpoint")


@needs_estimator
def test_the_export_of_an_estimator_is_of_its_last_save(session: Session) -> None:
    (export,) = (ESTIMATOR / "export" / "exporter").iterdir()
    told = asked(session, session.run_at(str(ESTIMATOR)), session.open(str(export)))
    assert (told.answer, told.step, told.weights) == ("yes", 30, 8)
    assert [c.identical for c in told.candidates] == [0, 0, 8]
    assert "made from model.ckpt-30 (step 30): all 8 weights are identical" in told.reason


@needs_samples
@pytest.mark.parametrize("name", ["digits_saved_model", "digits.keras", "digits.h5", "digits.weights.h5"])
def test_every_form_of_the_digits_model_is_of_the_fifth_save(session: Session, name: str) -> None:
    told = asked(session, session.run_at(str(SAMPLES / "digits")), session.open(str(SAMPLES / name)))
    assert (told.answer, told.step, told.weights) == ("yes", 5, 10)


@needs_samples
def test_another_model_is_of_no_save(session: Session) -> None:
    told = asked(session, session.run_at(str(SAMPLES / "estimator")), session.open(str(SAMPLES / "digits.keras")))
    assert told.answer == "no"
    assert all(c.identical == 0 for c in told.candidates)


@needs_corpus
def test_a_copy_of_an_epoch_is_found_among_the_epochs(session: Session, tmp_path: Path) -> None:
    folder = CORPUS / "fer2013-sequence"
    epochs = sorted(folder.glob("*.hdf5"))[:4]
    shutil.copy(epochs[2], tmp_path / "best.h5")
    run = RunFolder(str(folder), "fer", tuple(map(str, epochs)))
    told = asked(session, run, session.open(str(tmp_path / "best.h5")))
    assert (told.answer, told.save, told.weights) == ("yes", str(epochs[2]), 80)


def test_each_save_is_found_by_its_copy(session: Session, tmp_path: Path) -> None:
    saves = drifting()
    run = made_run(tmp_path / "run", saves)
    for step, arrays in saves.items():
        told = asked(session, run, export_of(session, tmp_path / f"export{step}", arrays))
        assert (told.answer, told.step) == ("yes", step)


def test_other_names_are_found_by_content(session: Session, tmp_path: Path) -> None:
    saves = drifting()
    renamed = {f"x{n}/kernel": value for n, value in enumerate(saves[20].values())}
    told = asked(session, made_run(tmp_path / "run", saves), export_of(session, tmp_path / "export", renamed))
    assert (told.answer, told.step) == ("yes", 20)


def test_of_equal_saves_the_latest_is_named_or_the_one_whose_step_it_has(session: Session, tmp_path: Path) -> None:
    same = weights(0)
    run = made_run(tmp_path / "run", {10: same, 20: same, 30: weights(1)})
    told = asked(session, run, export_of(session, tmp_path / "export", same))
    assert (told.answer, told.step) == ("yes", 20)
    assert "model.ckpt-10 (step 10) holds the same weights; the latest of them is named" in told.reason
    stepped = {**same, "global_step": np.array(10, np.int64)}
    told = asked(session, run, export_of(session, tmp_path / "stepped", stepped))
    assert (told.answer, told.step) == ("yes", 10)
    assert "whose step it has" in told.reason


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_rounded_weights_are_traced(session: Session, tmp_path: Path, dtype: Any) -> None:
    saves = drifting()
    rounded = {name: value.astype(dtype) for name, value in saves[10].items()}
    told = asked(session, made_run(tmp_path / "run", saves), export_of(session, tmp_path / "export", rounded))
    assert (told.answer, told.step) == ("yes", 10)
    assert f"rounded to {np.dtype(dtype).name}" in told.reason


def test_moving_averages_are_traced(session: Session, tmp_path: Path) -> None:
    saves = drifting(3)
    averaged = {
        step: {
            **arrays,
            **{f"{name}/ExponentialMovingAverage": value * np.float32(0.5) for name, value in arrays.items()},
        }
        for step, arrays in saves.items()
    }
    export = {name: value * np.float32(0.5) for name, value in saves[10].items()}
    told = asked(session, made_run(tmp_path / "run", averaged), export_of(session, tmp_path / "export", export))
    assert (told.answer, told.step) == ("yes", 10)
    assert "moving average" in told.reason


def test_what_no_save_holds_is_nearest_to_its_neighbour(session: Session, tmp_path: Path) -> None:
    saves = drifting(12)
    near = {name: value * np.float32(1.0001) for name, value in saves[70].items()}
    told = asked(session, made_run(tmp_path / "run", saves), export_of(session, tmp_path / "export", near))
    assert (told.answer, told.step) == ("no", 70)
    assert 0 < sum(c.relative_l2 is not None for c in told.candidates) <= 8
    best = next(c for c in told.candidates if c.step == 70)
    assert best.relative_l2 == pytest.approx(1e-4, rel=0.05)


def test_what_is_missing_or_new_is_said(session: Session, tmp_path: Path) -> None:
    saves = drifting()
    run = made_run(tmp_path / "run", saves)
    less = {name: value for name, value in saves[20].items() if name != "d/kernel"}
    told = asked(session, run, export_of(session, tmp_path / "less", less))
    assert (told.answer, told.step) == ("yes", 20)
    assert "the export lacks: d/kernel" in told.reason
    more = {**saves[20], "head/kernel": np.ones((5, 7), np.float32)}
    told = asked(session, run, export_of(session, tmp_path / "more", more))
    assert (told.answer, told.step) == ("no", 20)
    assert "3 of 4 weights are identical" in told.reason
    assert "nothing for 1: head/kernel" in told.reason


def test_quantised_weights_are_not_traced(session: Session, tmp_path: Path) -> None:
    saves = drifting()
    whole = {name: (value * 40).astype(np.int8) for name, value in saves[10].items()}
    told = asked(session, made_run(tmp_path / "run", saves), export_of(session, tmp_path / "export", whole))
    assert told.answer == "no"
    assert "quantised" in told.reason


def test_damaged_bytes_and_lost_saves_are_said(session: Session, tmp_path: Path) -> None:
    saves = drifting()
    run = made_run(tmp_path / "run", saves)
    export = export_of(session, tmp_path / "export", saves[20])
    shard = tmp_path / "export.data-00000-of-00001"
    raw = bytearray(shard.read_bytes())
    raw[100] ^= 4
    shard.write_bytes(raw)
    told = asked(session, run, export)
    assert (told.answer, told.step) == ("yes", 20)
    assert "bytes of 1 are damaged" in told.reason
    (tmp_path / "run" / "model.ckpt-0.index").write_bytes(b"nothing")
    told = asked(session, run, export_of(session, tmp_path / "again", saves[30]))
    assert (told.answer, told.step, len(told.candidates)) == ("yes", 30, 3)
    assert "1 save could not be looked at" in told.reason


def test_an_export_without_weights_is_of_no_save(session: Session, tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", drifting(2))
    told = asked(session, run, export_of(session, tmp_path / "export", {"global_step": np.array(3, np.int64)}))
    assert (told.answer, told.save, told.weights) == ("no", None, 0)
